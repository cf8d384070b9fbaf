"""Why a displacement does not fit: the numbers, and the class of the cause.

Xen says `Overflow in relocation 1 in .rela.altinstructions for .altinstructions` and no more. What an engineer
needs is in the numbers: how far the target is tells what kind of mistake was made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from xsplice_loader.memory.address_space import ADDRESS_LIMIT
from xsplice_loader.numbers import INT32, overrun, signed, signed_bits, size_text
from xsplice_loader.releases import GIB

if TYPE_CHECKING:
    from xsplice_loader.memory.address_map import AddressMap, Area
    from xsplice_loader.relocation.instructions import Instruction
    from xsplice_loader.results import Cause

AREA_TEXT = {"xen": "Xen's image", "payload arena": "the range for payloads", "vmap": "the ordinary vmap area"}
AT_HOME = frozenset({"xen", "payload arena"})
"""Areas in which a target is expected to lie."""


@dataclass(frozen=True, slots=True)
class Overflow:
    """A value S + A - P that does not fit, explained."""

    s: int
    a: int
    p: int
    value: int
    """The 64-bit difference read as a signed number."""
    cause: Cause
    area: str | None
    hint: str

    @property
    def bits(self) -> int:
        """How many signed bits the value needs."""
        return signed_bits(self.value)

    @property
    def overrun(self) -> int:
        """Bytes by which it lies outside the range."""
        return overrun(self.value, *INT32)

    @property
    def lands_at(self) -> int:
        """The target less what the cut loses: where the truncated displacement would lead."""
        return (self.s + signed(self.value, 32) - self.value) % ADDRESS_LIMIT


def diagnose(
    s: int,
    a: int,
    p: int,
    *,
    never_placed: bool,
    is_absolute: bool,
    symbol: str,
    instruction: Instruction | None,
    field: int,
    areas: AddressMap,
) -> Overflow:
    """Explain an overflow. `s` and `p` are unsigned, `a` signed; `field` is the field's offset in its section.

    Causes are tried in the order of contract 2; the first that holds is the cause.
    """
    value = signed(s + a - p)
    target_area, own_area = areas.area_of(s), areas.area_of(p)
    other_area = _other_area(target_area, own_area)
    natural = instruction.natural_addend(field) if instruction is not None else None
    away = f"{size_text(value)} {'above' if value > 0 else 'below'}"
    cause: Cause
    if never_placed:
        cause, hint = (
            "never-placed",
            (
                f"{symbol} is defined in a section that this release gives no address, so its value is still "
                f"the raw {s:#x}, "
                f"{away}; is the section empty, or without SHF_ALLOC?"
            ),
        )
    elif natural is not None and natural != a and _fits(s + natural - p):
        cause, hint = (
            "addend",
            (
                f"the addend is {a:#x}, but the instruction alone needs {natural}; with that the value would be "
                f"{signed(s + natural - p):#x} and fit"
            ),
        )
    elif is_absolute:
        cause, hint = (
            "absolute",
            (
                f"{symbol} is an absolute symbol, it does not move with Xen; reach it through a 64-bit pointer "
                "(R_X86_64_64)"
            ),
        )
    elif 0 <= value < 1 << 32:
        cause, hint = (
            "sign",
            (
                f"{value:#x} fits 32 bits without a sign, but the field is signed: the target is {away}, and "
                "code reaches 2 GiB"
            ),
        )
    elif overrun(value, *INT32) < GIB:
        cause, hint = (
            "near-miss",
            (
                f"the payload would have to stand {size_text(overrun(value, *INT32))} "
                f"{'higher' if value > 0 else 'lower'} at least"
            ),
        )
    elif other_area is not None and target_area is not None and own_area is not None:
        cause, hint = (
            "other-area",
            (
                f"the target lies in {AREA_TEXT.get(target_area.name, f'the {target_area.name}')}, {away} the "
                "place that refers to "
                f"it, which lies in {AREA_TEXT.get(own_area.name, f'the {own_area.name}')}"
            ),
        )
    else:
        cause, hint = "far", f"the target is {away} the place that refers to it"
    return Overflow(s, a, p, value, cause, other_area if cause == "other-area" else None, hint)


def _other_area(target: Area | None, own: Area | None) -> str | None:
    """Name the area that sets target and place apart: the target's, unless that is where targets belong."""
    if target is None or own is None or target is own:
        return None
    return own.name if target.name in AT_HOME else target.name


def _fits(value: int) -> bool:
    return INT32[0] <= signed(value) < INT32[1]
