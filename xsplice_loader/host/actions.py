"""What Xen does with a loaded payload when it is asked to: apply, revert, replace, unload (`spec/04 §6`).

An action has two parts. What the hypercall tests at once decides what it returns; the work itself is done later, with
all processors standing still, and leaves its result in the payload's status. Here the second part follows on the first
without a pause. Where the machine would die, or a hook cannot be followed to its end, all is put back as it was, and
the result says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.findings import visible
from xsplice_loader.host import oversights
from xsplice_loader.host.context import Context
from xsplice_loader.host.oversights import EAGAIN
from xsplice_loader.host.transcript import MachineDiedError, Transcript, UnknownOutcomeError
from xsplice_loader.host.work import APPLYING, REVERTING, Direction, Work
from xsplice_loader.livepatch import hooks
from xsplice_loader.livepatch.expectations import disappointments
from xsplice_loader.livepatch.live_functions import printed_name
from xsplice_loader.livepatch.prepare import BUILD_ID, DEPENDS
from xsplice_loader.results import ActionResult
from xsplice_loader.rules import actions as rules
from xsplice_loader.rules.actions import NEVER_ENDS
from xsplice_loader.rules.errnos import ERRNOS

if TYPE_CHECKING:
    from collections.abc import Callable

    from xsplice_loader.host.hooks import HookRunner
    from xsplice_loader.host_state import HostState, LoadedPayload
    from xsplice_loader.livepatch.notes import LiveId
    from xsplice_loader.results import Verb

EINVAL = -ERRNOS["EINVAL"]


def act(
    host: HostState, verb: Verb, name: str, *, nodeps: bool = False, runner: HookRunner | None = None
) -> ActionResult:
    """Carry out an action on the payload called `name`, as the hypercall does."""
    rc: int | None = None
    transcript = Transcript(host.release, name)
    if host.keeps_lock:
        transcript.add(rules.LOCK_KEPT, NEVER_ENDS)
        return ActionResult(verb, transcript.shown_name, None, rules.LOCK_KEPT.id, findings=tuple(transcript.findings))
    payload = host.payload_named(name)
    if payload is None:
        rc = transcript.add(rules.UNKNOWN_PAYLOAD, f"no payload called {transcript.shown_name} is loaded")
        return ActionResult(verb, transcript.shown_name, rc, findings=tuple(transcript.findings))
    is_to_be_applied = verb in ("apply", "replace")
    has_nothing_to_do = verb != "unload" and payload.status.is_applied is is_to_be_applied
    if has_nothing_to_do:
        return ActionResult(verb, transcript.shown_name, 0, None, True, payload.status.rc, is_to_be_applied)
    before = _Before(host)
    crash = unknown = None
    with host.memory.tentative() as take_back:
        try:
            rc = _Action(host, payload, transcript, runner, nodeps=nodeps).verbs[verb]()
        except MachineDiedError as death:
            crash = death.rule.id
        except UnknownOutcomeError as error:
            unknown = str(error)
        finally:
            # Dead, unknown, or interrupted while a hook runs: in each case nothing has happened.
            if rc is None:
                take_back()
                before.restore(host)
    status = payload.status if payload in host.payloads else None
    return ActionResult(
        verb,
        transcript.shown_name,
        rc,
        crash,
        False,
        None if status is None else status.rc,
        status is not None and status.is_applied,
        tuple(transcript.lines),
        tuple(transcript.findings),
        unknown,
    )


class _Before:
    """What a host remembered of its payloads before an action."""

    def __init__(self, host: HostState) -> None:
        self._statuses = [(loaded, loaded.status.copy()) for loaded in host.payloads]
        self._applied = list(host.applied)
        self._patched = dict(host.patched)

    def restore(self, host: HostState) -> None:
        """Have the host remember just that."""
        host.applied[:] = self._applied
        host.patched = self._patched
        for loaded, status in self._statuses:
            loaded.status.take(status)


class _Action:
    """One action on one payload."""

    def __init__(
        self,
        host: HostState,
        payload: LoadedPayload,
        transcript: Transcript,
        runner: HookRunner | None,
        *,
        nodeps: bool,
    ) -> None:
        self.host = host
        self.payload = payload
        self.transcript = transcript
        self.context = Context(host, transcript, runner)
        self.work = Work(self.context)
        self.nodeps = nodeps
        self.verbs: dict[Verb, Callable[[], int]] = {
            "apply": self.apply,
            "revert": self.revert,
            "replace": self.replace,
            "unload": self.unload,
        }

    def unload(self) -> int:
        """Remove a payload that is not applied."""
        if self.payload.status.is_applied:
            return self.transcript.add(rules.UNLOAD_APPLIED, "the payload is applied; revert it first")
        oversights.warn_of_users(self.context, self.payload)
        self.host.unload(self.payload)
        return 0

    def revert(self) -> int:
        """Take an applied payload off the top."""
        top = self.host.applied[-1]
        if top is not self.payload:
            return self.transcript.add(
                rules.NOT_ON_TOP,
                f"{top.shown_name} was applied after it and has to be reverted first",
                words={"top": top.shown_name},
            )
        return self._ask_before(REVERTING) or self._finish("REVERT", self._revert, REVERTING)

    def apply(self) -> int:
        """Put a payload on top."""
        status = self.payload.status
        if status.was_reverted and not self.payload.is_safe_to_reapply:
            status.rc = self.transcript.add(
                rules.USED_DATA,
                "the payload has variables, was applied once and reverted; unload it and upload it again",
            )
            return 0
        rc = 0 if self.nodeps and self.host.release.has_expectations else self._check_what_it_stands_on()
        rc = rc or self._check_expectations()
        return rc or self._ask_before(APPLYING) or self._finish("APPLY", self._apply, APPLYING)

    def replace(self) -> int:
        """Put a payload in the place of all that are applied."""
        rc = self._check_xen() or self._refuse_vetoing_hooks()
        return rc or self._finish("REPLACE", self._replace)

    def _finish(self, what: str, work: Callable[[], int], afterwards: Direction | None = None) -> int:
        """Do the work and note its result; the hypercall itself has long returned 0."""
        self.payload.status.rc = EAGAIN
        self.payload.status.rc = work()
        if afterwards is not None:
            self.work.tell_afterwards(self.payload, afterwards)
        # The post hook may write another result.
        self.transcript.say(f"{self.payload.shown_name} finished {what} with rc={self.payload.status.rc}")
        return 0

    # What is tested at once.

    def _check_what_it_stands_on(self) -> int:
        if not self.host.applied:
            return self._check_xen()
        below = self.host.applied[-1]
        build_id = self._now(below.build_id)
        self._follow_ids(build_id, below.has_lost(BUILD_ID))
        if build_id == self._now(self.payload.depends):
            return 0
        return self._stands_on_other(below.shown_name, build_id)

    def _check_xen(self) -> int:
        hypervisor = self.host.hypervisor
        if not hypervisor.has_known_build_id:
            return self.transcript.add(
                rules.NOT_COMPARED, "the hypervisor's build-id is not known, so it is not compared"
            )
        if hypervisor.build_id is None:
            return self.transcript.add(rules.XEN_WITHOUT_ID, "the hypervisor has no build-id to compare with")
        self._follow_ids(hypervisor.build_id)
        if hypervisor.build_id == self._now(self.payload.depends):
            return 0
        return self._stands_on_other("hypervisor", hypervisor.build_id)

    def _now(self, build_id: LiveId | None) -> bytes:
        return b"" if build_id is None else build_id.now(self.host.memory)

    def _follow_ids(self, other: bytes, is_lost: bool = False) -> None:
        """Die of an id that is gone; ids of unequal length differ without a look at them."""
        if len(other) == len(self._now(self.payload.depends)) and (is_lost or self.payload.has_lost(DEPENDS)):
            self.transcript.die(
                rules.WILD_TABLE, "a build-id that it compares was left in the upload's buffer, which is gone"
            )

    def _stands_on_other(self, other: str, build_id: bytes) -> int:
        wanted, found = (value.hex() or "nothing" for value in (self._now(self.payload.depends), build_id))
        return self.transcript.add(
            rules.STANDS_ON_OTHER,
            f"the payload stands on {wanted}; what it would come to stand on, {other}, is {found}",
            words={"other": other},
            section=".livepatch.depends",
        )

    def _check_expectations(self) -> int:
        if not self.host.release.has_expectations:
            return 0
        self.transcript.say_of(self.payload, "Verifying enabled expectations for all functions")
        functions = self.context.read(self.payload.table.functions, self.host.memory, self.host.release)
        found = disappointments(functions, self.host.memory)
        while (failed := self.context.read(next, found, None)) is not None:
            function = failed.function
            printed = self.context.read(printed_name, function, self.host.memory)
            name = visible(printed)
            message = f"entry {function.number} of .livepatch.funcs ({name}) {failed.message}"
            if failed.rule is rules.NOT_COMPARED:
                self.transcript.add(failed.rule, message)
                continue
            if failed.expected is not None and failed.actual is not None:
                said = f"{printed}: expectation failed: expected:{failed.expected.hex()}, actual:{failed.actual}"
                self.transcript.say(said if "?" not in failed.actual else None)
            return self.transcript.add(
                failed.rule,
                message,
                words={"name": printed if function.name else "unknown"},
                section=".livepatch.funcs",
                index=function.number,
                symbol=name,
            )
        return 0

    def _refuse_vetoing_hooks(self) -> int:
        for loaded in (self.payload, *self.host.applied):
            for kind in hooks.VETOING:
                if self.context.hook(loaded, kind) is not None:
                    whose = "" if loaded is self.payload else f"{loaded.shown_name}, which is applied, "
                    self.transcript.say_of(
                        self.payload, "REPLACE action is not supported on livepatches with vetoing hooks!"
                    )
                    return self.transcript.add(
                        rules.REPLACE_WITH_HOOKS, f"{whose or 'it '}has a hook {kind}", section=kind
                    )
        return 0

    def _ask_before(self, direction: Direction) -> int:
        """Call the hook that may stop an action."""
        hook = self.context.hook(self.payload, direction.before)
        if hook is None:
            return 0
        name = f"pre-{direction.name}"
        self.transcript.say_of(self.payload, f"Calling {name} hook function")
        rc = self.context.call(self.payload, direction.before, hook).value
        if rc:
            self.payload.status.rc = rc
            self.transcript.add(
                rules.HOOK_VETO,
                f"its {name} hook returned {rc}",
                words={"hook": name, "code": rc},
                errno=max(-rc, 0),
                section=direction.before,
            )
            oversights.warn_of_result(self.context, rc, direction.before)
        return rc

    # The work.

    def _apply(self) -> int:
        return self.work.apply(self.payload)

    def _revert(self) -> int:
        return self.work.revert(self.payload)

    def _replace(self) -> int:
        for loaded in reversed(list(self.host.applied)):
            loaded.status.rc = self.work.revert(loaded)
            if loaded.status.rc:
                return EINVAL
        rc = self._check_expectations()
        if rc:
            self.transcript.add(
                rules.REPLACEMENT_INCOMPLETE, "all other payloads have been reverted, and this one is not applied"
            )
        return rc or self.work.apply(self.payload)
