"""What every part of an action needs: the host, the transcript, and a way to call hooks and to follow pointers."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from xsplice_loader.host.hooks import Elsewhere, HookCall, HookOutcome
from xsplice_loader.livepatch.loaded import UnknownContentsError
from xsplice_loader.memory.address_space import MemoryFault
from xsplice_loader.rules import actions as rules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from xsplice_loader.host.hooks import HookRunner
    from xsplice_loader.host.transcript import Transcript
    from xsplice_loader.host_state import HostState, LoadedPayload

P = ParamSpec("P")
T = TypeVar("T")


class Context:
    """One action's surroundings."""

    def __init__(self, host: HostState, transcript: Transcript, runner: HookRunner | None) -> None:
        self.host = host
        self.memory = host.memory
        self.transcript = transcript
        self.runner = runner

    def read(self, what: Callable[P, T], *arguments: P.args, **keywords: P.kwargs) -> T:
        """Return what is read from memory that Xen takes for mapped."""
        try:
            return what(*arguments, **keywords)
        except MemoryFault as fault:
            self.transcript.die(rules.WILD_TABLE, f"what it reads of a payload comes to {fault}")
        except UnknownContentsError as unknown:
            self.transcript.give_up(rules.HOOK_NOT_FOLLOWED, f"it depends on what a payload holds, and {unknown}")

    def hook(self, loaded: LoadedPayload, kind: str) -> int | None:
        """Return the one hook of a kind that a payload has, if any."""
        return self.read(loaded.hooks.single, kind, self.memory)

    def call_all(self, loaded: LoadedPayload, kind: str) -> None:
        """Call the hooks of a kind that a payload has, in order."""
        for pointer in self.read(loaded.hooks.pointers, kind, self.memory):
            self.call(loaded, kind, pointer)

    def call(self, loaded: LoadedPayload, kind: str, address: int) -> HookOutcome:
        """Call a hook; without a runner it is taken to return 0.

        Raises:
            UnknownOutcomeError: it cannot be followed to its end.
        """
        try:
            self.memory.fetch(address, 1)
        except MemoryFault as fault:
            self.transcript.die(rules.HOOK_NOT_CODE, f"{kind} leads to {fault}", section=kind)
        if self.runner is None:
            where = f"{kind} of {loaded.shown_name}, at {address:#018x},"
            self.transcript.add(rules.HOOK_NOT_RUN, f"{where} is not run; it is taken to return 0", section=kind)
            return HookOutcome()
        outcome = self._run(self.runner, loaded, kind, address)
        self.transcript.lines += outcome.console
        if outcome.depends_on_heap is not None:
            self.transcript.add(
                rules.HEAP_ADDRESS, f"{kind} of {loaded.shown_name} {outcome.depends_on_heap}", section=kind
            )
        if outcome.crash is not None:
            self.transcript.die(rules.HOOK_DIED, f"{kind} of {loaded.shown_name} {outcome.crash}", section=kind)
        if outcome.unknown is not None:
            self.transcript.give_up(
                rules.HOOK_NOT_FOLLOWED, f"{kind} of {loaded.shown_name} {outcome.unknown}", section=kind
            )
        return outcome

    def _run(self, runner: HookRunner, loaded: LoadedPayload, kind: str, address: int) -> HookOutcome:
        """Run a hook that finds Xen's structures in memory, and take over what it wrote to them."""
        from xsplice_loader.host.structures import NotFollowedError, Structures  # noqa: PLC0415 - only if hooks are run

        if self.host.structures is None:
            self.host.structures = Structures(self.host.release)
        structures = self.host.structures
        structures.lay_out(self.host)
        passed = structures.payload(loaded) if kind in self.host.release.single_hooks else None

        @contextmanager
        def elsewhere() -> Iterator[Elsewhere]:
            with structures.elsewhere(self.host) as copy:
                yield Elsewhere(
                    None if passed is None else copy.payload(loaded), copy.original_address, structures.holds
                )

        outcome = runner(self.host, HookCall(loaded.name, kind, address, passed, elsewhere))
        try:
            structures.take_over(self.host)
        except NotFollowedError as error:
            return outcome if outcome.crash is not None else outcome._replace(unknown=str(error))
        return outcome
