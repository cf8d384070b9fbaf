"""Functions and hooks on real hypervisors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from emulation.snippets import address_of, host_with
from hypervisor.cores import core

from xsplice_loader import Host, Hypervisor
from xsplice_loader.emulation import run, run_hook
from xsplice_loader.forge import forge
from xsplice_loader.host.hooks import HookCall

if TYPE_CHECKING:
    from known_hypervisors import Known, Package

HELLO = (Path(__file__).parents[2] / "payloads" / "hello.s").read_text()


def with_state(package: Package, tmp_path: Path) -> Hypervisor:
    """Return the package's Xen with one variable captured that `hello` compares with 0: SYS_STATE_active is 3."""
    xen = Hypervisor.open(package.xen_syms)
    system_state = xen.symbols.address_of(b"system_state")
    assert system_state is not None
    file = tmp_path / "memory.core"
    file.write_bytes(core({system_state: bytes((3, 0, 0, 0))}, xen.build_id))
    return Hypervisor.open(package.xen_syms, memory=file)


def hello_on(hypervisor: Hypervisor) -> Host:
    host = Host(hypervisor)
    assert host.upload("hello", forge(HELLO, xen_build_id=hypervisor.build_id)).accepted
    return host


def test_the_version_before_and_after(package: Package, tmp_path: Path) -> None:
    host = hello_on(with_state(package, tmp_path))
    before = run(host.state, "xen_extra_version")
    # The package is Debian's 4.17.7; the return thunk that ends every function is no step of the way.
    assert (before.text, [step.symbol for step in before.path]) == (".7", ["xen_extra_version"])
    (entry,) = host.payloads[0].entries
    displacement = entry.new_addr - (entry.old_addr + 5)
    host.state.memory.overwrite(entry.old_addr, b"\xe9" + displacement.to_bytes(4, "little", signed=True))
    after = run(host.state, "xen_extra_version")
    assert after.text == "-patched"
    assert [(step.symbol, step.payload, step.via) for step in after.path] == [
        ("xen_extra_version", None, "start"),
        ("replacement", "hello", "trampoline"),
        ("strlen", None, "call"),
    ]
    assert (before.writes, after.writes) == ((), ())


def test_a_variable_that_was_not_captured(package: Package) -> None:
    host = hello_on(Hypervisor.open(package.xen_syms))
    assert host.apply("hello").rc == 0
    done = run(host.state, "xen_extra_version")
    system_state = host.state.address_of(b"system_state")
    assert (done.outcome, done.value) == ("stopped", None)
    assert f"needs the bytes at {system_state:#018x} (system_state in .bss, variable), which are unknown" in str(
        done.reason
    )


def test_the_same_by_apply_and_revert(package: Package, tmp_path: Path) -> None:
    host = hello_on(with_state(package, tmp_path))
    texts = []
    for action in (host.apply, host.revert):
        assert action("hello").rc == 0
        texts.append(run(host.state, "xen_extra_version").text)
    assert texts == ["-patched", ".7"]


def test_calls_through_retpolines(package: Package) -> None:
    # What the thunk holds depends on the processor; it jumps to where the register points in any case.
    code = "sub $8, %rsp; lea xen_major_version(%rip), %rax; call __x86_indirect_thunk_rax; add $8, %rsp; ret"
    host = host_with(code, hypervisor=Hypervisor.open(package.xen_syms))
    done = run(host.state, "tested")
    assert done.value == 4
    assert [(step.symbol, step.payload, step.via, step.depth) for step in done.path] == [
        ("tested", "snippet", "start", 0),
        ("xen_major_version", None, "call", 1),
    ]


@pytest.mark.parametrize(("release", "survives"), [("4.14.6", True), ("4.17.1", False), ("4.17.7", True)])
def test_load_hooks_and_read_only_data(package: Package, release: str, survives: bool) -> None:
    # spec/06: CR0.WP was cleared; then only text was made writable; then read-only data too.
    hypervisor = Hypervisor.open(package.xen_syms)
    host = host_with("movb $0x90, symbols_names(%rip); ret", release=release, hypervisor=hypervisor)
    entry = address_of(host, "tested")
    assert run_hook(host.state, HookCall("snippet", ".livepatch.hooks.preapply", entry)).crash is not None
    done = run_hook(host.state, HookCall("snippet", ".livepatch.hooks.load", entry))
    assert (done.crash is None) == survives, done


