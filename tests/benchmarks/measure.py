"""Time this loader beside others on the same objects, in one run, and print the ratios as a table.

    python tests/benchmarks/measure.py [--rounds N]

Every figure is the median of several rounds, and in each round the contenders run in turn, so that a machine that
grows slower meanwhile does so for all of them.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from typing import TYPE_CHECKING

from benchmarks.workload import Workload, linker_script, make
from records import recorded_hypervisor

from xsplice_loader import Host, LoadResult
from xsplice_loader.relocation import engine

if TYPE_CHECKING:
    from collections.abc import Callable

SIZES = (1_000, 10_000, 80_000, 1_000_000)
JITLINK_ABS = "-define-abs"
"""How LLVM 14 spells the option that defines an absolute symbol."""
TARGETS = {"ld.bfd": 0.45, "growth": 1.0, "engine": 1.5, "command": 2.0}
HYPERVISOR = recorded_hypervisor("4.17.7")
HYPERVISOR_FILE = Path(__file__).parents[1] / "data" / "real-xen-4.17.7" / "hypervisor.elf.gz"


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def medians(contenders: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    for name, work in list(contenders.items()):
        try:
            work()
        except Exception as error:
            reason = getattr(error, "stderr", None) or repr(error)
            print(f"{name} is left out: {str(reason)[:200]}", file=sys.stderr)
            del contenders[name]
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, work in contenders.items():
            times[name].append(seconds(work))
    return {name: statistics.median(measured) for name, measured in times.items()}


def upload(workload: Workload) -> LoadResult:
    result = Host(HYPERVISOR, max_size=0).upload("payload", workload.data)
    assert result.accepted, result.findings[:3]
    return result


def command(*words: str | Path) -> Callable[[], object]:
    def run() -> object:
        return subprocess.run([str(word) for word in words], check=True, capture_output=True)

    return run


def peers(workload: Workload, result: LoadResult, folder: Path) -> dict[str, Callable[[], object]]:
    """Return the other tools that are installed, each doing the same to the same object."""
    source = folder / "payload.o"
    source.write_bytes(workload.data)
    script = folder / "payload.lds"
    linker_script(result, workload.xen_symbols, script)
    found: dict[str, Callable[[], object]] = {}
    for linker in ("ld.bfd", "ld.lld"):
        if shutil.which(linker):
            found[linker] = command(linker, "-T", script, "-e", "0", "-o", folder / linker, source)
    jitlink = shutil.which("llvm-jitlink") or shutil.which("llvm-jitlink-14")
    if jitlink:
        symbols = [word for name, at in workload.xen_symbols.items() for word in (JITLINK_ABS, f"{name}={at:#x}")]
        slab = (
            "-slab-allocate",
            "256MB",
            "-slab-address",
            f"{result.sections[0].address:#x}",
            "-slab-page-size",
            "4096",
        )
        found["llvm-jitlink"] = command(jitlink, "-noexec", *slab, *symbols, "-entry", "local_0", source)
    if importlib.util.find_spec("cle"):
        found["cle"] = lambda: __import__("cle").Loader(str(source), auto_load_libs=False)
    return found


def same_bytes(result: LoadResult, linked: Path) -> bool:
    """Compare the linker's .text with the loader's."""
    raw = linked.with_suffix(".bin")
    subprocess.run(["objcopy", "-O", "binary", "-j", ".text", linked, raw], check=True)
    image = result.image
    return image is not None and image.startswith(raw.read_bytes())


def bare_columns(workload: Workload, result: LoadResult) -> tuple[Callable[[], object], Callable[[], object]]:
    """Return the engine on a payload's one large section, and the same arithmetic without any test but the range's."""
    assert result.trace is not None
    payload, symbols = result.trace.payload, result.trace.symbols
    section = payload.section_named(".rela.text")
    assert section is not None
    entries = payload.relocation_entries(section)
    target_section = payload.section_named(".text")
    assert target_section is not None
    contents = np.zeros(target_section.size, np.uint8)
    address = result.trace.placement.addresses[target_section.index]
    target = engine.Target(contents, address)
    fields = target.fields(4)
    values, place = symbols.values, np.uint64(address)

    def bare() -> None:
        for start in range(0, len(entries), engine.BLOCK):
            block = entries[start : start + engine.BLOCK]
            offset = block["offset"]
            value = values[block["symbol"]] + block["addend"].view(np.uint64) - offset - place
            whole = value.view(np.int64)
            cut = whole.astype(np.int32)
            assert (cut == whole).all()
            fields[offset.astype(np.int64)] = cut.view(np.uint32)

    return lambda: engine.apply(entries, symbols, target), bare


def small_command(rounds: int, folder: Path) -> float:
    """Return the time of `xsplice-load` on a small payload, start to end, against `python3 -c "import numpy"`."""
    payload = folder / "small.o"
    payload.write_bytes(make(20, HYPERVISOR).data)
    hypervisor = folder / "xen-syms"
    hypervisor.write_bytes(gzip.decompress(HYPERVISOR_FILE.read_bytes()))
    script = Path(sys.executable).with_name("xsplice-load")
    measured = medians(
        {
            "command": command(script, "-x", hypervisor, payload),
            "numpy": command(sys.executable, "-c", "import numpy"),
        },
        3 * rounds,
    )
    return measured["command"] / measured["numpy"]


def memory(folder: Path) -> tuple[float, float]:
    """Return the peak of loading the largest workload in MB, and what is allowed: 6 bytes a byte of file, and 60 MB."""
    payload = folder / "large.o"
    payload.write_bytes(make(SIZES[-1], HYPERVISOR).data)
    # Not ru_maxrss: that includes what the process was before it became this program.
    code = (
        "import sys; from xsplice_loader.cli.load import main\n"
        "try: main()\n"
        "finally: print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')), file=sys.stderr)"
    )
    words = [sys.executable, "-c", code, "-q", "--max-size", "0", "-x", str(HYPERVISOR_FILE), str(payload)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return int(done.stderr.split()[-2]) * 1024 / 1e6, payload.stat().st_size * 6 / 1e6 + 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    print("| relocations | this loader | peer | peer's time | ratio |\n|---|---|---|---|---|")
    loads = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for size in SIZES:
            workload = make(size, HYPERVISOR)
            result = upload(workload)
            others = peers(workload, result, folder)
            measured = medians({"load": partial(upload, workload), **others}, rounds)
            loads[size] = measured.pop("load")
            for peer, took in measured.items():
                print(
                    f"| {size:,} | {loads[size] * 1e3:.1f} ms | {peer} | {took * 1e3:.1f} ms | "
                    f"{loads[size] / took:.2f} |"
                )
            if "ld.bfd" in others:
                assert same_bytes(result, folder / "ld.bfd")
            if size == SIZES[-1]:
                ours, bare = bare_columns(workload, result)
                engines = medians({"engine": ours, "bare": bare}, rounds)
        start = small_command(rounds, folder)
        peak, allowed = memory(folder)
    growth = (loads[1_000_000] / loads[10_000]) / 100
    print(f"\nld.bfd's bytes of .text are the loader's at every size: {'ld.bfd' in others}")
    print(f"time from 10,000 to 1,000,000 relocations, against linear: {growth:.2f} (at most {TARGETS['growth']})")
    ratio = engines["engine"] / engines["bare"]
    print(f"engine against bare column arithmetic: {ratio:.2f} (at most {TARGETS['engine']})")
    print(
        f'xsplice-load on a small payload against python3 -c "import numpy": {start:.2f} (at most {TARGETS["command"]})'
    )
    print(f"peak memory for 1,000,000 relocations: {peak:.0f} MB (at most {allowed:.0f} MB)")


if __name__ == "__main__":
    main()
