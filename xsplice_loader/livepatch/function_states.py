"""What Xen keeps of every function while its payload is applied: in the payload itself, or in memory of its own.

It moved because the table may stand in read-only memory (`spec/04 §1.2`). Where it is in the payload, what a file
brings along there is believed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from xsplice_loader.livepatch.functions import INSN_BUFFER_SIZE

if TYPE_CHECKING:
    from xsplice_loader.livepatch.live_functions import LiveTable
    from xsplice_loader.memory.address_space import AddressSpace, Remembered
    from xsplice_loader.releases import Release

SAVED_OFFSET = 33
APPLIED_OFFSET = 64
PATCH_OFFSET_OFFSET = 65
APPLIED = 1
State = Literal["CHECKED", "APPLIED"]
STATE_NUMBERS: dict[State, int] = {"CHECKED": 1, "APPLIED": 2}
"""The states that a payload can be in (`spec/04 §6`)."""

Write = Callable[[int, bytes], None]
"""`write(address, contents)`: writes to memory as far as Xen may at that moment."""


class FunctionState(NamedTuple):
    """The state of one function."""

    mark: int = 0
    """1: it is patched, 0: it is not; a file may bring along other values, which are neither."""
    patch_offset: int = 0
    saved: bytes = bytes(INSN_BUFFER_SIZE)

    @property
    def is_applied(self) -> bool:
        """Whether the mark says so."""
        return self.mark == APPLIED


class FunctionStates(Protocol):
    """The states of a payload's functions, by their index."""

    def read(self, index: int) -> FunctionState:
        """Return a function's state."""

    def write(self, index: int, state: FunctionState, write: Write) -> None:
        """Set a function's state; where that is in the payload's memory, `write` is used."""

    def lose(self, index: int, saved: Sequence[int]) -> None:
        """Note which of a function's saved bytes, by their offsets, are unknown."""


@dataclass(slots=True)
class PayloadStatus:
    """What Xen remembers of a loaded payload."""

    is_applied: bool = False
    """State APPLIED; else it is CHECKED."""
    rc: int = 0
    """What came of the last action: 0, a negative errno, or what a hook returned."""
    was_reverted: bool = False
    """As `reverted` of struct payload says, which hooks may write."""
    was_removed: bool = False
    """It was on the list of applied payloads, and was taken off it."""
    may_be_reapplied: bool | None = None
    """What a hook made of `safe_to_reapply`; None: it is as the payload's sections have it."""
    is_patched_by_hook: bool = False
    """A hook was to patch, which nobody ran; what it did to functions is not known."""
    functions: list[FunctionState] = field(default_factory=list)
    """The states of its functions, where they are in memory of Xen's own."""
    unknown_saved: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    """By the number of a patched function, which of its saved bytes are unknown, by their offsets."""
    remembered: Mapping[int, Remembered] = field(default_factory=dict)
    """By the number of such a function, what was known of it before it was patched."""

    originals: Mapping[int, int] = field(default_factory=dict)
    """What stood at each address before it was applied, as far as that is known."""

    @property
    def state(self) -> State:
        """The state as Xen and its tool call it."""
        return "APPLIED" if self.is_applied else "CHECKED"

    def copy(self) -> PayloadStatus:
        """Return another one that says the same."""
        return replace(self, functions=list(self.functions))

    def take(self, other: PayloadStatus) -> None:
        """Become what another one says."""
        for name in self.__dataclass_fields__:
            setattr(self, name, getattr(other, name))


class StatesInXen:
    """States in memory of Xen's own."""

    def __init__(self, status: PayloadStatus) -> None:
        self._status = status

    def read(self, index: int) -> FunctionState:
        """Return a function's state."""
        return self._status.functions[index]

    def write(self, index: int, state: FunctionState, write: Write) -> None:
        """Set a function's state."""
        del write
        self._status.functions[index] = state

    def lose(self, index: int, saved: Sequence[int]) -> None:
        """Do nothing: no code but Xen's own reads these."""


class StatesInPayload:
    """States in the table's own entries."""

    def __init__(self, table: LiveTable, memory: AddressSpace, release: Release) -> None:
        self._table = table
        self._memory = memory
        self._release = release

    def read(self, index: int) -> FunctionState:
        """Return a function's state."""
        # Of saved bytes that are unknown the payload's status tells.
        entry = self._memory.read_partly(self._address(index), self._release.function_entry_size).contents
        return FunctionState(
            entry[APPLIED_OFFSET] if self._release.marks_applied else 0,
            entry[PATCH_OFFSET_OFFSET] if self._release.saves_patch_offset else 0,
            bytes(entry[SAVED_OFFSET : SAVED_OFFSET + INSN_BUFFER_SIZE]),
        )

    def write(self, index: int, state: FunctionState, write: Write) -> None:
        """Set a function's state."""
        address = self._address(index)
        write(address + SAVED_OFFSET, state.saved)
        if self._release.marks_applied:
            write(address + APPLIED_OFFSET, bytes([state.mark]))
        if self._release.saves_patch_offset:
            write(address + PATCH_OFFSET_OFFSET, bytes([state.patch_offset]))

    def lose(self, index: int, saved: Sequence[int]) -> None:
        """Note which of a function's saved bytes, by their offsets, are unknown."""
        for offset in saved:
            place = self._address(index) + SAVED_OFFSET + offset
            self._memory.make_unknown(place, 1, "what was saved of the function is unknown")

    def _address(self, index: int) -> int:
        return self._table.address + index * self._release.function_entry_size


def states_of(table: LiveTable, status: PayloadStatus, memory: AddressSpace, release: Release) -> FunctionStates:
    """Return the states of a payload's functions, wherever the release keeps them."""
    return StatesInPayload(table, memory, release) if release.keeps_state_in_payload else StatesInXen(status)
