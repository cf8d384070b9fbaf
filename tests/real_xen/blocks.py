"""Blocks of assembly whose outcome depends on the running hypervisor: its pointers, its payload structure, its traps.

Each takes a choice and a name of the block's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from real_xen.choice import Choice
    from xsplice_loader import Hypervisor

BOOT_VARIABLES = (
    b"hvm_funcs", b"iommu_ops", b"genapic", b"ctxt_switch_masking", b"cpuidle_get_tick", b"tick_to_ns",
    b"ticks_elapsed", b"cpufreq_driver", b"ops", b"xsm_ops", b"plt_src", b"ucode_ops", b"microcode_ops", b"vpmu_ops",
    b"mce_callbacks", b"actual_cpu", b"core_parking_policy",
)  # fmt: skip
"""Variables that Xen calls through and fills in while it boots; of local ones, the name without the file."""
MEMBERS = 48
"""Pointers of a variable that are called through at most."""
ALWAYS = 93
"""The feature that every processor has."""
VALUES = ((0, 4), (4, 4), (8, 1), (9, 1), (32, 8), (40, 8), (48, 8), (56, 8), (64, 8), (72, 8), (80, 4), (104, 8))
"""Offset and size of members of struct payload from 4.14 on: state, rc, reverted, safe_to_reapply, address and size of
each region, pages, funcs (xen/include/xen/livepatch_payload.h)."""
STRUCTURE_SIZE = 552
"""Of the longest struct payload."""
FUNCS = 104
RECORD = ((8, 8), (16, 8), (24, 4), (28, 4), (32, 1), (64, 1))
"""Offset and size in an entry of `.livepatch.funcs`: new_addr, old_addr, new_size, old_size, version, and where up to
4.17.2 it is kept whether it is applied."""
LINE_PARTS = (0, 0, 1, 2, 63, 64, 0x5C, 126, 127, -1, -2, -64, -127, -128, 128, 255)
"""What is added to the upper 8 bits of a bug frame's word; 7 of them are a line number's."""


class Variable(NamedTuple):
    """A variable of Xen's."""

    name: str
    address: int
    size: int


def boot_variables(hypervisor: Hypervisor) -> tuple[Variable, ...]:
    """Return those variables that a hypervisor has; each ends where the next symbol starts."""
    symbols = hypervisor.symbols
    found = []
    for name, address, _ in symbols:
        if name.rsplit(b"#", 1)[-1] in BOOT_VARIABLES:
            following = symbols.addresses[np.searchsorted(symbols.addresses, np.uint64(address), side="right") :]
            size = int(following[0]) - address if len(following) else 8
            found.append(Variable(name.decode(), address, size))
    return tuple(found)


def boot_call(choose: Choice, at: str, variables: Sequence[Variable], *, has_call_sites: bool) -> str:
    """An alternative call through a pointer that is set at boot.

    From 4.21 on `.alt_call_sites` names it, before that an alternative whose replacement is a call to itself
    (xen/arch/x86/alternative.c).
    """
    variable = choose.choice(variables)
    offset = 8 * choose.randrange(max(min(variable.size // 8, MEMBERS), 1))
    # Local symbols have their file in their name, which the assembler would take for a comment.
    where = f"boot_{at}" if "#" in variable.name else variable.name
    given = f"        .set    {where}, {variable.address:#x}\n" if "#" in variable.name else ""
    table = f"""
        .pushsection .altinstr_replacement, "ax", @progbits
.Lself_{at}:
        call    .Lself_{at}
        .popsection
        .pushsection .altinstructions, "a", @progbits
        .long   .Lsite_{at} - ., .Lself_{at} - .
        .short  {choose.choice((ALWAYS, ALWAYS, ALWAYS, 511))}
        .byte   {choose.choice((6, 6, 6, 7))}, 5, 0, 0
        .popsection
"""
    if choose.random() < (0.9 if has_call_sites else 0.1):
        table = f"""
        .pushsection .alt_call_sites, "a", @progbits
        .balign 4
        .long   .Lsite_{at} - .
        .popsection
"""
    return f"""
{given}        .text
.Lsite_{at}:
        call    *{where} + {offset}(%rip)
        nop
        ret
{table}"""


def reads_structure(choose: Choice, at: str) -> str:
    """A hook that reads the payload's own structure, stores what it found, and may return it."""
    kind = choose.choice(("preapply", "apply", "postapply", "prerevert", "revert", "postrevert"))
    sort = choose.random()
    if sort < 0.65:
        code = _load("rdi", *choose.choice(VALUES))
    elif sort < 0.85:
        read = _load("rax", *choose.choice(RECORD))
        code = f"mov {FUNCS}(%rdi), %rax\n        test %rax, %rax\n        je .Lnone_{at}\n        {read}\n.Lnone_{at}:"
    else:
        code = _load("rdi", 4 * choose.randrange(STRUCTURE_SIZE // 4), 4)
    outcome = choose.choice(("xor %eax, %eax", "xor %eax, %eax", "xor %eax, %eax", "", "neg %eax", "and $0x1f, %eax"))
    return f"""
        .text
.Lhook_{at}:
        {code}
        mov     %rax, .Lseen_{at}(%rip)
        {outcome}
        ret
        .pushsection .data.{at}, "aw", @progbits
        .balign 8
.Lseen_{at}:
        .quad   -1
        .popsection
        .livepatch_hook {kind}, .Lhook_{at}
"""


def _load(base: str, offset: int, size: int) -> str:
    """Return the instruction that loads a member into RAX."""
    return {8: f"mov {offset}(%{base}), %rax", 4: f"mov {offset}(%{base}), %eax"}.get(
        size, f"movzbl {offset}(%{base}), %eax"
    )


def bug_frame(choose: Choice, at: str) -> str:
    """A trap with a bug frame, in a hook or in code that is not run.

    Line numbers are added to distances, which are mostly negative (xen/include/asm-x86/bug.h).
    """
    kind = choose.choice((0, 1, 1, 1, 2, 3))
    upper, lower = choose.choice(LINE_PARTS), choose.choice(LINE_PARTS)
    section, flags = choose.choice(((f".rodata.{at}", "a"), (f".data.{at}", "aw"), (f".text.{at}", "ax")))
    predicate = f"        .long   0, .Lfile_{at} - .Lframe_{at}\n" if kind == 3 else ""
    hook = choose.choice(("", "load", "preapply", "apply", "postapply", "prerevert", "revert", "unload", "postrevert"))
    return f"""
        .text
.Lhook_{at}:
        nop
.Ltrap_{at}:
        ud2
        xor     %eax, %eax
        ret
        .pushsection {section}, "{flags}", @progbits
        .zero   {choose.choice((0, 1, 300, 5000))}
.Lfile_{at}:
        .asciz  "{choose.choice(("a.c", "xen/common/livepatch.c", "long/" * 12 + "name.c", ""))}"
        .popsection
        .pushsection .bug_frames.{kind}, "a", @progbits
        .balign 4
.Lframe_{at}:
        .long   .Ltrap_{at} - .Lframe_{at} + {upper << 24}
        .long   .Lfile_{at} - .Lframe_{at} + {lower << 24}
{predicate}        .popsection
{f"        .livepatch_hook {hook}, .Lhook_{at}" if hook else ""}
"""