@pytest.mark.parametrize(
    ("function", "arguments", "value"),
    [
        ("xen_major_version", (), 4),
        ("xen_minor_version", (), 17),
    ],
)
def test_functions_that_only_compute(package: Package, function: str, arguments: tuple[int, ...], value: int) -> None:
    assert run(Host(Hypervisor.open(package.xen_syms)).state, function, arguments).value == value


@pytest.mark.parametrize(("function", "word"), [("set_timer", "cli"), ("do_settime", "current")])
def test_functions_that_need_the_machine(package: Package, function: str, word: str) -> None:
    done = run(Host(Hypervisor.open(package.xen_syms)).state, function, (1,))
    assert done.outcome == "stopped"
    assert word in str(done.reason)


def test_every_function_comes_to_some_end(package: Package) -> None:
    host = Host(Hypervisor.open(package.xen_syms))
    names = [name.decode() for name, _, kind in host.state.hypervisor.symbols if kind == "T" and name.startswith(b"d")]
    assert len(names) > 100
    for name in names:
        done = run(host.state, name, (1, 2, 3))
        assert (done.reason is None) == (done.outcome == "returned"), name


# What a hook printed on the running hypervisors -----------------------------------------------------------------------

HOOK = r"""
        .text
        .globl replacement
        .type replacement, @function
replacement:
        lea     text(%rip), %rax
        ret
        .size replacement, . - replacement
        .type hook, @function
hook:
        sub     $8, %rsp
        mov     $0xfffffffe, %esi
        lea     text(%rip), %rdx
        mov     $77, %ecx
        movabs  $0xdeadbeefcafe, %r8
        mov     $0xab, %r9d
        lea     numbers(%rip), %rdi
        call    printk
        lea     xen_extra_version(%rip), %rsi
        lea     xen_extra_version(%rip), %rdx
        lea     xen_extra_version+3(%rip), %rcx
        lea     replacement(%rip), %r8
        lea     replacement+2(%rip), %r9
        lea     symbols(%rip), %rdi
        call    printk
        lea     unfinished(%rip), %rdi
        call    printk
        .xen_warn "arch/x86/some/quite/long/directory/name/with/a/file/at/its/end.c", 300
        movabs  $0xffff82d07f000000, %rdx
fault:  mov     (%rdx), %rax
        jmp     end
fixed:  lea     fine(%rip), %rdi
        call    printk
end:    xor     %eax, %eax
        add     $8, %rsp
        ret
        .size hook, . - hook
        .xen_exception fault, fixed
        .section .rodata, "a", @progbits
text:           .asciz "text one"
numbers:        .asciz "<1>a=%d b=%s|%5u|%#lx|%-6x|\n"
symbols:        .asciz "<0>names %ps|%pS|%ps|%pS|%pS|\n"
unfinished:     .asciz "<0>unfinished"
fine:           .asciz "<0>fixed up\n"
        .livepatch_func "xen_extra_version", replacement, 9
        .livepatch_hook postapply, hook
        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id sha1
"""
PRINTED = (
    "a=-2 b=text one|   77|0xdeadbeefcafe|ab    |",
    "names xen_extra_version|xen_extra_version+0/0x10|xen_extra_version+0x3/0x10|replacement+0/0x8 [hook]|"
    "replacement+0x2/0x8 [hook]|",
    "unfinishedXen WARN at ...te/long/directory/name/with/a/file/at/its/end.c:300",
    "fixed up",
)


def test_a_hook_prints_what_it_printed_on_the_real_machine(known: Known) -> None:
    # Seen alike on 4.14.6, 4.17.7 and 4.20.3, but for the dump of registers behind the warning.
    hypervisor = Hypervisor.open(known.path)
    host = Host(hypervisor, hook_runner=run_hook)
    assert host.upload("hook", forge(HOOK, xen_build_id=hypervisor.build_id)).accepted
    done = host.apply("hook")
    lines = [line for line in done.log if not (line or "").startswith("livepatch: ")]
    assert (done.rc, tuple(lines)) == (0, PRINTED)
