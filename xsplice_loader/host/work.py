"""The work of an action, done while all processors stand still (`spec/04 §4`, `§6.2`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from xsplice_loader.findings import visible
from xsplice_loader.host import oversights
from xsplice_loader.host.write_access import write_access
from xsplice_loader.livepatch import hooks
from xsplice_loader.livepatch.applying import Patch, Patching, ShortNopError
from xsplice_loader.livepatch.function_states import APPLIED
from xsplice_loader.livepatch.functions import INSN_BUFFER_SIZE
from xsplice_loader.livepatch.live_functions import printed_name
from xsplice_loader.memory.address_space import MemoryFault
from xsplice_loader.rules import actions as rules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from xsplice_loader.host.context import Context
    from xsplice_loader.host_state import LoadedPayload


class Direction(NamedTuple):
    """What applying and reverting, mirror images of one another, call their parts."""

    before: str
    instead: str
    after: str
    name: str
    mark: int
    """What functions are marked as once it is done."""


APPLYING = Direction(hooks.PREAPPLY, hooks.APPLY, hooks.POSTAPPLY, "apply", APPLIED)
REVERTING = Direction(hooks.PREREVERT, hooks.REVERT, hooks.POSTREVERT, "revert", 0)


class Work:
    """Applies and reverts payloads."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.host = context.host
        self.transcript = context.transcript

    def apply(self, loaded: LoadedPayload) -> int:
        """Patch a payload's functions, or let its hook do so; return 0 or what the hook returned."""
        hook = self.context.hook(loaded, APPLYING.instead)
        rc = self._apply_functions(loaded) if hook is None else self._call_instead(loaded, APPLYING, hook)
        self._check_consistency(loaded, APPLYING, done=not rc)
        if not rc:
            self.host.applied.append(loaded)
            loaded.status.is_applied = True
        return rc

    def revert(self, loaded: LoadedPayload) -> int:
        """Restore a payload's functions, or let its hook do so; return 0 or what the hook returned."""
        hook = self.context.hook(loaded, REVERTING.instead)
        rc = self._revert_functions(loaded) if hook is None else self._call_instead(loaded, REVERTING, hook)
        self._check_consistency(loaded, REVERTING, done=not rc)
        if not rc:
            self.host.applied.remove(loaded)
            loaded.status.is_applied = False
            loaded.status.was_reverted = True
            loaded.status.was_removed = True
        return rc

    def _apply_functions(self, loaded: LoadedPayload) -> int:
        self.transcript.say_of(loaded, f"Applying {loaded.table.entries} functions")
        self.context.call_all(loaded, hooks.LOAD)
        originals: dict[int, int] = {}
        for patch in self._carry_out(loaded, Patching.apply):
            self.host.patched.setdefault(patch.function.old_addr)
            for address, byte in enumerate(patch.before or b"", patch.address):
                originals.setdefault(address, byte)
            oversights.warn_of_jump(self.context, patch)
        loaded.status.originals = originals
        self._show_metadata(loaded)
        return 0

    def _revert_functions(self, loaded: LoadedPayload) -> int:
        self.transcript.say_of(loaded, "Reverting")
        if loaded.status.is_patched_by_hook:
            loaded.status.is_patched_by_hook = False
            self.transcript.add(
                rules.HOOK_EFFECT_UNKNOWN,
                "its apply hook was not run, so what it would have patched is not known and nothing is restored",
                section=hooks.APPLY,
            )
            self._mark_all(loaded, REVERTING)
        else:
            self._carry_out(loaded, Patching.revert)
        self.context.call_all(loaded, hooks.UNLOAD)
        oversights.warn_of_leftovers(self.context, loaded)
        return 0

    def _patching(self, loaded: LoadedPayload) -> Patching:
        host = self.host
        return self.context.read(
            Patching,
            loaded.table,
            loaded.status,
            host.memory,
            write_access(host),
            release=host.release,
            nops=host.nops,
            skip=self._skip,
        )

    def _carry_out(self, loaded: LoadedPayload, work: Callable[[Patching], Iterator[Patch]]) -> list[Patch]:
        try:
            return list(work(self._patching(loaded)))
        except MemoryFault as fault:
            self.transcript.die(rules.NOT_WRITABLE, f"patching or restoring its functions comes to {fault}")
        except ShortNopError as error:
            self.transcript.die(rules.SHORT_NOPS, str(error), section=".livepatch.funcs")

    def _mark_all(self, loaded: LoadedPayload, direction: Direction) -> None:
        """Mark functions as a hook would have done that nobody ran."""
        try:
            self._patching(loaded).mark_all(direction.mark)
        except MemoryFault as fault:
            self.transcript.die(rules.NOT_WRITABLE, f"marking its functions comes to {fault}")

    def _skip(self, line: str) -> None:
        self.transcript.say(line)
        self.transcript.add(rules.ALREADY_MARKED, f"Xen skips a function: {line}")

    def _check_consistency(self, loaded: LoadedPayload, direction: Direction, *, done: bool) -> None:
        """Stop the machine where functions are not marked as what became of the action."""
        if not self.host.release.marks_applied:
            return
        mark = direction.mark if done else APPLIED - direction.mark
        patching = self._patching(loaded)
        wrong = self.context.read(patching.inconsistent, mark)
        if wrong is not None:
            # xen/common/livepatch.c: was_action_consistent has a word of its own for a NULL name.
            printed = self.context.read(printed_name, wrong, self.context.memory) if wrong.name else "noname"
            name = visible(printed)
            self.transcript.say_of(loaded, f"Payload has a function: '{printed}' with inconsistent applied state.")
            self.transcript.die(
                rules.INCONSISTENT,
                f"after its {direction.name} hook, {name} is not marked as {'' if mark else 'not '}patched",
                section=direction.instead,
            )

    def _show_metadata(self, loaded: LoadedPayload) -> None:
        strings = self.context.read(loaded.metadata.strings, self.context.memory)
        if strings:
            self.transcript.say("module metadata:")
            for string in strings:
                self.transcript.say(f"  {string}")

    def _call_instead(self, loaded: LoadedPayload, direction: Direction, hook: int) -> int:
        """Call the hook that does an action's work."""
        self.transcript.say_of(loaded, f"Calling {direction.name} action hook function")
        before = self._starts(loaded) if direction is APPLYING else {}
        outcome = self.context.call(loaded, direction.instead, hook)
        if direction is APPLYING and self.context.runner is not None:
            self._remember_marked(loaded, before)
        if self.context.runner is None:
            self._mark_all(loaded, direction)
            loaded.status.is_patched_by_hook = direction is APPLYING
        if direction is REVERTING:
            oversights.warn_of_leftovers(self.context, loaded)
        rc = outcome.value
        if rc:
            self.transcript.add(
                rules.HOOK_FAILED,
                f"its {direction.name} hook returned {rc}",
                errno=max(-rc, 0),
                section=direction.instead,
            )
            oversights.warn_of_result(self.context, rc, direction.instead)
        return rc

    def _starts(self, loaded: LoadedPayload) -> dict[int, bytes]:
        """Return what each function begins with, by its address, as far as that is known and may be saved."""
        functions = self.context.read(loaded.table.functions, self.host.memory, self.host.release)
        return {
            function.old_addr: self.host.memory.read_available(
                function.old_addr, min(function.old_size, INSN_BUFFER_SIZE)
            )
            for function in functions
        }

    def _remember_marked(self, loaded: LoadedPayload, before: dict[int, bytes]) -> None:
        """Remember the functions that a hook marked as patched: a revert will write what was saved over them."""
        originals: dict[int, int] = {}
        for function in self.context.read(self._patching(loaded).marked):
            self.host.patched.setdefault(function.old_addr)
            for address, byte in enumerate(before.get(function.old_addr, b""), function.old_addr):
                originals.setdefault(address, byte)
        loaded.status.originals = originals

    def tell_afterwards(self, loaded: LoadedPayload, direction: Direction) -> None:
        """Call the hook that hears what became of an action, which is in the payload's status by then."""
        hook = self.context.hook(loaded, direction.after)
        if hook is not None:
            self.transcript.say_of(loaded, f"Calling post-{direction.name} hook function with rc={loaded.status.rc}")
            self.context.call(loaded, direction.after, hook)
