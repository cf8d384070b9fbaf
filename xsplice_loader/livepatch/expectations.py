"""What a payload expects to stand at its old addresses (`spec/04 §3`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from xsplice_loader.releases import ENDBR64
from xsplice_loader.rules import actions as rules

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from xsplice_loader.livepatch.live_functions import LiveFunction
    from xsplice_loader.memory.address_space import AddressSpace
    from xsplice_loader.rules import Rule


class Disappointment(NamedTuple):
    """An expectation that is not met."""

    function: LiveFunction
    rule: Rule
    message: str
    """A clause."""
    expected: bytes | None = None
    actual: str | None = None
    """In hex, `??` for an unknown byte; both None unless it is the bytes that differ."""


def disappointments(functions: Iterable[LiveFunction], memory: AddressSpace) -> Iterator[Disappointment]:
    """Yield the expectations that are not met, or cannot be tested, in the order of the table.

    Raises:
        MemoryFault: a function of which something is expected lies where nothing is mapped.
    """
    return (found for function in functions if (found := _disappointment(function, memory)) is not None)


def _disappointment(function: LiveFunction, memory: AddressSpace) -> Disappointment | None:
    expectation = function.expectation
    if not expectation.is_enabled:
        return None
    if expectation.reserved:
        return Disappointment(
            function, rules.EXPECTATION_RESERVED, f"has {expectation.reserved:#x} in reserved bits of its expectation"
        )
    if function.old_size < expectation.length:
        return Disappointment(
            function,
            rules.EXPECTATION_TOO_LONG,
            f"expects {expectation.length} bytes in a function of {function.old_size}",
        )
    expected = expectation.data[: expectation.length]
    if not expected:
        return None
    found = memory.read_partly(function.old_addr, len(expected))
    actual = found.shown
    if not found.may_be(expected):
        return Disappointment(
            function,
            rules.UNEXPECTED_BYTES,
            f"expects {expected.hex()} at {function.old_addr:#018x}, but {actual} is there",
            expected,
            actual,
        )
    if found.is_known:
        if bytes(found.contents[: len(ENDBR64)]) == ENDBR64 and memory.may_lose_endbr64(function.old_addr):
            return Disappointment(
                function,
                rules.NOT_COMPARED,
                f"expects the ENDBR64 at {function.old_addr:#018x}, which boot takes from this function on processors "
                "that track indirect branches (CET-IBT)",
                expected,
            )
        return None
    return Disappointment(
        function,
        rules.NOT_COMPARED,
        f"expects {expected.hex()} at {function.old_addr:#018x}, but {sum(found.unknown)} bytes there are unknown: "
        f"{actual}",
        expected,
    )
