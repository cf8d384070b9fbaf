"""`xen-livepatch`: the command that administrators type, which looks before and after a hypercall (`spec/04 §9`).

It asks for a payload's status, decides by that whether an action makes sense, has it done, and asks again. What it
says and how it exits is the release's own.
"""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from xsplice_loader.host.files import unreadable
from xsplice_loader.host.speech import OldSpeech, Speech
from xsplice_loader.livepatch.function_states import STATE_NUMBERS
from xsplice_loader.loading import MAX_NAME
from xsplice_loader.memory.address_space import MemoryFault
from xsplice_loader.results import ActionResult, Finding, PatchedBytes, Step
from xsplice_loader.rules.actions import LOCK_KEPT, NEVER_ENDS, WILD_TABLE
from xsplice_loader.rules.errnos import ERRNOS, errno_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from xsplice_loader.host.host import Host
    from xsplice_loader.results import LoadResult, Verb

EXIT_OK, EXIT_FAILED, EXIT_AGAIN = 0, 1, 2
MAX_ERRNO = 4095
"""What a hypercall returns below -4095 is no error number to the kernel that made it."""
EAGAIN, EBUSY, EINVAL, ENOENT = (ERRNOS[name] for name in ("EAGAIN", "EBUSY", "EINVAL", "ENOENT"))
EFAULT, ENODEV = ERRNOS["EFAULT"], ERRNOS["ENODEV"]
VERBS = ("help", "list", "upload", "load", "apply", "revert", "unload", "replace")
"""In the order in which a beginning is taken for one of them (`spec/04 §9`)."""
NODEPS = "--nodeps"
FORCE = "--force"
NAME_COLUMN = 40
SHOWN = 32
"""Bytes that are shown of every patched function."""


class Plan(NamedTuple):
    """What the tool knows of a verb."""

    allowed: str
    """The state that a payload must be in."""
    target: str
    """The state that it is in afterwards; of a payload that is gone the tool knows none."""


STATES = {number: state for state, number in STATE_NUMBERS.items()}
UNKNOWN = "unknown"
PLANS: dict[Verb, Plan] = {
    "apply": Plan("CHECKED", "APPLIED"),
    "revert": Plan("APPLIED", "CHECKED"),
    "replace": Plan("CHECKED", "APPLIED"),
    "unload": Plan("CHECKED", UNKNOWN),
}


class _Status(NamedTuple):
    state: str
    rc: int


class _EndError(Exception):
    """The machine died while the tool waited, or what became of it is unknown."""

    def __init__(self, crash: str | None, unknown: str | None) -> None:
        super().__init__(crash or unknown)
        self.crash = crash
        self.unknown = unknown


