"""What Xen does about exceptions: bug frames and exception tables, its own and those of active payloads."""

from __future__ import annotations

import pytest
from emulation.snippets import address_of, host_with, outcome_of, run_on

from xsplice_loader import Host, Hypervisor
from xsplice_loader.emulation import run, run_hook
from xsplice_loader.host_state import HostState, LoadedPayload

FREE = 0xFFFF82D07F000000
"""An address in the range for payloads where there is none."""
FAULTS = f"movabs ${FREE}, %rdx; fault: mov (%rdx), %rax; mov $1, %eax; ret; fixed: mov $2, %eax; ret"
FIXED = ".xen_exception fault, fixed"
WARNS = '.xen_warn "arch/x86/some.c", 261; mov $3, %eax; ret'


def frame(kind: int, message: str = "") -> str:
    """Return a bug frame of a kind for the label `site`, which says file.c:130."""
    text = (
        f'.long 0, message - frame\n.section .rodata.more, "a", @progbits\nmessage: .asciz "{message}"'
        if message
        else ""
    )
    return f"""
        .section .bug_frames.{kind}, "a", @progbits
        frame:
        .long site - frame + (1 << 24), file - frame + (2 << 24)
        {text}
        .section .rodata.names, "a", @progbits
        file: .asciz "file.c"
    """


def test_a_warning_is_printed_and_execution_goes_on() -> None:
    done = outcome_of(WARNS)
    assert (done.value, done.console) == (3, ("Xen WARN at arch/x86/some.c:261",))


def test_a_long_file_name_shows_its_end() -> None:
    # 50 characters are shown of 57; so did Debian's three hypervisors.
    name = "arch/x86/some/quite/long/directory/name/with/a/file/at.c"
    done = outcome_of(f'.xen_warn "{name}", 5; ret')
    assert done.console == ("Xen WARN at ..." + name[-47:] + ":5",)


@pytest.mark.parametrize(
    ("kind", "message", "reason"),
    [
        (2, "", "ends in Xen BUG at file.c:130"),
        (3, "a < b", "ends in Assertion 'a < b' failed at file.c:130"),
    ],
)
def test_what_ends_the_machine(kind: int, message: str, reason: str) -> None:
    done = outcome_of("nop; site: ud2; ret", more=frame(kind, message))
    assert (done.outcome, done.reason) == ("crash", reason)


def test_the_line_of_what_ends_the_machine_is_printed_first() -> None:
    assert outcome_of("nop; site: ud2; ret", more=frame(2)).console == ("Xen BUG at file.c:130",)


def test_the_second_half_of_an_assertion_is_taken_for_a_frame() -> None:
    # Xen goes through all tables in steps of 8 bytes: the 0 and the distance of the text make a frame of their own,
    # here for the table's second word, where no instruction is, and a frame half an entry late is found.
    more = """
        .section .bug_frames.3, "a", @progbits
        .long 0, 0
        frame:
        .long site - frame + (1 << 24), file - frame + (2 << 24), 0, message - frame
        .section .rodata.names, "a", @progbits
        file: .asciz "file.c"
        message: .asciz "late"
    """
    assert outcome_of("nop; site: ud2; ret", more=more).reason == "ends in Assertion 'late' failed at file.c:130"


def test_a_file_name_outside_xen_and_payloads_makes_no_frame() -> None:
    more = frame(1).replace("file - frame + (2 << 24)", "0x700000")
    done = outcome_of("nop; site: ud2; ret", more=more)
    assert done.outcome == "crash"
    assert "FATAL TRAP: vector = 6 (invalid opcode)" in str(done.reason)


def test_an_assertion_outside_xen_and_payloads() -> None:
    more = frame(3, "a < b").replace("message - frame", "0x70000000")
    done = outcome_of("nop; site: ud2; ret", more=more)
    assert done.reason == "ends in Assertion '<unknown>' failed at file.c:130"


WARNS_IN_ALL_HOOKS = ("preapply", "load", "postapply", "prerevert", "unload", "postrevert")


@pytest.mark.parametrize("release", ["4.14.6", "4.17.3", "4.17.4", "4.18.0", "4.18.1", "4.20.3"])
@pytest.mark.parametrize("kind", WARNS_IN_ALL_HOOKS)
def test_when_a_warning_in_a_hook_can_be_survived(release: str, kind: str) -> None:
    registered_by_upload = release in ("4.17.4", "4.18.1", "4.20.3")
    code = WARNS.replace("mov $3, %eax", "xor %eax, %eax")
    host = host_with(code, f".livepatch_hook {kind}, tested", release=release, runner=run_hook)
    done = host.apply("snippet")
    if done.crash is None:
        done = host.revert("snippet")
    survives = registered_by_upload or kind in ("postapply", "prerevert", "unload")
    assert (done.crash is None, done.unknown) == (survives, None)


def test_a_warning_after_an_action_that_failed() -> None:
    more = ".livepatch_hook postapply, tested\n.text\nfail: mov $-5, %eax\nret\n.livepatch_hook apply, fail"
    for release, survives in (("4.17.3", False), ("4.17.4", True)):
        assert (host_with(WARNS, more, release=release, runner=run_hook).apply("snippet").crash is None) is survives


