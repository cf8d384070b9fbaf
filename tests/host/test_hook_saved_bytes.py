"""Hooks that patch functions, or change what was saved of them, and reverts after that."""

from __future__ import annotations

import pytest
from host.test_structures import hypervisor, load, source, xen

from xsplice_loader import Host, Hypervisor
from xsplice_loader.emulation import run_hook

FUNCTION = """
        .text
        .globl new
        .type new, @function
        new: ret
        .size new, 1
        .livepatch_func "strlen", new, 16
"""


def host_with(code: str, kind: str, release: str = "4.17.7", *, of: Hypervisor | None = None) -> Host:
    host = Host(of or hypervisor(), release=release, hook_runner=run_hook)
    hook = "\n".join([".text", "hook:", *code.split("; "), f".livepatch_hook {kind}, hook", FUNCTION])
    load(host, "hooked", release, source({}, hook, release=release))
    return host


def test_a_revert_after_an_apply_hook_that_saved_nothing() -> None:
    """The hook only marks the function as patched (fstate at 112, its second word): zeros are put over it."""
    host = host_with("mov 112(%rdi), %rax; movl $1, 4(%rax); xor %eax, %eax; ret", "apply")
    memory, place = host.state.memory, xen("strlen")
    before = hypervisor().at_run_time.read(place, 16)
    assert before is not None
    assert before[:5] != bytes(5)
    assert host.apply("hooked").succeeded
    assert list(host.state.patched) == [place]
    assert memory.read(place, 16) == before
    done = host.revert("hooked")
    assert done.succeeded
    assert memory.read(place, 16) == bytes(5) + before[5:]
    (finding,) = [finding for finding in done.findings if finding.rule == "XSP242"]
    assert f"from {place:#018x} on" in finding.message


def test_a_hook_that_marks_nothing_patches_nothing() -> None:
    host = host_with("mov $-1, %eax; ret", "apply")
    assert host.apply("hooked").payload_rc == -1
    assert not host.state.patched


@pytest.mark.parametrize(
    ("release", "states", "start"),
    [
        # `funcs` at 104, whose entries have the saved bytes at 33; `fstate` at 112, with them at 8.
        ("4.14.6", 104, 33),
        ("4.17.7", 112, 8),
    ],
)
def test_saved_bytes_that_were_unknown_and_are_overwritten_are_known(release: str, states: int, start: int) -> None:
    code = f"mov {states}(%rdi), %rax; movl $0x44332211, {start}(%rax); movb $0x55, {start + 4}(%rax); ret"
    xen_without_contents = Hypervisor.model().assume()
    host = host_with("ret", "postapply", release, of=xen_without_contents)
    (loaded,) = host.payloads
    assert host.apply("hooked").succeeded
    assert loaded.status.unknown_saved == {0: (0, 1, 2, 3, 4)}
    host = host_with(code, "postapply", release, of=xen_without_contents)
    (loaded,) = host.payloads
    assert host.apply("hooked").succeeded
    assert loaded.status.unknown_saved == {0: ()}
    place = loaded.entries[0].old_addr
    assert host.revert("hooked").succeeded
    assert host.state.memory.read(place, 5) == bytes.fromhex("1122334455")


def test_saved_bytes_of_which_a_hook_overwrote_some() -> None:
    host = host_with(
        "mov 104(%rdi), %rax; movb $0x22, 34(%rax); ret", "postapply", "4.14.6", of=Hypervisor.model().assume()
    )
    (loaded,) = host.payloads
    assert host.apply("hooked").succeeded
    assert host.revert("hooked").succeeded
    found = host.state.memory.read_partly(loaded.entries[0].old_addr, 5)
    assert (found.contents[1], list(found.unknown)) == (0x22, [1, 0, 1, 1, 1])
