"""Functions run on the model: what they return, where they go, what stops them. Expected values by hand."""

from __future__ import annotations

import sys

import pytest
from emulation.snippets import address_of, host_with, outcome_of, run_on

from xsplice_loader import Host, Hypervisor
from xsplice_loader.emulation import EmulatorMissingError, Limits, UnknownFunctionError, run

FREE = 0xFFFF82D07F000000
"""An address in the range for payloads where there is none."""


def model() -> Host:
    return Host(Hypervisor.model())


# What comes back --------------------------------------------------------------------------------------------------


def test_a_function_of_the_model() -> None:
    done = run(model().state, "xen_major_version")
    assert (done.outcome, done.reason, done.value, done.instructions, done.writes) == ("returned", None, 4, 2, ())


def test_a_string_is_shown() -> None:
    done = run(model().state, "xen_extra_version")
    assert done.text == ".7"


@pytest.mark.parametrize(
    ("text", "shown"), [(r"two\n\tlines\n", "two\n\tlines\n"), ("", None), (r"\001", None), (r"\303\244", None)]
)
def test_what_counts_as_a_string(text: str, shown: str | None) -> None:
    assert outcome_of("lea string(%rip), %rax; ret", more=f'string: .asciz "{text}"').text == shown


def test_a_number_is_no_string() -> None:
    assert run(model().state, "xen_major_version").text is None


def test_six_arguments() -> None:
    code = "mov %rdi, %rax; sub %rsi, %rax; sub %rdx, %rax; sub %rcx, %rax; sub %r8, %rax; sub %r9, %rax; ret"
    assert outcome_of(code, 1000, 1, 20, 300, -4, 5).value == 1000 - 1 - 20 - 300 + 4 - 5


def test_results_have_64_bits_without_sign() -> None:
    assert outcome_of("mov $-1, %rax; ret").value == (1 << 64) - 1


def test_the_stack_is_aligned_as_the_abi_wants_it() -> None:
    # At a function's entry RSP + 8 is a multiple of 16.
    assert outcome_of("lea 8(%rsp), %rax; and $15, %eax; ret").value == 0


def test_endbr64_does_nothing() -> None:
    assert outcome_of("endbr64; mov $3, %eax; ret").value == 3


def test_sse() -> None:
    code = "mov $6, %eax; movq %rax, %xmm0; paddq %xmm0, %xmm0; movq %xmm0, %rax; ret"
    assert outcome_of(code).value == 12


@pytest.mark.parametrize("name", ["0xffff82d040200050", "0XFFFF82D040200050", 0xFFFF82D040200050])
def test_functions_go_by_address(name: str | int) -> None:
    state = model().state
    assert run(state, name).address == 0xFFFF82D040200050


def test_local_functions_go_by_their_file() -> None:
    done = run(model().state, "common/kernel.c#pack_version", (4, 17))
    assert done.value == (4 << 16) | 17


@pytest.mark.parametrize("name", ["no_such_function", "", "0x", "0xfffff82d0402000500", "-1", -1, 1 << 64, "\udcff"])
def test_what_is_no_function(name: str | int) -> None:
    with pytest.raises(UnknownFunctionError):
        run(model().state, name)


@pytest.mark.parametrize("arguments", [(0,) * 7, (1 << 64,), (-(1 << 63) - 1,)])
def test_arguments_that_do_not_fit(arguments: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="argument"):
        run(model().state, "strlen", arguments)


def test_without_unicorn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "unicorn", None)
    with pytest.raises(EmulatorMissingError, match=r"pip install 'xsplice-loader\[emulate\]'"):
        run(model().state, "xen_major_version")


# Where it goes ----------------------------------------------------------------------------------------------------


def test_the_path_names_functions_and_depth() -> None:
    host = host_with("sub $8, %rsp; xor %edi, %edi; xor %esi, %esi; call do_xen_version; add $8, %rsp; ret")
    steps = [(step.symbol, step.payload, step.via, step.depth) for step in run_on(host).path]
    assert steps == [
        ("tested", "snippet", "start", 0),
        ("do_xen_version", None, "call", 1),
        ("xen_major_version", None, "call", 2),
        ("xen_minor_version", None, "call", 2),
        ("common/kernel.c#pack_version", None, "call", 2),
    ]


