"""What a payload expects to stand at its old addresses (`spec/04 §3`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from xsplice_loader.rules import actions as rules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Set

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
    actual: bytes | None = None
    """Both None unless it is the bytes that differ; `actual` is None, too, where they are not known."""


def disappointments(
    functions: Iterable[LiveFunction], memory: AddressSpace, unsure: Callable[[int, int], Set[int]]
) -> Iterator[Disappointment]:
    """Yield the expectations that are not met, or cannot be looked at, in the order of the table.

    `unsure(address, size)` returns which of some bytes are other ones on a running machine than memory says.

    Raises:
        MemoryFault: a function of which something is expected lies where nothing is mapped.
    """
    return (found for function in functions if (found := _disappointment(function, memory, unsure)) is not None)


def _disappointment(
    function: LiveFunction, memory: AddressSpace, unsure: Callable[[int, int], Set[int]]
) -> Disappointment | None:
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
    actual = memory.read(function.old_addr, expectation.length) if expected else b""
    if actual is None:
        return Disappointment(function, rules.NOT_COMPARED, "expects bytes that are not known", expected)
    if actual == expected:
        return None
    differing = {function.old_addr + offset for offset in range(len(expected)) if actual[offset] != expected[offset]}
    if differing <= unsure(function.old_addr, len(expected)):
        return Disappointment(function, rules.NOT_COMPARED, "expects bytes that Xen alters when it boots", expected)
    return Disappointment(
        function,
        rules.UNEXPECTED_BYTES,
        f"expects {expected.hex()} at {function.old_addr:#018x}, where {actual.hex()} stands",
        expected,
        actual,
    )
