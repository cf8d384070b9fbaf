"""Time `xsplice-check` beside bare `ld`, on the same payloads at the same addresses, in one run.

    python tests/benchmarks/fleet.py [--payloads N] [--rounds N]

`ld` is started once for each payload, with a script that gives the addresses and the symbols that the payload needs,
and nothing else. In each round the contenders run in turn; figures are medians.
"""

from __future__ import annotations

import argparse
import gzip
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.typical import typical
from benchmarks.workload import linker_script
from records import recorded_hypervisor

from xsplice_loader import Host
from xsplice_loader.checking.executors import Processes, Serial
from xsplice_loader.checking.journal import Journal
from xsplice_loader.checking.matrix import chunks
from xsplice_loader.checking.question import Question

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xsplice_loader.checking.executors import Executor

VERSION = "4.17.7"
HYPERVISOR = Path(__file__).parents[1] / "data" / f"real-xen-{VERSION}" / "hypervisor.elf.gz"
SIDE = 100
LINKED = 100
"""Payloads that ld links in a round; its time does not depend on how many there are."""
WANTED = {"payloads": 2.5, "cells": 6.0, "two processes": 1.5, "memory": 1.2}


def check(executor: Executor, hypervisors: Sequence[str], payloads: Sequence[str]) -> float:
    """Check a matrix and return the seconds that it took."""
    count = len(hypervisors) * len(payloads)
    start = time.perf_counter()
    with Journal.temporary(count) as journal:
        for answer in executor.run(chunks([*hypervisors], payloads, whole=False), Question()):
            journal.add(answer)
            assert answer.cell.accepted, answer.cell.findings
        assert journal.done == count
    return time.perf_counter() - start


def link(folder: Path, payloads: Sequence[Path]) -> float:
    """Link each payload with a process of its own, and return the seconds that it took."""
    start = time.perf_counter()
    for payload in payloads:
        script = payload.with_suffix(".lds")
        words = ["ld", "-T", script, "-e", "0", "-o", folder / "linked", payload]
        subprocess.run([str(word) for word in words], check=True, capture_output=True)
    return time.perf_counter() - start


def variants(folder: Path, count: int) -> list[str]:
    """Return files of as many hypervisors: the real symbol table, each in a file of its own with a name of its own."""
    data = bytearray(gzip.decompress(HYPERVISOR.read_bytes()))
    files = []
    for number in range(count):
        # The padding of the ELF identification tells them apart; nothing reads it.
        struct.pack_into("<I", data, 12, number)
        path = folder / f"xen-syms-{number:03}"
        path.write_bytes(data)
        files.append(str(path))
    return files


def peak(side: int, folder: Path) -> int:
    """Return the peak memory in KiB of the command on a matrix of `side` by `side` cells."""
    words = [
        sys.executable,
        "-c",
        "from xsplice_loader.cli.check import main\ntry: main()\n"
        "finally:\n import sys; print(*(l for l in open('/proc/self/status') if 'VmHWM' in l), file=sys.stderr)",
        "-q",
        *(word for number in range(side) for word in ("-x", str(folder / f"xen-syms-{number:03}"))),
        *(str(folder / f"payload-{number}.o") for number in range(side)),
    ]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return int(done.stderr.split()[-2])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--payloads", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    hypervisor = recorded_hypervisor(VERSION)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = []
        for number in range(arguments.payloads):
            made = typical(number, hypervisor)
            path = folder / f"payload-{number}.o"
            path.write_bytes(made.data)
            paths.append(path)
            if number < LINKED:
                result = Host(hypervisor).upload("payload", made.data)
                assert result.accepted, result.findings
                linker_script(result, made.xen_symbols, path.with_suffix(".lds"))
        files = [str(path) for path in paths]
        builds = variants(folder, SIDE)
        rounds: dict[str, list[float]] = {"ld": [], "one": [], "two": [], "cells": []}
        for _ in range(arguments.rounds):
            rounds["ld"].append(link(folder, paths[:LINKED]) / LINKED)
            rounds["one"].append(check(Serial(), [str(HYPERVISOR)], files) / len(files))
            rounds["two"].append(check(Processes(2), [str(HYPERVISOR)], files) / len(files))
        for _ in range(2):
            rounds["ld"].append(link(folder, paths[:LINKED]) / LINKED)
            rounds["cells"].append(check(Serial(), builds, files[:SIDE]) / (SIDE * SIDE))
        of = {key: statistics.median(values) for key, values in rounds.items()}
        small, large = peak(10, folder), peak(SIDE, folder)
    print("| | measured | ld once for each | ratio | wanted |\n|---|---|---|---|---|")
    print(
        f"| {len(files):,} payloads, one hypervisor, a payload | {of['one'] * 1e6:.0f} µs | {of['ld'] * 1e6:.0f} µs | "
        f"{of['ld'] / of['one']:.1f} | at least {WANTED['payloads']} |"
    )
    print(
        f"| {SIDE} by {SIDE}, a cell | {of['cells'] * 1e6:.0f} µs | {of['ld'] * 1e6:.0f} µs | "
        f"{of['ld'] / of['cells']:.1f} | at least {WANTED['cells']} |"
    )
    print(
        f"| two processes against one | {of['two'] * 1e6:.0f} µs a payload | | {of['one'] / of['two']:.2f} | "
        f"at least {WANTED['two processes']} |"
    )
    print(
        f"| peak memory, {SIDE * SIDE:,} cells against 100 | {large / 1024:.0f} MiB | | {large / small:.2f} | "
        f"at most {WANTED['memory']} |"
    )


if __name__ == "__main__":
    main()