def test_a_tail_call_is_a_jump() -> None:
    done = outcome_of("jmp xen_major_version")
    assert [(step.symbol, step.via, step.depth) for step in done.path[1:]] == [("xen_major_version", "jump", 0)]


def test_a_trampoline_leads_into_the_payload() -> None:
    host = host_with("sub $8, %rsp; call xen_minor_version; add $8, %rsp; ret")
    before = run_on(host)
    assert before.value == 17
    assert host.apply("snippet").rc == 0
    after = run_on(host)
    assert after.value == 77
    assert [(step.symbol, step.payload, step.via, step.depth) for step in after.path[1:]] == [
        ("xen_minor_version", None, "call", 1),
        ("minor", "snippet", "trampoline", 1),
    ]
    assert host.revert("snippet").rc == 0
    assert run_on(host).value == 17


def test_a_jump_written_by_hand_is_a_trampoline_too() -> None:
    host = host_with("ret")
    old, new = address_of(host, "xen_minor_version"), host.payloads[0].entries[0].new_addr
    host.state.memory.overwrite(old, b"\xe9" + (new - old - 5).to_bytes(4, "little", signed=True))
    done = run(host.state, "xen_minor_version")
    assert (done.value, done.path[1].via) == (77, "trampoline")


def test_a_call_through_a_pointer() -> None:
    done = outcome_of("sub $8, %rsp; lea xen_major_version(%rip), %rax; call *%rax; add $8, %rsp; ret")
    assert [(step.symbol, step.via, step.depth) for step in done.path[1:]] == [("xen_major_version", "call", 1)]


def test_a_return_that_no_call_made_is_a_jump() -> None:
    done = outcome_of("lea xen_major_version(%rip), %rax; push %rax; ret")
    assert (done.outcome, done.value) == ("returned", 4)
    assert [(step.symbol, step.via, step.depth) for step in done.path[1:]] == [("xen_major_version", "jump", 0)]


def test_a_place_within_a_function() -> None:
    host = host_with("nop; mov $5, %eax; ret")
    done = run(host.state, address_of(host, "tested") + 1)
    assert (done.value, done.path[0].symbol) == (5, "tested+0x1")


def test_a_long_path_is_cut_and_counted() -> None:
    code = "sub $8, %rsp; mov $1500, %ebx; again: call xen_major_version; dec %ebx; jnz again; add $8, %rsp; ret"
    done = outcome_of(code)
    assert (done.outcome, len(done.path), done.path_left_off) == ("returned", 1000, 501)


# What it writes ---------------------------------------------------------------------------------------------------


def test_writes_are_reported_and_forgotten() -> None:
    host = host_with("movb $9, numbers+8(%rip); movb $7, numbers+9(%rip); movl $-1, system_state(%rip); ret")
    state, numbers = address_of(host, "system_state"), address_of(host, "numbers")
    done = run_on(host)
    assert [tuple(write) for write in done.writes] == [
        (state, "system_state", bytes(4), b"\xff" * 4),
        (numbers + 8, "numbers+0x8", b"\2\0", b"\x09\x07"),
    ]
    assert host.state.memory.read(numbers, 16) == b"\1" + bytes(7) + b"\2" + bytes(7)
    assert host.state.memory.read(state, 4) == bytes(4)


