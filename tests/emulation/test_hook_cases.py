"""Payloads with hooks for Debian's Xen 4.17.7, built by gas and ld, under the rules of several releases."""

from __future__ import annotations

import subprocess
from functools import cache, partial
from typing import TYPE_CHECKING

import pytest
from forge_readback import require
from known_hypervisors import DATA, KNOWN

from xsplice_loader import Host, Hypervisor
from xsplice_loader.emulation import Limits, run_hook
from xsplice_loader.host.script import read_script, run_script
from xsplice_loader.host.tool import LivepatchTool

if TYPE_CHECKING:
    from pathlib import Path

    from xsplice_loader.results import ActionResult

FOLDER = DATA / "hooks"
XEN = KNOWN[1]


@cache
def hypervisor() -> Hypervisor:
    return Hypervisor.open(XEN.path)


def built(name: str, folder: Path, *definitions: str) -> bytes:
    defined = [f"--defsym={definition}=1" for definition in definitions]
    unlinked, payload = folder / "unlinked.o", folder / "payload.o"
    source = str(FOLDER / f"{name}.s")
    assemble = [require("as"), "--64", "-mx86-used-note=no", f"-I{FOLDER}", *defined, "-o", str(unlinked), source]
    subprocess.run(assemble, check=True)
    subprocess.run([require("ld"), "-r", "--build-id=sha1", "-o", payload, unlinked], check=True)
    return payload.read_bytes()


def applied(data: bytes, release: str) -> tuple[Host, ActionResult]:
    host = Host(hypervisor(), release=release, hook_runner=run_hook)
    result = host.upload("payload", data)
    assert result.accepted, result.findings
    return host, host.apply("payload")


def old_bytes(host: Host) -> bytes:
    found = host.state.memory.read(XEN.extra_version, 12)
    assert found is not None
    return found


@pytest.mark.parametrize("release", ["4.14.6", "4.17.3", "4.17.7", "4.20.3", "4.22.0"])
def test_a_hook_that_reads_the_structure_and_refuses(release: str, tmp_path: Path) -> None:
    host, done = applied(built("hook-reads-payload", tmp_path), release)
    assert (done.rc, done.payload_rc, done.unknown) == (-22, -22, None)
    assert old_bytes(host).hex() == XEN.extra_version_code


@pytest.mark.parametrize(
    ("release", "survives"),
    [("4.17.0", True), ("4.17.1", False), ("4.17.2", False), ("4.17.3", False), ("4.17.4", True), ("4.17.7", True)],
)
def test_a_load_hook_that_writes_to_read_only_data(release: str, survives: bool, tmp_path: Path) -> None:
    _, done = applied(built("hook-writes-rodata", tmp_path), release)
    assert (done.crash is None, done.rc) == ((True, 0) if survives else (False, None)), done


@pytest.mark.parametrize(
    ("release", "survives"),
    [("4.14.6", False), ("4.17.3", False), ("4.17.4", True), ("4.18.0", False), ("4.18.1", True), ("4.20.3", True)],
)
def test_a_warning_in_a_preapply_hook(release: str, survives: bool, tmp_path: Path) -> None:
    _, done = applied(built("preapply-warn", tmp_path), release)
    if survives:
        assert done.succeeded
        assert "Xen WARN at hook.c:42" in done.log
    else:
        assert done.crash is not None
        reasons = [finding.message for finding in done.findings if finding.crash]
        assert any("FATAL TRAP: vector = 6 (invalid opcode)" in reason for reason in reasons)


@pytest.mark.parametrize(
    ("release", "definitions", "reason"),
    [
        ("4.22.0", (), "Xen BUG at hook.c:42"),
        ("4.22.0", ("UD2",), "FATAL TRAP: vec 6, #UD[0000]"),
        ("4.22.0", ("UD2", "WARN"), "FATAL TRAP: vec 6, #UD[0000]"),
        ("4.21.1", (), "FATAL TRAP: vec 6, #UD[0000]"),
        ("4.21.2", ("WARN",), "FATAL TRAP: vec 6, #UD[0000]"),
        ("4.21.0", (), "FATAL TRAP: vector = 6 (invalid opcode)"),
        ("4.21.0", ("UD2",), "Xen BUG at hook.c:42"),
        ("4.17.7", ("WARN",), "FATAL TRAP: vector = 6 (invalid opcode)"),
    ],
)
def test_the_instruction_of_bug_and_warn_ends_the_machine(
    release: str, definitions: tuple[str, ...], reason: str, tmp_path: Path
) -> None:
    host, done = applied(built("udb-bug-4.22", tmp_path, *definitions), release)
    assert (done.rc, done.unknown) == (None, None)
    assert done.crash is not None
    assert any(reason in finding.message for finding in done.findings if finding.crash)
    assert ("Xen BUG at hook.c:42" in done.log) is ("BUG" in reason)
    assert old_bytes(host).hex() == XEN.extra_version_code


@pytest.mark.parametrize(("release", "definitions"), [("4.22.0", ("WARN",)), ("4.21.2", ("WARN", "UD2"))])
def test_the_instruction_of_a_warning(release: str, definitions: tuple[str, ...], tmp_path: Path) -> None:
    _, done = applied(built("udb-bug-4.22", tmp_path, *definitions), release)
    assert done.succeeded
    assert done.log.count("Xen WARN at hook.c:42") == 1


def test_a_hook_that_never_ends() -> None:
    data = (FOLDER / "hk-loop.livepatch").read_bytes()
    host = Host(
        Hypervisor.model().assume(), release="4.22.0", hook_runner=partial(run_hook, limits=Limits(instructions=10_000))
    )
    tool = LivepatchTool(host, {"hk-loop": data, "other": data}.__getitem__)
    script = read_script("upload a hk-loop\napply a\nupload b other\n")
    steps = list(run_script(tool, script))
    assert [step.rc for step in steps] == [0, None]
    assert steps[1].unknown is not None
    assert "did not end within" in steps[1].unknown
    assert (steps[1].crash, steps[1].errno, steps[1].payload_rc, steps[1].list) == (None, None, None, ())
    assert "completed" not in " ".join(steps[1].out)