@pytest.mark.parametrize(
    ("release", "hook", "suffix"),
    [("4.21.1", "preapply", ""), ("4.21.1", "load", " IN INTERRUPT CONTEXT"), ("4.22.0", "apply", " IN INTERRUPT")],
)
def test_the_panic_names_the_context(release: str, hook: str, suffix: str) -> None:
    host = host_with("ud2; ret", f".livepatch_hook {hook}, tested", release=release, runner=run_hook)
    (message,) = [finding.message for finding in host.apply("snippet").findings if finding.crash]
    assert f"'FATAL TRAP: vec 6, #UD[0000]{suffix}" in message
    assert ("CONTEXT" in message) is bool(suffix)


def test_what_runs_a_function_of_the_handler() -> None:
    done = outcome_of("nop; site: ud2; ret", more=frame(0))
    assert (done.outcome, done.value) == ("stopped", None)


def test_a_bug_in_front_of_a_fix_up() -> None:
    # Xen asks the bug frames first.
    done = outcome_of("site: ud2; fixed: ret", more=frame(2) + "\n.xen_exception site, fixed")
    assert done.reason == "ends in Xen BUG at file.c:130"


def test_ud2_can_be_fixed_up_as_well() -> None:
    assert outcome_of("site: ud2; fixed: mov $8, %eax; ret", more=".xen_exception site, fixed").value == 8


def test_a_fault_goes_on_at_its_fix_up() -> None:
    done = outcome_of(FAULTS, more=FIXED)
    assert (done.outcome, done.value) == ("returned", 2)


def test_an_entry_for_another_instruction_is_of_no_use() -> None:
    assert outcome_of(FAULTS.replace("fault:", "fault: nop;"), more=FIXED).outcome == "crash"


@pytest.mark.parametrize("which", range(5))
def test_the_right_entry_of_many_is_found(which: int) -> None:
    sites = "; ".join(f"nop; site{number}: ud2; to{number}: mov ${number}, %eax; ret" for number in range(5))
    more = "\n".join(f".xen_exception site{number}, to{number}" for number in (3, 1, 4, 0, 2))
    host = host_with(sites, more)
    assert run(host.state, address_of(host, f"site{which}")).value == which


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("xor %ecx, %ecx; fault: div %ecx; ret; fixed: mov $4, %eax; ret", 4),
        ("movabs $0x8000000000000000, %rdx; fault: mov (%rdx), %eax; ret; fixed: mov $5, %eax; ret", 5),
        ("fault: mov %rax, constant(%rip); ret; fixed: mov $6, %eax; ret", 6),
    ],
)
def test_other_exceptions_are_fixed_up_too(code: str, value: int) -> None:
    assert outcome_of(code, more=FIXED).value == value


def test_memory_that_a_real_machine_may_have_is_not_fixed_up() -> None:
    done = outcome_of("fault: mov (%rdi), %rax; ret; fixed: ret", 0xFFFF830000000000, more=FIXED)
    assert done.outcome == "stopped"


def test_registers_and_stack_are_as_the_fault_left_them() -> None:
    code = f"push $9; movabs ${FREE}, %rdx; fault: mov (%rdx), %rax; ret; fixed: pop %rax; ret"
    assert outcome_of(code, more=FIXED).value == 9


@pytest.mark.parametrize("release", ["4.14.6", "4.17.3"])
def test_a_payload_that_is_not_applied_is_not_asked(release: str) -> None:
    # spec/04 6.3: before SET-C a payload's text is Xen's only between apply and revert.
    for code, more in ((WARNS, ""), (FAULTS, FIXED)):
        host = host_with(code, more, release=release)
        assert run_on(host).outcome == "crash"
        assert host.apply("snippet").rc == 0
        assert run_on(host).outcome == "returned"
        assert host.revert("snippet").rc == 0
        assert run_on(host).outcome == "crash"


def test_since_then_it_is_asked_from_its_upload_on() -> None:
    assert run_on(host_with(WARNS, release="4.17.4")).outcome == "returned"


def test_inactive_means_what_the_host_says(monkeypatch: pytest.MonkeyPatch) -> None:
    def inactive(host: HostState, loaded: LoadedPayload) -> bool:
        del host, loaded
        return False

    monkeypatch.setattr(HostState, "is_active", inactive)
    assert outcome_of(WARNS).outcome == "crash"


@pytest.mark.parametrize("table", ["bug_frames.1", "ex_table"])
def test_tables_of_wild_distances(table: str) -> None:
    wild = f'.section .{table}, "a", @progbits\n.long 0x7f123456, 0x80ffffff, 0, -1, 0xdeadbeef, 0x01020304'
    assert outcome_of("ud2; ret", more=wild).outcome == "crash"


def test_panic_is_a_crash() -> None:
    host = Host(Hypervisor.model())
    # The model has no panic; whatever has that name will do.
    symbols = host.state.hypervisor.symbols
    place = symbols.address_of(b"strlen")
    original = type(symbols).address_of
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            type(symbols), "address_of", lambda table, name: place if name == b"panic" else original(table, name)
        )
        done = run(
            host.state,
            "strlen",
            (symbols.address_of(b"extra_version") or address_of(host, "common/version.c#extra_version"),),
        )
    assert (done.outcome, done.reason) == ("crash", "ends in a panic: .7")