class LivepatchTool:
    """The tool of the release that a host runs, reading payloads through a function of the caller's."""

    def __init__(self, host: Host, read: Callable[[str], bytes | OSError], *, keeps_memory: bool = True) -> None:
        """`read` returns a file's contents, or why it cannot be read.

        `keeps_memory`: what becomes of an upload is kept with all that was loaded.
        """
        self.host = host
        self._keeps_memory = keeps_memory
        self.uploads: list[LoadResult] = []
        """What became of every upload, in order."""
        self._read = read
        self._verbs: dict[str, Callable[[Sequence[str]], int]] = {
            "help": self._help,
            "list": self._list,
            "upload": self._upload_command,
            "load": self._load,
            **{verb: partial(self._action_command, verb) for verb in PLANS},
        }
        self._begin()

    def run(self, command: str, words: Sequence[str]) -> Step:
        """Run one command: a verb and its arguments as `words`; `command` is how to show them."""
        self._begin()
        try:
            return self._step(command, self._run(words))
        except _EndError as end:
            return self._step(command, None, end.crash, end.unknown)

    def press_x(self, command: str) -> Step:
        """Have Xen print what it knows of live patches."""
        self._begin()
        try:
            self._log += self.host.dump()
        except MemoryFault as fault:
            self._findings.append(
                Finding(rule=WILD_TABLE.id, severity="error", crash=True, message=f"printing payloads comes to {fault}")
            )
            return self._step(command, None, WILD_TABLE.id)
        return self._step(command, EXIT_OK)

    def _begin(self) -> None:
        self.release = self.host.state.release
        self.speech = OldSpeech() if self.release.tool_waits_in_dots else Speech()
        self._subject: str | None = None
        self._log: list[str | None] = []
        self._findings: list[Finding] = []

    def _run(self, words: Sequence[str]) -> int:
        release = self.release
        if not words:
            return self._help(())
        if release.tool_knows_force and words[0] == FORCE:
            words = words[1:]
            if not words:
                return self._wrong_arguments()
        verb, *arguments = words
        known = verb_of(verb) if release.tool_knows_prefixes else verb
        if known not in self._verbs:
            self.speech.unknown_verb(verb)
            return EXIT_FAILED
        return self._verbs[known](arguments)

    def _help(self, _words: Sequence[str]) -> int:
        self.speech.help(self.release)
        return EXIT_OK

    def _list(self, words: Sequence[str]) -> int:
        if words:
            return self._wrong_arguments()
        self._wait_for_lock()
        listed = self.host.list()
        if any(payload.metadata is None for payload in listed):
            # Xen cannot copy it, and what it could have copied is not shown either.
            self.speech.cannot_list(len(listed), EFAULT)
            return EXIT_FAILED
        rows = self._rows()
        self.speech.listing(rows, with_metadata=self.release.has_metadata)
        return EXIT_OK

    def _rows(self) -> list[str]:
        """Return the rows that `list` shows now."""
        with_metadata = self.release.has_metadata
        rows = []
        for loaded, (name, state, rc, metadata) in zip(self.host.payloads, self.host.list(), strict=True):
            # The tool counts bytes, not characters.
            row = f"{name}{' ' * (NAME_COLUMN - len(os.fsencode(loaded.name)))}| {state}"
            if rc:
                row += f" ({_negated(rc)}, {errno_text(_negated(rc))})"
            rows.append(f"{row}    | {';'.join(metadata or ())}" if with_metadata else row)
        return rows

    def _upload_command(self, words: Sequence[str]) -> int:
        if len(words) != 2:
            return self._wrong_arguments()
        return self._upload(words[0], words[1])

    def _load(self, words: Sequence[str]) -> int:
        if not words or (len(words) > 1 and not self.release.has_expectations):
            return self._wrong_arguments()
        base = os.path.basename(words[0])
        name = base[: base.rindex(".")] if "." in base else base
        rc = self._upload(name, words[0])
        if rc == EXIT_OK:
            rc = self._act_with_flags("apply", name, words[1:])
            if rc != EXIT_OK:
                self._act("unload", name)
        return rc

    def _action_command(self, verb: Verb, words: Sequence[str]) -> int:
        if not words or (len(words) > 1 and not self.release.has_expectations):
            return self._wrong_arguments()
        return self._act_with_flags(verb, words[0], words[1:])

    def _act_with_flags(self, verb: Verb, name: str, flags: Sequence[str]) -> int:
        self._subject = name
        if self._is_too_long(name):
            return EXIT_FAILED
        known = (NODEPS,) if verb == "apply" else ()
        for flag in flags:
            if flag not in known:
                self.speech.unsupported_flag(flag)
                return EXIT_FAILED
        return self._act(verb, name, nodeps=NODEPS in flags)

    def _is_too_long(self, name: str) -> bool:
        """Test a name as the tool does, which counts one more byte than the library under it takes."""
        if len(os.fsencode(name)) <= MAX_NAME + 1:
            return False
        self.speech.name_too_long(MAX_NAME + 1)
        return True

    def _wrong_arguments(self) -> int:
        self._help(())
        return EXIT_FAILED

    def _upload(self, name: str, file: str) -> int:
        self._subject = name
        if self._is_too_long(name):
            return EXIT_FAILED
        data = self._read(file)
        if isinstance(data, OSError):
            self.uploads.append(unreadable(file, data))
            if isinstance(data, IsADirectoryError):
                return self._cannot_map(file, ENODEV)
            self.speech.cannot_open(file, data.errno or 0)
            return _exit_status(data.errno or 0)
        if not data:
            self.uploads.append(self.host.upload(name, data, file=file))
            return self._cannot_map(file, EINVAL)
        self.speech.uploading(file, len(data))
        result = self.host.upload(name, data, file=file)
        self.uploads.append(result if self._keeps_memory else result.without_memory())
        self._note(result)
        if result.errno is not None:
            self.speech.upload_failed(file, result.errno)
            return _exit_status(result.errno)
        self.speech.completed()
        return EXIT_OK

    def _cannot_map(self, file: str, errno: int) -> int:
        """Say that a file was opened, but has no contents that can be mapped."""
        self.speech.cannot_map(file, errno)
        return _exit_status(errno)

    def _act(self, verb: Verb, name: str, *, nodeps: bool = False) -> int:
        plan = PLANS[verb]
        before = self._status(name)
        if isinstance(before, int):
            self.speech.no_status(name, before)
            return _exit_status(before)
        if before.rc == -EAGAIN:
            self.speech.in_progress(name, verb)
            return EXIT_AGAIN
        if before.state == plan.target:
            self.speech.nothing_to_do()
            return EXIT_OK
        if before.state != plan.allowed:
            self.speech.wrong_state(name, before.state, plan.allowed, plan.target)
            return EXIT_FAILED
        self.speech.acting(verb, name)
        result = self.host.apply(name, nodeps=nodeps) if verb == "apply" else getattr(self.host, verb)(name)
        self._note(result)
        if result.rc:
            # What a hook returned, if that is no errno, looks to the tool as if nothing were wrong.
            return self._failed(name, -result.rc if -MAX_ERRNO <= result.rc < 0 else 0)
        return self._await(name, plan)

    def _await(self, name: str, plan: Plan) -> int:
        """Ask what has become of an action."""
        after = self._status(name)
        if isinstance(after, int):
            if plan.target == UNKNOWN and after == ENOENT:
                self.speech.completed()
                return EXIT_OK
            return self._failed(name, after)
        if after.rc == -EAGAIN:
            self.speech.not_completed()
            return EXIT_AGAIN
        if after.rc < 0:
            return self._failed(name, _negated(after.rc))
        # What a hook returned, if that is no errno, is taken for the number of a state.
        state = STATES.get(after.rc, UNKNOWN) if after.rc else after.state
        if state == plan.target:
            self.speech.waited()
            self.speech.completed()
            return EXIT_OK
        self.speech.failed_in_state(name, state, plan.target)
        return EXIT_FAILED

    def _failed(self, name: str, errno: int) -> int:
        self.speech.failed(name, errno)
        return _exit_status(errno)

    def _status(self, name: str) -> _Status | int:
        """Return a payload's status, or the errno of asking for it."""
        if len(os.fsencode(name)) > MAX_NAME:
            return EINVAL
        self._wait_for_lock()
        loaded = self.host.state.payload_named(name)
        if loaded is None:
            return ENOENT
        return _Status(loaded.status.state, loaded.status.rc)

    def _wait_for_lock(self) -> None:
        """Wait for Xen's answer to a question, which may never come."""
        if self.host.state.keeps_lock:
            rule = LOCK_KEPT
            self._findings.append(Finding(rule=rule.id, severity=rule.severity, crash=True, message=NEVER_ENDS))
            raise _EndError(rule.id, None)

    def _note(self, result: ActionResult | LoadResult) -> None:
        self._findings += result.findings
        self._log += result.log
        unknown = result.unknown if isinstance(result, ActionResult) else None
        if result.crash is not None or unknown is not None:
            raise _EndError(result.crash, unknown)

    def _step(self, command: str, rc: int | None, crash: str | None = None, unknown: str | None = None) -> Step:
        state = self.host.state
        subject = state.payload_named(self._subject) if self._subject is not None else None
        return Step(
            command=_shown(command),
            rc=rc,
            crash=crash,
            errno=self.speech.errno if rc is not None else None,
            out=_lines(self.speech.out),
            err=_lines(self.speech.err),
            log=tuple(part for line in self._log for part in ((None,) if line is None else _lines([line]))),
            list=_lines(self._rows()) if unknown is None else (),
            payload_rc=None if subject is None or unknown is not None else subject.status.rc,
            patched=tuple(
                PatchedBytes(address, found.known_start, found.shown)
                for address in state.patched
                for found in (state.memory.read_mapped(address, SHOWN),)
            ),
            findings=tuple(self._findings),
            unknown=unknown,
        )


def _lines(texts: Iterable[str]) -> tuple[str, ...]:
    """Return lines as they are seen: what a payload says of itself may contain line ends."""
    return tuple(line for text in texts for line in _shown(text).split("\n"))


def _shown(text: str) -> str:
    """Return what was typed as text, though it may be no UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _negated(rc: int) -> int:
    """Return `-rc` as a 32-bit `int` has it: the lowest number is its own opposite."""
    return (-rc + (1 << 31)) % (1 << 32) - (1 << 31)


def verb_of(word: str) -> str | None:
    """Return the verb that a word is the beginning of, as the tool takes it up to 4.18; None: of none."""
    return next((verb for verb in VERBS if verb.startswith(word)), None)


def _exit_status(errno: int) -> int:
    if not errno:
        return EXIT_OK
    return EXIT_AGAIN if errno in (EAGAIN, EBUSY) else EXIT_FAILED
