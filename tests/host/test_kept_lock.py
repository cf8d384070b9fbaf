"""Debug key x with more than 64 functions in a payload, where it keeps the payload lock (4.7.0-2, 4.8.0-1)."""

from __future__ import annotations

import pytest
from small_payloads import payload

from xsplice_loader import Host, Hypervisor
from xsplice_loader.host.tool import LivepatchTool

KEEPING = ["4.7.0", "4.7.2", "4.8.0", "4.8.1"]
GIVING_BACK = ["4.7.3", "4.8.2", "4.9.0", "4.11.0"]
KEPT = "XSP236"


def with_functions(count: int) -> bytes:
    further = '.livepatch_func "xen_minor_version", .Lnew, 5, 0, sizeof(.Lnew), 1\n' * (count - 1)
    return payload(further, version=1)


def loaded(release: str, count: int) -> LivepatchTool:
    files = {"many": with_functions(count), "other": payload(version=1, build_id="b2", label=".Lother")}
    tool = LivepatchTool(Host(Hypervisor.model(), release=release), files.__getitem__)
    assert tool.run("upload", ["upload", "many", "many"]).succeeded
    return tool


@pytest.mark.parametrize(("release", "count"), [*((r, 65) for r in GIVING_BACK), *((r, 64) for r in KEEPING)])
def test_all_functions_are_shown(release: str, count: int) -> None:
    tool = loaded(release, count)
    shown = tool.press_x("x").log
    assert sum(" patch " in (line or "") for line in shown) == count
    assert (shown[-1] or "").startswith("depend-on=")
    assert tool.run("apply", ["apply", "many"]).succeeded


@pytest.mark.parametrize("release", KEEPING)
@pytest.mark.parametrize("count", [65, 66, 200])
def test_the_output_ends_and_the_lock_is_kept(release: str, count: int) -> None:
    tool = loaded(release, count)
    shown = tool.press_x("x").log
    assert sum(" patch " in (line or "") for line in shown) == 65
    assert shown[-1] == "Couldn't reacquire lock. Try again."
    assert tool.press_x("x").log[-1] == "Lock held. Try again."


@pytest.mark.parametrize("command", ["list", "apply many", "revert many", "unload many", "upload other other"])
def test_requests_never_end_with_the_lock_kept(command: str) -> None:
    tool = loaded("4.8.0", 65)
    tool.press_x("x")
    step = tool.run(command, command.split())
    assert (step.rc, step.crash) == (None, KEPT)
    (finding,) = [found for found in step.findings if found.rule == KEPT]
    assert "never ends" in finding.message


def test_hypercalls_never_end_with_the_lock_kept() -> None:
    host = Host(Hypervisor.model(), release="4.8.0")
    host.upload("many", with_functions(65)).raise_for_verdict()
    host.dump()
    assert host.apply("many").crash == KEPT
    assert host.upload("other", payload(version=1, build_id="b2", label=".Lother")).verdict == "crash"
    # What is tested before the lock is asked for still has its answer.
    assert host.upload("empty", b"").errno == 22
