"""Patching and restoring functions, one payload's table at a time (`spec/04 §2.1`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from xsplice_loader.livepatch.function_states import APPLIED, FunctionState, PayloadStatus, states_of
from xsplice_loader.livepatch.functions import INSN_BUFFER_SIZE
from xsplice_loader.livepatch.live_functions import LiveFunction, LiveTable, shown_name
from xsplice_loader.livepatch.patching import ENDBR64_SIZE, JUMP_SIZE, NopTable, known_patch_offset, patch_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from xsplice_loader.memory.address_space import AddressSpace, Remembered
    from xsplice_loader.memory.partly_known import PartlyKnown
    from xsplice_loader.releases import Permissions, Release


class ShortNopError(Exception):
    """NOPs that end before the ENDBR64 they were to stand behind; Xen takes their length for a huge one."""


class WriteAccess:
    """What Xen may write to while it patches."""

    def __init__(self, memory: AddressSpace, release: Release, active: Sequence[tuple[int, int]]) -> None:
        """`active` are the ranges of addresses whose code counts as Xen's: its own image, and active payloads."""
        self._memory = memory
        self._release = release
        self._active = active

    def write(self, address: int, contents: bytes) -> None:
        """Write bytes.

        Raises:
            MemoryFault: they may not be written even now, or are not mapped.
        """
        for run in self._memory.protections_of(address, len(contents)):
            start, end = max(run.start, address), min(run.end, address + len(contents))
            if not self.relaxes(start, run.permissions):
                self._memory.require_writable(start, end - start)
        self._memory.overwrite(address, contents)

    def relaxes(self, address: int, permissions: Permissions) -> bool:
        """Tell whether a page at an address may be written although it is made for something else."""
        if self._release.clears_write_protection:
            return True
        return permissions in self._release.relaxed_pages and any(low <= address < high for low, high in self._active)


class Patch(NamedTuple):
    """What was written over one function."""

    function: LiveFunction
    address: int
    before: bytes
    """What was there, up to the first byte that is unknown."""


class Patching:
    """Patches and restores the functions of one payload."""

    def __init__(
        self,
        table: LiveTable,
        status: PayloadStatus,
        memory: AddressSpace,
        access: WriteAccess,
        *,
        release: Release,
        nops: NopTable,
        skip: Callable[[str], None],
    ) -> None:
        """`skip` takes what Xen logs of functions that it skips."""
        self.functions = table.functions(memory, release)
        self._states = states_of(table, status, memory, release)
        self._status = status
        self._memory = memory
        self._write = access.write
        self._release = release
        self._nops: NopTable = nops
        self._skip = skip

    def apply(self) -> Iterator[Patch]:
        """Patch every function that is not, and yield what was written.

        Raises:
            MemoryFault: some function lies where Xen cannot write.
            ShortNopError: some entry asks for fewer NOPs than its function's ENDBR64 has bytes.
        """
        for function in self.functions:
            if self._release.marks_applied and self._states.read(function.number).is_applied:
                routine, _ = self._release.skipping_routines
                self._skip(f"{routine}: {shown_name(function, self._memory)} has been already applied before")
            else:
                yield from self._patch(function)

    def revert(self) -> Iterator[Patch]:
        """Put back what was saved of every function that is patched, and yield where.

        Raises:
            MemoryFault: some function lies where Xen cannot write.
            ShortNopError: a file brought along that it was patched behind its end.
        """
        for function in self.functions:
            state = self._states.read(function.number)
            if self._release.marks_applied and not state.mark:
                _, routine = self._release.skipping_routines
                self._skip(f"{routine}: {shown_name(function, self._memory)} has not been applied before")
            else:
                yield from self._restore(function, state)

    def mark_all(self, mark: int) -> None:
        """Mark every function as patched or not, as a hook in place of these routines has to."""
        for function in self.functions:
            state = self._states.read(function.number)
            self._set_state(function, state._replace(mark=mark))

    def inconsistent(self, mark: int) -> LiveFunction | None:
        """Return the first function that is not marked so, if any."""
        return next((found for found in self.functions if self._states.read(found.number).mark != mark), None)

    def marked(self) -> list[LiveFunction]:
        """Return the functions that are marked as patched."""
        return [found for found in self.functions if self._states.read(found.number).is_applied]

    def _patch(self, function: LiveFunction) -> Iterator[Patch]:
        known_offset = known_patch_offset(function.old_addr, self._memory, self._release)
        offset = known_offset or 0
        size = _patched_size(function, offset)
        if size < 0:
            raise ShortNopError(
                f"entry {function.number} puts {function.new_size} bytes of NOPs on a function that begins with ENDBR64"
            )
        address = function.old_addr + offset
        state = self._states.read(function.number)._replace(mark=APPLIED, patch_offset=offset)
        if not size:
            self._set_state(function, state)
            return
        # Where it is unknown whether the function starts with ENDBR64, all that may be written is unknown afterwards.
        length = size if known_offset is not None else size + ENDBR64_SIZE
        remembered = self._memory.remember(address, length)
        found = self._memory.read_partly(address, size)
        if known_offset is None:
            found.forget(0, size)
        self._note_saved(function, found, remembered)
        # Only as much as is patched is saved; what follows in the buffer is from whatever was saved there before.
        state = state._replace(saved=_saved(state, bytes(found.contents)))
        self._set_state(function, state)
        self._write(address, self._new_bytes(function, offset))
        if known_offset is None:
            self._memory.make_unknown(address, length, "whether the function starts with ENDBR64")
        yield Patch(function, address, found.known_start)

    def _note_saved(self, function: LiveFunction, saved: PartlyKnown, remembered: Remembered) -> None:
        """Keep, where saved bytes are unknown, which, and what the function was."""
        unknown = tuple(at for at, is_unknown in enumerate(saved.unknown) if is_unknown)
        status = self._status
        status.unknown_saved = {**status.unknown_saved, function.number: unknown}
        status.remembered = {**status.remembered, function.number: remembered if unknown else ()}

    def _restore(self, function: LiveFunction, state: FunctionState) -> Iterator[Patch]:
        address = function.old_addr + state.patch_offset
        size = _patched_size(function, state.patch_offset)
        if size < 0:
            raise ShortNopError(f"entry {function.number} would be restored behind its end")
        if size:
            before = self._memory.read_available(address, size)
            self._write(address, state.saved[:size])
            unknown = self._status.unknown_saved.get(function.number)
            if unknown:
                self._memory.put_back(self._status.remembered.get(function.number, ()))
                for at in sorted(set(range(size)).difference(unknown)):
                    # A hook may have written other bytes into the buffer.
                    self._write(address + at, state.saved[at : at + 1])
            yield Patch(function, address, before)
        self._set_state(function, state._replace(mark=0))

    def _set_state(self, function: LiveFunction, state: FunctionState) -> None:
        self._states.write(function.number, state, self._write)
        self._states.lose(function.number, self._status.unknown_saved.get(function.number, ()))

    def _new_bytes(self, function: LiveFunction, offset: int) -> bytes:
        return patch_bytes(function.old_addr, function.new_addr, function.new_size, offset, self._nops, self._release)


def _patched_size(function: LiveFunction, offset: int) -> int:
    return JUMP_SIZE if function.new_addr else function.new_size - offset


def _saved(state: FunctionState, saved: bytes) -> bytes:
    return (saved + state.saved[len(saved) :])[:INSN_BUFFER_SIZE]