@pytest.mark.parametrize(
    ("code", "after"),
    [
        ("movq $5, (%rdi); ret", b"\5" + bytes(7)),
        ("mov $7, %eax; lock xadd %rax, (%rdi); ret", b"\x08" + bytes(7)),
        ("mov $1, %eax; mov $9, %ecx; lock cmpxchg %rcx, (%rdi); ret", b"\x09" + bytes(7)),
        ("lock btsq $4, (%rdi); ret", b"\x11" + bytes(7)),
        ("mov $9, %eax; xchg %rax, (%rdi); ret", b"\x09" + bytes(7)),
        ("mov $9, %eax; movq %rax, %xmm0; movups %xmm0, (%rdi); ret", b"\x09" + bytes(15)),
        ("mov $0xaa, %eax; mov $3, %ecx; rep stosb; ret", b"\xaa" * 3),
        ("push %rbx; mov %rsp, %rbx; lea 8(%rdi), %rsp; push $3; mov %rbx, %rsp; pop %rbx; ret", b"\3" + bytes(7)),
    ],
)
def test_every_kind_of_store_is_seen(code: str, after: bytes) -> None:
    host = host_with(code)
    numbers = address_of(host, "numbers")
    done = run_on(host, (numbers,))
    assert [(write.address, write.after) for write in done.writes] == [(numbers, after)], done


def test_a_store_across_pages() -> None:
    host = host_with(
        "movabs $0x1122334455667788, %rax; mov %rax, (%rdi); ret", ".bss; wide: .zero 8192".replace("; ", "\n")
    )
    place = (host.payloads[0].placement.regions[1].address + 4096) - 3
    done = run_on(host, (place,))
    assert [tuple(write) for write in done.writes] == [
        (place, done.writes[0].symbol, bytes(8), bytes.fromhex("8877665544332211"))
    ]


def test_a_store_into_a_page_that_may_not_be_written_writes_nothing() -> None:
    # The rw region is followed by the ro region.
    host = host_with("movabs $0x1122334455667788, %rax; mov %rax, (%rdi); ret")
    place = host.payloads[0].placement.regions[2].address - 3
    done = run_on(host, (place,))
    assert (done.outcome, done.writes) == ("crash", ())


def test_code_that_writes_code_runs_what_it_wrote() -> None:
    host = host_with("movb $9, target+1(%rip); target: mov $5, %eax; ret")
    text = host.payloads[0].placement.regions[0].address
    host.state.memory.modify_mappings(text, text + 4096, "rwx")
    assert run_on(host).value == 9


# What stops it ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "word"),
    [
        (".byte 0xfa", "interrupts"),  # cli
        (".byte 0xfb", "interrupts"),  # sti
        (".byte 0xcc", "interrupts"),  # int3
        (".byte 0xcd, 0x80", "interrupts"),  # int $0x80
        (".byte 0xe4, 0x60", "devices"),  # in $0x60, %al
        (".byte 0xe6, 0x80", "devices"),  # out %al, $0x80
        (".byte 0xf3, 0x6e", "devices"),  # rep outsb
        (".byte 0xf4", "waits for"),  # hlt
        (".byte 0x0f, 0x32", "model-specific"),  # rdmsr
        (".byte 0x0f, 0x30", "model-specific"),  # wrmsr
        (".byte 0x0f, 0x01, 0xf8", "model-specific"),  # swapgs
        (".byte 0x0f, 0xa2", "processor"),  # cpuid
        (".byte 0x0f, 0x31", "processor"),  # rdtsc
        (".byte 0x0f, 0x01, 0xd0", "processor"),  # xgetbv
        (".byte 0x0f, 0xc7, 0xf0", "processor"),  # rdrand %eax
        (".byte 0x48, 0xcf", "guest"),  # iretq
        (".byte 0x0f, 0x05", "guest"),  # syscall
        (".byte 0x48, 0xcb", "guest"),  # retfq
        (".byte 0x0f, 0x20, 0xc0", "cr0"),  # mov %cr0, %rax
        (".byte 0x0f, 0x22, 0xd8", "cr3"),  # mov %rax, %cr3
        (".byte 0x0f, 0x21, 0xf8", "dr7"),  # mov %dr7, %rax
        (".byte 0x8e, 0xd8", "ds"),  # mov %eax, %ds
        (".byte 0x0f, 0x09", "state"),  # wbinvd
        (".byte 0x0f, 0x01, 0x38", "state"),  # invlpg (%rax)
        (".byte 0x0f, 0xae, 0x20", "state"),  # xsave (%rax)
        (".byte 0x0f, 0x01, 0xc1", "state"),  # vmcall
        (".byte 0xc5, 0xf8, 0x57, 0xc0", "state"),  # vxorps %xmm0, %xmm0, %xmm0
        (".byte 0x65, 0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0", "%gs"),  # mov %gs:0, %rax
        (".byte 0x06", "no known instruction"),
    ],
)
def test_what_the_model_does_not_have(code: str, word: str) -> None:
    done = outcome_of(f"nop; {code}; ret")
    assert (done.outcome, done.value) == ("stopped", None)
    assert word in str(done.reason)
    # The instruction before it was executed.
    assert done.instructions == 2


