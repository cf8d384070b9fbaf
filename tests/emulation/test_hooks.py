"""Hooks, run: what they return, what stays of what they wrote."""

from __future__ import annotations

import pytest
from emulation.snippets import SOURCE, address_of, host_with

from xsplice_loader import Host, Hypervisor
from xsplice_loader.emulation import Limits, run_hook
from xsplice_loader.forge import forge
from xsplice_loader.host.hooks import HookCall, HookOutcome
from xsplice_loader.results import ActionError

PREAPPLY, LOAD = ".livepatch.hooks.preapply", ".livepatch.hooks.load"


def outcome(code: str, section: str = PREAPPLY, more: str = "", release: str | None = None) -> HookOutcome:
    host = host_with(code, more, release=release)
    return run_hook(host.state, HookCall("snippet", section, address_of(host, "tested")))


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("xor %eax, %eax; ret", 0),
        ("mov $-22, %eax; ret", -22),
        ("movabs $0x5ffffffff, %rax; ret", -1),
        ("mov $7, %eax; ret", 7),
    ],
)
def test_the_value_is_an_int(code: str, value: int) -> None:
    assert outcome(code) == HookOutcome(value)


def test_a_hook_that_never_ends_is_stopped_after_a_number_of_instructions() -> None:
    done = outcome("jmp .")
    assert done.unknown == "did not end within 200,000 instructions"


def test_what_it_wrote_stays() -> None:
    host = host_with("movq $9, numbers(%rip); movl $5, system_state(%rip); xor %eax, %eax; ret")
    assert run_hook(host.state, HookCall("snippet", PREAPPLY, address_of(host, "tested"))) == HookOutcome()
    memory = host.state.memory
    assert memory.read(address_of(host, "numbers"), 8) == b"\x09" + bytes(7)
    assert memory.read(address_of(host, "system_state"), 4) == b"\x05\0\0\0"


def test_writes_from_the_images_last_page_into_the_first_of_the_payloads() -> None:
    # On the model, as on 4.17, payloads are placed right behind the image, but for the bitmap's pages.
    hypervisor = Hypervisor.model()
    host = Host(hypervisor, place=hypervisor.image_end)
    source = SOURCE.format(
        code="movabs $0x1122334455667788, %rax; mov %rax, tested-3(%rip); ret".replace("; ", "\n"), more=""
    )
    assert host.upload("snippet", forge(source)).accepted
    text = host.payloads[0].placement.base
    assert text == hypervisor.image_end
    host.state.memory.modify_mappings(text, text + 4096, "rwx")
    assert run_hook(host.state, HookCall("snippet", PREAPPLY, address_of(host, "tested"))).crash is None
    assert host.state.memory.read(text - 3, 3) == bytes.fromhex("887766")
    assert host.state.memory.read(text, 5) == bytes.fromhex("5544332211")


@pytest.mark.parametrize("end", [".byte 0xfa", "ud2", "again: jmp again"])
def test_nothing_stays_of_one_that_does_not_end(end: str) -> None:
    host = host_with(f"movq $9, numbers(%rip); {end}")
    call = HookCall("snippet", PREAPPLY, address_of(host, "tested"))
    done = run_hook(host.state, call, limits=Limits(instructions=100))
    assert (done.value, done.unknown is None, done.crash is None) == (0, end == "ud2", end != "ud2")
    assert host.state.memory.read(address_of(host, "numbers"), 8) == b"\1" + bytes(7)


def test_what_it_printed_is_kept_either_way() -> None:
    code = "sub $8, %rsp; lea format(%rip), %rdi; call printk; add $8, %rsp; .byte 0xfa"
    done = outcome(code, more=r'format: .asciz "<0>hook\n"')
    assert done.console == ("hook",)
    assert done.unknown is not None


