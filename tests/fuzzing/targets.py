"""What is fuzzed: each reader of files, with what it may raise, and small files to begin with.

A target takes bytes and does with them all that a user could. Anything but its own errors is a finding. Also a plain
test (`test_targets.py`) runs every target on its seeds.
"""

from __future__ import annotations

import gzip
import os
import struct
import tempfile
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hypervisor.cores import core
from records import recorded_hypervisor

from xsplice_loader import Finding, Host, Hypervisor, HypervisorFileError
from xsplice_loader.checking.baseline import BaselineError, read_baseline
from xsplice_loader.checking.baseline import baseline as make_baseline
from xsplice_loader.checking.cell import check, checked_hypervisor, host_for
from xsplice_loader.checking.journal import Journal, JournalError
from xsplice_loader.checking.judging import Judge, Judged
from xsplice_loader.checking.matrix import Answer
from xsplice_loader.checking.question import Question
from xsplice_loader.cli.check import main as xsplice_check
from xsplice_loader.cli.configuration import ConfigurationError, read_configuration
from xsplice_loader.forge import forge
from xsplice_loader.host.script import ScriptError, read_script, run_script
from xsplice_loader.host.tool import LivepatchTool
from xsplice_loader.hypervisor.elf import read_elf
from xsplice_loader.payload import PayloadFile, text_of
from xsplice_loader.relocation.listing import list_relocations
from xsplice_loader.relocation.sections import relocation_sections
from xsplice_loader.report.check_document import check_json
from xsplice_loader.report.check_text import check_lines
from xsplice_loader.report.checked import Run
from xsplice_loader.report.document import document, encode
from xsplice_loader.report.elf_file import elf_file
from xsplice_loader.report.explain import Style, lesson_lines
from xsplice_loader.report.explain_walk import walk_lines
from xsplice_loader.report.github import github
from xsplice_loader.report.junit import junit
from xsplice_loader.report.page.page import page_html
from xsplice_loader.report.paint import plain
from xsplice_loader.report.sarif import sarif
from xsplice_loader.report.text import load_report
from xsplice_loader.teaching.anatomy import NeverPlacedError, NoSuchRelocationError, anatomy
from xsplice_loader.teaching.relocation_blocks import relocation_blocks
from xsplice_loader.teaching.scene import silent
from xsplice_loader.teaching.walk import retrace, scene_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from xsplice_loader import LoadResult
    from xsplice_loader.teaching.scene import Scene

PAYLOADS = Path(__file__).parents[2] / "payloads"
RELEASES = ("4.7.0", "4.10.0", "4.12.0", "4.14.0", "4.14.6", "4.17.2", "4.17.7", "4.20.3", "4.21.0")
SCRATCH = "/dev/shm" if os.path.isdir("/dev/shm") else None
XEN_VIRT_START = 0xFFFF82D040000000


class Target(NamedTuple):
    """One reader."""

    run: Callable[[bytes], None]
    seeds: Callable[[], Iterator[bytes]]
    largest: int
    """Bytes of an input at most."""


@lru_cache(maxsize=1)
def model() -> Hypervisor:
    return Hypervisor.model()


@lru_cache(maxsize=1)
def samples() -> tuple[bytes, ...]:
    return tuple(forge(path.read_text(encoding="utf-8")) for path in sorted(PAYLOADS.glob("*.s")))


def payload(data: bytes) -> None:
    """Upload, explain, apply, revert, replace and unload under some release's rules, and write every report."""
    release, data = RELEASES[data[0] % len(RELEASES)] if data else None, data[1:]
    host = Host(model(), release=release)
    result = host.upload("fuzzed", data)
    _explain(scene_of(host, result, data, ()))
    if result.accepted:
        for verb in (host.apply, host.revert, host.replace, host.revert, host.unload):
            verb("fuzzed")
    _report(host, result)


def _explain(scene: Scene) -> None:
    """Tell the walk, and take the first relocation of each table apart."""
    style = Style(80, plain, verbosity=1)
    "\n".join(walk_lines(retrace(scene), style)).encode()
    if scene.payload is None:
        return
    for group in relocation_sections(scene.payload, silent(scene.release)):
        try:
            found = anatomy(scene, group.section.text_name, 0)
        except (NeverPlacedError, NoSuchRelocationError):
            continue
        "\n".join(lesson_lines(relocation_blocks(found), style)).encode()


