"""What printk makes of formats: as the snprintf of Debian's Xen 4.14.6, 4.17.7 and 4.20.3 made them, all alike."""

from __future__ import annotations

from itertools import chain, repeat
from typing import TYPE_CHECKING

import pytest
from emulation.snippets import host_with, run_on

from xsplice_loader import Host, Hypervisor
from xsplice_loader.emulation import run
from xsplice_loader.emulation.printing import Console, Sources, UnsupportedFormatError, formatted

if TYPE_CHECKING:
    from known_hypervisors import Package

TEXT = 0x5000
"""Where the string "hello world" stands, for the formats below."""
MINUS_ONE = (1 << 64) - 1
LINES = [
    ("%d %d", (5, 0xFFFFFFFE), "5 -2"),
    ("%d", (0x1_8000_0000,), "-2147483648"),
    ("%i", (7,), "7"),
    ("%u", (MINUS_ONE,), "4294967295"),
    ("%5u|%-5u|%05u", (7, 7, 7), "    7|7    |00007"),
    ("%ld", (MINUS_ONE,), "-1"),
    ("%lu", (MINUS_ONE,), "18446744073709551615"),
    ("%lld %Ld", (MINUS_ONE, MINUS_ONE), "-1 -1"),
    ("%llx %zx", (1 << 63, 1 << 40), "8000000000000000 10000000000"),
    ("%hd %hu", (0x18000, 0x18000), "-32768 32768"),
    ("%x %X", (0xBEEF, 0xBEEF), "beef BEEF"),
    ("%lx", (0xDEADBEEFCAFE,), "deadbeefcafe"),
    ("%#x %#X %#o", (0xAB, 0xAB, 8), "0xab 0XAB 010"),
    ("%#x %#o", (0, 0), "0 0"),
    ("%#08x|%#8x|%-#8x|", (0xAB, 0xAB, 0xAB), "0x0000ab|    0xab|0xab    |"),
    ("%016lx", (0x1234,), "0000000000001234"),
    ("%+d % d %+d", (5, 5, MINUS_ONE), "+5  5 -1"),
    ("%.3d|%8.3d|%08.3d", (5, 5, 5), "005|     005|00000005"),
    ("%*d|%*d|%.*d", (4, 5, -4 & MINUS_ONE, 5, 3, 5), "   5|5   |005"),
    ("%p", (0xFFFF82D040200000,), "ffff82d040200000"),
    ("%p %8p", (5, 5), "0000000000000005        5"),
    ("%c%5c|%-3c|", (65, 66, 67), "A    B|C  |"),
    ("%s", (TEXT,), "hello world"),
    ("%.5s|%13s|%-13s|", (TEXT, TEXT, TEXT), "hello|  hello world|hello world  |"),
    ("%s %s", (0, 4095), "<NULL> <NULL>"),
    ("%*ph|%3phC|%3phD|%3phN", (2, TEXT, TEXT, TEXT, TEXT), "68 65|68:65:6c|68-65-6c|68656c"),
    ("100%% %k %hhd", (), "100% %k %hd"),
    ("%", (), "%"),
    ("%5", (), "%"),
]


def strings(address: int, limit: int) -> bytes:
    assert address == TEXT
    return b"hello world"[:limit]


def sources(arguments: tuple[int, ...]) -> Sources:
    return Sources(chain(arguments, repeat(0)), strings, strings, lambda address, _: f"symbol{address}")


@pytest.mark.parametrize(("template", "arguments", "expected"), LINES)
def test_as_xen_formats(template: str, arguments: tuple[int, ...], expected: str) -> None:
    assert formatted(template.encode(), sources(arguments)) == expected.encode()