def test_a_hook_that_cannot_be_followed_leaves_the_outcome_unknown() -> None:
    more = ".livepatch_hook preapply, tested"
    host = host_with("movq $9, numbers(%rip); .byte 0xfa", more, runner=run_hook)
    done = host.apply("snippet")
    assert (done.rc, done.crash, done.succeeded, done.payload_rc) == (None, None, False, 0)
    assert done.unknown is not None
    assert done.unknown in [finding.message for finding in done.findings if finding.severity == "error"]
    assert not any("finished" in (line or "") for line in done.log)
    with pytest.raises(ActionError) as error:
        done.raise_for_rc()
    assert error.value.errno is None
    # Nothing has happened that could be seen.
    assert host.state.memory.read(address_of(host, "numbers"), 8) == b"\1" + bytes(7)
    assert [row.state for row in host.list()] == ["CHECKED"]


@pytest.mark.parametrize(
    ("code", "clobbered"),
    [("xor %ebx, %ebx; xor %eax, %eax; ret", "RBX"), ("inc %r12; dec %rbp; ret", "RBP, R12"), ("ret $0xbff", "RSP")],
)
def test_a_hook_that_clobbers_callee_saved_registers_has_an_unknown_outcome(code: str, clobbered: str) -> None:
    """The psABI, 3.2.1; the real 4.14 died of such a `ret $0xbff` in _spin_lock_recursive, long after the hook."""
    done = outcome(code)
    assert done.unknown is not None
    assert f"callee-saved {clobbered}, " in done.unknown
    assert outcome("push %rbx; push %rbp; xor %ebx, %ebx; xor %ebp, %ebp; pop %rbp; pop %rbx; xor %eax, %eax; ret") == (
        HookOutcome()
    )


def test_load_hooks_are_passed_nothing() -> None:
    more = ".livepatch_hook load, tested"
    assert host_with("mov 8(%rdi), %rax; ret", more, runner=run_hook).apply("snippet").unknown is not None


@pytest.mark.parametrize(
    ("release", "writes", "survives"),
    [
        # spec/06: CR0.WP; then text; then read-only data too, and only of what is active.
        ("4.14.6", "xen_major_version", True),
        ("4.14.6", "tested", True),
        ("4.14.6", "constant", True),
        ("4.17.1", "xen_major_version", True),
        ("4.17.1", "tested", False),
        ("4.17.1", "constant", False),
        ("4.17.4", "xen_major_version", True),
        ("4.17.4", "tested", True),
        ("4.17.4", "constant", True),
    ],
)
def test_load_hooks_write_what_xen_may_write_then(release: str, writes: str, survives: bool) -> None:
    host = host_with(f"movb $0x90, {writes}(%rip); ret", release=release)
    place, entry = address_of(host, writes), address_of(host, "tested")
    for section in (PREAPPLY, ".livepatch.hooks.apply"):
        assert run_hook(host.state, HookCall("snippet", section, entry)).crash is not None
    done = run_hook(host.state, HookCall("snippet", LOAD, entry))
    assert (done.crash is None) == survives, done
    if survives:
        assert host.state.memory.read(place, 1) == b"\x90"


def test_the_host_runs_hooks_in_their_order() -> None:
    more = r"""
        .livepatch_hook preapply, tested
        .livepatch_hook load, tested
        .livepatch_hook postapply, tested
        format: .asciz "<0>number %d\n"
    """
    code = (
        "sub $8, %rsp; mov numbers(%rip), %rsi; incq numbers(%rip); lea format(%rip), %rdi; call printk; "
        "xor %eax, %eax; add $8, %rsp; ret"
    )
    host = host_with(code, more, runner=run_hook)
    done = host.apply("snippet")
    assert (done.rc, [line for line in done.log if (line or "").startswith("number")]) == (
        0,
        ["number 1", "number 2", "number 3"],
    )


def test_a_veto() -> None:
    host = host_with("mov $-16, %eax; ret", ".livepatch_hook preapply, tested", runner=run_hook)
    assert host.apply("snippet").rc == -16