@pytest.mark.parametrize(
    ("address", "word"),
    [
        (0, "guest"),
        (0x00007FFFFFFFFFFF, "guest"),
        (0xFFFF830000000000, "directmap"),
        (0xFFFF82E000000000, "frame table"),
        (0xFFFF828000000000, "machine-to-phys table"),
        (0xFFFF82C000000000, "vmap"),
        (0xFFFF82D07FF00000, "stubs"),
        (0xFFFF820000000000, "no area"),
    ],
)
def test_memory_that_only_a_real_machine_has(address: int, word: str) -> None:
    done = outcome_of("mov (%rdi), %rax; ret", address)
    assert done.outcome == "stopped"
    assert word in str(done.reason)


def test_the_processors_data_at_the_top_of_the_stack() -> None:
    # As Xen's `current` is found: the stack's block has 8 pages, and the data end it.
    done = outcome_of("mov $-0x8000, %rax; and %rsp, %rax; mov 0x7fe8(%rax), %rax; ret")
    assert done.outcome == "stopped"
    assert "current" in str(done.reason)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (f"movabs ${FREE}, %rax; mov (%rax), %rax; ret", ("reads", f"{FREE:#x}", "not mapped")),
        (f"movabs ${FREE}, %rax; mov %rax, (%rax); ret", ("writes to", f"{FREE:#x}", "not mapped")),
        (f"movabs ${FREE}, %rax; jmp *%rax", ("jumps to", f"{FREE:#x}", "not mapped")),
        ("mov %rax, constant(%rip); ret", ("writes to", "constant", "r--")),
        ("mov %rax, xen_major_version(%rip); ret", ("writes to", "xen_major_version", "r-x")),
        ("lea numbers(%rip), %rax; jmp *%rax", ("jumps to", "numbers", "rw-")),
        ("lea constant(%rip), %rax; jmp *%rax", ("jumps to", "constant", "r--")),
        ("movabs $0x8000000000000000, %rax; mov (%rax), %rax; ret", ("general protection", "canonical")),
        ("xor %ecx, %ecx; div %ecx; ret", ("divide error",)),
        ("ud2", ("invalid opcode",)),
        (".byte 0x0f, 0xb9, 0xc0", ("invalid opcode",)),  # ud1
        ("again: call again", ("uses up", "stack")),
        ("sub $16384, %rsp; push %rax; ret", ("uses up", "stack")),
    ],
)
def test_what_no_machine_survives(code: str, words: tuple[str, ...]) -> None:
    done = outcome_of(code)
    assert done.outcome == "crash"
    assert all(word in str(done.reason) for word in words), done.reason


@pytest.mark.parametrize("target", [0, 0x1000])
def test_a_jump_to_nowhere_may_be_a_pointer_that_was_never_set(target: int) -> None:
    done = outcome_of("jmp *%rdi", target)
    assert done.outcome == "stopped"
    assert "lower half" in str(done.reason)


def test_running_off_the_end_of_the_text() -> None:
    # The text region's page is full of NOPs; behind it come variables.
    host = host_with("nop")
    text = host.payloads[0].placement.regions[0].address
    host.state.memory.overwrite(text, b"\x90" * 4096)
    done = run(host.state, text + 4090)
    assert (done.outcome, done.instructions) == ("crash", 7)
    assert f"{text + 4096:#x}" in str(done.reason)


def test_an_instruction_that_ends_where_nothing_can_be_executed() -> None:
    host = host_with("nop")
    text = host.payloads[0].placement.regions[0].address
    host.state.memory.overwrite(text + 4094, b"\xb8\0")
    done = run(host.state, text + 4094)
    assert done.outcome == "crash"
    assert f"{text + 4096:#x}" in str(done.reason)