def test_the_real_snprintf_says_so(package: Package) -> None:
    state = Host(Hypervisor.open(package.xen_syms)).state
    buffer, template_at, text_at = (state.hypervisor.arena_start + 4096 * page for page in range(3))
    state.memory.map_pages(buffer, range(3))
    state.memory.overwrite(text_at, b"hello world\0")
    for template, arguments, _ in LINES:
        # Three arguments are what registers leave for a format here.
        if len(arguments) > 3:
            continue
        state.memory.overwrite(buffer, b"\1" * 128)
        state.memory.overwrite(template_at, template.encode() + b"\0")
        given = [text_at if argument == TEXT else argument for argument in arguments]
        done = run(state, "snprintf", (buffer, 128, template_at, *given))
        written = next(write for write in done.writes if write.address == buffer).after
        expected = formatted(template.encode(), sources(arguments))
        assert written.split(b"\0")[0] == expected, template
        assert done.value == len(expected)


@pytest.mark.parametrize("letters", ["v", "d", "p", "b", "bl"])
def test_structures_are_shown_as_pointers(letters: str) -> None:
    assert formatted(f"%p{letters}.".encode(), sources((5,))) == b"0000000000000005."


def test_what_is_no_extension_follows_the_pointer() -> None:
    assert formatted(b"%px", sources((5,))) == b"0000000000000005x"


def test_symbols() -> None:
    assert formatted(b"%ps|%12pS", sources((5, 6))) == b"symbol5|     symbol6"


def test_storing_the_length_is_not_for_printing() -> None:
    with pytest.raises(UnsupportedFormatError):
        formatted(b"%n", sources((5,)))


def test_long_texts_are_cut() -> None:
    assert len(formatted(b"%2000d%2000d", sources((5, 5)))) == 1023
    assert len(formatted(b"%99999999999d", sources((5,)))) == 1023
    assert len(formatted(b"a" * 2000, sources(()))) == 1023


def test_lines_are_put_together_and_marks_taken_off_where_one_begins() -> None:
    # As Debian's three hypervisors printed them.
    console = Console()
    for text in (
        "<1>one\n",
        "<G><1>two\n",
        "<0>three\n<1>four\n",
        "<0>five, ",
        "six\n",
        "<0>seven, ",
        "<0>eight\n",
        "<x>nine\n",
    ):
        console.write(text.encode())
    console.write(b"ten")
    console.flush()
    assert console.lines == ["one", "two", "three", "four", "five, six", "seven, <0>eight", "nine", "ten"]


def test_a_line_without_end_is_bounded() -> None:
    console = Console()
    for _ in range(1000):
        console.write(b"a" * 1000)
    console.flush()
    assert len(console.lines[0]) < 20000


# Arguments come from registers, then from the stack -----------------------------------------------------------------

NINE = "".join(f"mov ${number}, %eax; push %rax; " for number in (9, 8, 7, 6))
CALL = (
    f"sub $8, %rsp; {NINE}lea format(%rip), %rdi; mov $1, %esi; mov $2, %edx; mov $3, %ecx; mov $4, %r8d; "
    "mov $5, %r9d; call printk; add $40, %rsp; ret"
)


def test_nine_arguments() -> None:
    more = r'format: .asciz "<2>%d %d %d %d %d %d %d %d %d\n"'
    done = run_on(host_with(CALL, more))
    assert (done.outcome, done.console) == ("returned", ("1 2 3 4 5 6 7 8 9",))


@pytest.mark.parametrize(
    ("text", "pointer", "outcome", "word"),
    [
        ("%s", 0xFFFF82D07F000000, "crash", "not mapped"),
        ("%s", 0xFFFF830000000000, "stopped", "directmap"),
        ("%s", 1 << 63, "crash", "canonical"),
        ("%n", 0, "stopped", "%n"),
    ],
)
def test_arguments_that_lead_astray(text: str, pointer: int, outcome: str, word: str) -> None:
    code = f"sub $8, %rsp; lea format(%rip), %rdi; movabs ${pointer}, %rsi; call printk; add $8, %rsp; ret"
    done = run_on(host_with(code, f'format: .asciz "{text}"'))
    assert (done.outcome, done.console) == (outcome, ())
    assert word in str(done.reason)


def test_no_end_of_printing() -> None:
    code = r"sub $8, %rsp; again: lea format(%rip), %rdi; call printk; jmp again"
    done = run_on(host_with(code, r'format: .asciz "again\n"'))
    assert done.outcome == "stopped"
    assert "1000 lines" in str(done.reason)