def _report(host: Host, result: LoadResult) -> None:
    items = list(list_relocations(result.trace, host.state.release)) if result.trace is not None else []
    encode(document(host, [result], [items], None, [], with_windows=True))
    "".join(load_report(host, [result], [items], [], [], verbosity=1, with_windows=True, paint=plain)).encode()
    page_html(host, [result], [])
    if result.accepted and result.trace is not None:
        elf_file(result.trace)


def _payload_seeds() -> Iterator[bytes]:
    for index, data in enumerate(samples()):
        yield bytes([index % len(RELEASES)]) + data


def hypervisor(data: bytes) -> None:
    """Open a file of any form, and ask it what a load asks."""
    with tempfile.NamedTemporaryFile(dir=SCRATCH, suffix=".xen") as file:
        file.write(data)
        file.flush()
        try:
            opened = Hypervisor.open(file.name)
        except HypervisorFileError:
            return
    opened.symbols.address_of(b"xen_extra_version")
    opened.symbols.names_like(b"xen_extra_versoin")
    opened.symbols.symbol_at(opened.text_start + 5)
    opened.at_run_time.read(opened.text_start, 64)
    Host(opened).upload("hello", samples()[0])


def _xen_syms_seeds() -> Iterator[bytes]:
    yield _model_file()
    yield gzip.compress(_model_file())


def _boot_image_seeds() -> Iterator[bytes]:
    """Yield the model in the 32-bit wrapper that boot loaders read."""
    pieces = read_elf(memoryview(_model_file())).pieces(XEN_VIRT_START).pieces
    loads = [(piece.offset, bytes(piece.data)) for piece in pieces]
    header = struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, 0, 52, 0, 0, 52, 32, len(loads), 0, 0, 0)
    at = 52 + 32 * len(loads)
    table, contents = b"", b""
    for address, data in loads:
        table += struct.pack("<IIIIIIII", 1, at + len(contents), address, address, len(data), len(data), 7, 4)
        contents += data
    file = b"\x7fELF\1\1\1" + bytes(9) + header + table + contents
    yield file
    yield gzip.compress(file)


def _efi_seeds() -> Iterator[bytes]:
    """Yield the model as a PE image of one section."""
    pieces = read_elf(memoryview(_model_file())).pieces(XEN_VIRT_START).pieces
    start, end = pieces[0].offset, pieces[-1].end
    image = bytearray(end - start)
    for piece in pieces:
        image[piece.offset - start : piece.offset - start + len(piece.data)] = piece.data
    head = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x40)
    head += b"PE\0\0" + struct.pack("<HHIIIHH", 0x8664, 1, 0, 0, 0, 240, 0)
    head += (struct.pack("<H", 0x20B).ljust(24, b"\0") + struct.pack("<Q", XEN_VIRT_START)).ljust(240, b"\0")
    at = len(head) + 40
    section = struct.pack("<8s6I2HI", b".text", len(image), start, len(image), at, 0, 0, 0, 0, 0x60000020)
    yield head + section + bytes(image)


def captured(data: bytes) -> None:
    """Open a core file as captured memory of a recorded Xen, and load what reads it."""
    with tempfile.NamedTemporaryFile(dir=SCRATCH, suffix=".core") as file:
        file.write(data)
        file.flush()
        try:
            opened = recorded_hypervisor("4.17.7").with_memory(file.name)
        except HypervisorFileError:
            return
    host = Host(opened)
    result = host.upload("call", _call_through_genapic(opened.build_id))
    assert result.verdict != "refused"
    host.apply("call")


@lru_cache
def _call_through_genapic(build_id: bytes | None) -> bytes:
    return forge(
        """
        .text
        .balign 16
        .type replacement, @function
replacement:
site:   call *genapic+24(%rip)
        ret
        .size replacement, . - replacement
        .section .altinstr_replacement, "ax", @progbits
other:  call .
        .section .altinstructions, "a", @progbits
        .long site - ., other - .
        .short 93
        .byte 6, 5, 0, 0
        .livepatch_func "xen_minor_version", replacement, 16
        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id a1
        """,
        xen_build_id=build_id,
    )


def _captured_seeds() -> Iterator[bytes]:
    xen = recorded_hypervisor("4.17.7")
    genapic = xen.symbols.address_of(b"genapic") or 0
    pointers = {genapic + 24: xen.text_start.to_bytes(8, "little"), xen.image_end - 4096: bytes(4096)}
    yield core(pointers, xen.build_id)
    yield gzip.compress(core(pointers, xen.build_id), mtime=0)
    yield core({0x1000: bytes(16), genapic: bytes(64)}, None)