def test_the_image_needed_to_start_is_gone() -> None:
    state = model().state
    done = run(state, state.hypervisor.arena_start)
    assert done.outcome == "crash"


@pytest.mark.parametrize(
    "code", ["again: jmp again", "again: inc %rax; jmp again", "mov %rdi, %rsi; mov $-1, %rcx; rep lodsb; ret"]
)
def test_too_many_instructions(code: str) -> None:
    host = host_with(code)
    where = address_of(host, "numbers") if "lodsb" in code else 0
    done = run_on(host, (where,), Limits(instructions=25))
    assert (done.outcome, done.instructions) == ("stopped", 25)
    assert "25 instructions" in str(done.reason)


def test_a_limit_that_is_just_enough() -> None:
    host = host_with("nop; nop; ret")
    assert run_on(host, (), Limits(instructions=3)).outcome == "returned"
    assert run_on(host, (), Limits(instructions=2)).outcome == "stopped"


def test_a_fault_that_is_fixed_up_again_and_again_is_too_much_too() -> None:
    code = "xor %edi, %edi; again: movabs $0xffff82d07f000000, %rdx; fault: mov (%rdx), %rax; ret"
    done = outcome_of(code, more=".xen_exception fault, fault", limits=Limits(instructions=1000))
    assert (done.outcome, done.instructions) == ("stopped", 1000)


def test_too_much_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    # The stack and what it returns to take three pages, the code one.
    monkeypatch.setattr("xsplice_loader.emulation.lent_memory.FRAMES", 5)
    code = "movb $1, numbers(%rip); movb $1, system_state(%rip); ret"
    done = outcome_of(code)
    assert (done.outcome, done.reason) == ("stopped", "touches more than 5 pages")
    assert [write.symbol for write in done.writes] == ["numbers"]


# Bytes that no file tells -----------------------------------------------------------------------------------------


def test_code_that_is_not_known() -> None:
    host = Host(Hypervisor.model().assume())
    done = run(host.state, "xen_major_version")
    assert done.outcome == "stopped"
    assert "which are unknown" in str(done.reason)
    assert done.writes == ()


@pytest.mark.parametrize(
    "code",
    ["mov system_state(%rip), %eax; ret", "incl system_state(%rip); ret", "lea system_state(%rip), %rdi; call strlen"],
)
def test_data_that_is_not_known(code: str) -> None:
    source = host_with(code)
    unknown = Host(Hypervisor.model().assume())
    # The payload is loaded where it was, against a hypervisor whose bytes nobody has.
    for loaded in source.payloads:
        mapping = unknown.state.memory.map_pages(loaded.mapping.start, loaded.mapping.mfns)
        mapping.contents[:] = loaded.mapping.contents
        mapping.protections = loaded.mapping.protections
    done = run(unknown.state, address_of(source, "tested"))
    assert (done.outcome, done.writes) == ("stopped", ())
    assert "which are unknown" in str(done.reason)


def test_bytes_that_were_written_are_known() -> None:
    host = host_with("movl $6, system_state(%rip); mov system_state(%rip), %eax; ret")
    state = Host(Hypervisor.model().assume()).state
    mapping = state.memory.map_pages(host.payloads[0].mapping.start, host.payloads[0].mapping.mfns)
    mapping.contents[:] = host.payloads[0].mapping.contents
    mapping.protections = host.payloads[0].mapping.protections
    done = run(state, address_of(host, "tested"))
    assert (done.value, [write.before for write in done.writes]) == (6, [None])


# Whatever the code ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(40))
def test_any_bytes_come_to_some_end(seed: int) -> None:
    import random  # noqa: PLC0415 - for this one test

    host = host_with("nop")
    text = host.payloads[0].placement.regions[0].address
    host.state.memory.overwrite(text, random.Random(seed).randbytes(4096))
    limits = Limits(instructions=2000)
    for start in range(0, 512, 16):
        done = run(host.state, text + start, (text, text + 8, 3), limits=limits)
        assert (done.reason is None) == (done.outcome == "returned")
