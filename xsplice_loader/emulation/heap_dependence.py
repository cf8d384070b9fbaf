"""What two runs of a hook differ in, between which only the addresses of Xen's structures differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from xsplice_loader.livepatch.hooks import APPLY, PREAPPLY, PREREVERT, REVERT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from xsplice_loader.emulation.outcomes import Write
    from xsplice_loader.emulation.running import Execution
    from xsplice_loader.host.hooks import Elsewhere

DECIDING = frozenset((PREAPPLY, APPLY, PREREVERT, REVERT))
"""The hooks whose result Xen looks at; the others return nothing."""
_PLACE = "where Xen's heap puts structures, which is unknown"


class Difference(NamedTuple):
    """What differs."""

    console: tuple[str | None, ...]
    """The lines of both; None for one that differs."""
    written: tuple[int, ...] = ()
    """Addresses at which the two wrote different bytes."""
    what: str | None = None
    """All that as a clause; None: nothing differs."""
    unknown: str | None = None
    """A clause that says why what comes of the hook is unknown."""


def difference(section: str, one: Execution, other: Execution, elsewhere: Elsewhere) -> Difference:
    """Compare a run of a hook, which returned or crashed, with one where the structures are elsewhere."""
    if one.ending.outcome != other.ending.outcome:
        return _unknown(one, "ends in a way")
    if len(one.console) != len(other.console):
        return _unknown(one, "prints a number of lines")
    console = tuple(line if line == another else None for line, another in zip(one.console, other.console, strict=True))
    printed = f"prints a line that depends on {_PLACE}" if None in console else None
    if one.ending.outcome == "crash":
        return Difference(console, what=printed)
    if section in DECIDING and _result(one) != _result(other):
        return _unknown(one, "returns a value")
    writes = _bytes(one.writes, lambda address: address)
    moved = _bytes(other.writes, elsewhere.original_address)
    if writes.keys() != moved.keys():
        return _unknown(one, "writes to an address")
    written = tuple(address for address in sorted(writes) if writes[address] != moved[address])
    changed = next(filter(elsewhere.is_structure, written), None)
    if changed is not None:
        return _unknown(one, f"writes to a structure of Xen's, at {changed:#018x}, a value")
    kept = f"stores, at {written[0]:#018x}, a value that depends on {_PLACE}" if written else None
    return Difference(console, written, " and ".join(filter(None, (printed, kept))) or None)


def _unknown(one: Execution, what: str) -> Difference:
    return Difference(one.console, unknown=f"{what} that depends on {_PLACE}")


def _result(done: Execution) -> int:
    return done.machine.register("RAX") & 0xFFFF_FFFF


def _bytes(writes: Iterable[Write], original_address: Callable[[int], int]) -> dict[int, int]:
    """Return what was written, by the addresses that the host itself has it at."""
    return {
        original_address(address): byte for write in writes for address, byte in enumerate(write.after, write.address)
    }