def _list_seeds() -> Iterator[bytes]:
    names = [(address, kind, text_of(name)) for name, address, kind in model().symbols]
    yield "".join(f"{address:016x} {kind} {name}\n" for address, kind, name in names).encode()
    yield "".join(f"{name}|{address:016x}|   {kind}  |  FUNC|\n" for address, kind, name in names).encode()


def script(data: bytes) -> None:
    """Run a script whose files are samples."""
    try:
        commands = read_script(data.decode("utf-8", "surrogateescape"))
    except ScriptError:
        return
    files = samples()

    def read(file: str) -> bytes | OSError:
        return files[int(file) % len(files)] if file.isdecimal() and len(file) < 5 else FileNotFoundError(2, "no file")

    tool = LivepatchTool(Host(model()), read)
    steps = list(run_script(tool, commands[:20]))
    encode(document(tool.host, tool.uploads, [None] * len(tool.uploads), steps, [], with_windows=False))
    "".join(load_report(tool.host, [], [], steps, [], verbosity=1, with_windows=False, paint=plain)).encode()


def _script_seeds() -> Iterator[bytes]:
    yield b"# a stack\nupload a 1\napply a\nupload 'b c' 2\napply 'b c' --nodeps\nlist\nrevert 'b c'\nxl debug-keys x\n"
    yield b"load 3\nload 4 --nodeps\nreplace 5\nunload 3\nupload x\nhelp\nxen-livepatch list\n--force list\n"


def baseline(data: bytes) -> None:
    """Read a baseline."""
    with suppress(BaselineError):
        read_baseline(data)


def _baseline_seeds() -> Iterator[bytes]:
    finding = Finding(rule="XSP089", severity="error", message="too far", section=".text", symbol="far")
    yield make_baseline([("fix.livepatch", Judged(finding, "0123456789abcdef", is_known=False))])
    yield make_baseline([])


def journal(data: bytes) -> None:
    """Go on from a journal, and report what it holds."""
    with tempfile.NamedTemporaryFile(dir=SCRATCH, suffix=".journal") as file:
        file.write(data)
        file.flush()
        try:
            kept = Journal.resumed(file.name, "about", 2)
        except JournalError:
            return
        with kept:
            checked = Run.of(kept, Judge(), ("one",), ("first", "second"))
            for report in (check_json, sarif, junit):
                b"".join(report(checked))
            "".join(check_lines(checked, verbosity=1, paint=plain)).encode()
            "".join(github(checked)).encode()


def _journal_seeds() -> Iterator[bytes]:
    with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
        path = os.path.join(folder, "journal")
        with Journal.resumed(path, "about", 2) as kept:
            for number, data in enumerate((samples()[0], b"no payload")):
                cell, known = check(host_for(model(), Question()), "p", PayloadFile(data), Question(window=True))
                kept.add(Answer(number, cell, known, checked_hypervisor(model(), None)))
        yield Path(path).read_bytes()


def configuration(data: bytes) -> None:
    """Read a project's options."""
    with tempfile.NamedTemporaryFile(dir=SCRATCH, suffix=".toml") as file:
        file.write(data)
        file.flush()
        with suppress(ConfigurationError):
            read_configuration(file.name, xsplice_check)


def _configuration_seeds() -> Iterator[bytes]:
    yield b'[tool.xsplice-check]\npayloads = ["a", "b"]\njobs = 2\nwindow = true\nseverity = {XSP089 = "note"}\n'
    yield b'hypervisor = "xen-syms"\nfail-on = "warning"\n'


@lru_cache(maxsize=1)
def _model_file() -> bytes:
    from xsplice_loader.hypervisor.image import MODEL  # noqa: PLC0415 - the only use

    return Path(MODEL).read_bytes()


TARGETS = {
    "payload": Target(payload, _payload_seeds, 16 << 10),
    "xen-syms": Target(hypervisor, _xen_syms_seeds, 32 << 10),
    "boot-image": Target(hypervisor, _boot_image_seeds, 32 << 10),
    "efi": Target(hypervisor, _efi_seeds, 32 << 10),
    "captured": Target(captured, _captured_seeds, 8 << 10),
    "symbol-list": Target(hypervisor, _list_seeds, 16 << 10),
    "script": Target(script, _script_seeds, 1 << 10),
    "baseline": Target(baseline, _baseline_seeds, 4 << 10),
    "journal": Target(journal, _journal_seeds, 8 << 10),
    "configuration": Target(configuration, _configuration_seeds, 2 << 10),
}
