"""The head of a sample: what it shows, and what must become of it.

The first lines of a sample are comments. Plain ones tell a student what is going on; the first of them is
the title. Those that begin with `#!` (in C: `//!`) are for programs:

    #! expect: accepted
    #! expect: refused EOVERFLOW relocation         verdict, errno, stage
    #! expect[4.14.0]: …                            under the rules of another release
    #! expect[--vmap default]: …                    with other options of xsplice-load
    #! xen-message: …                               the line Xen logs; with the same […] as its expectation
    #! on: base                                     the samples that were uploaded and applied before, in order
    #! release: 4.14.0                              rules for whatever does not name its own; may repeat
    #! options: --cpu-features 93                   options that every case is run with
    #! damage: …                                    see `damage.py`

What happens after the upload is told step by step, again with the same […] as the expectation:

    #! step: apply -> 0                             a command of xen-livepatch, and its exit status
    #! step: revert base -> 2 EBUSY                 about another sample; the errno that the tool shows
    #! step: apply --nodeps -> crash                the machine dies, and the story ends
    #! logs: …                                      a line that Xen prints in the step above, without `livepatch: `
    #! bytes: do_nmi_op f30f1efa                    what stands at a symbol after the step above (or the upload)

A step that names no payload is about the sample itself; every payload has the name of its source, without the
extension. Lines that are printed are given in their order, and there may be others between them.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, get_args

from xsplice_loader.forge.errors import ForgeError
from xsplice_loader.rules.errnos import ERRNOS
from xsplice_loader.rules.rule import Stage

if TYPE_CHECKING:
    from xsplice_loader.results import Verdict

_DIRECTIVE = re.compile(r"(?:#|//)!\s*([\w-]+)(?:\[([^\]]*)\])?\s*:\s*(.*)")
_COMMENT = re.compile(r"(?:#|//)(?!!)\s?(.*)")
_RELEASE = re.compile(r"\d+\.\d+\.\d+\S*")
_STEP = re.compile(
    r"(?P<verb>apply|revert|replace|unload)(?: (?P<name>[\w.][\w.-]*))?(?P<flag> --nodeps)?"
    r" -> (?:crash|(?P<status>[012])(?: (?P<errno>E\w+))?)"
)
_BYTES = re.compile(r"(\S+) ((?:[0-9a-f]{2})+)")
_KINDS = ("expect", "xen-message", "step", "logs", "bytes", "on", "release", "options", "damage")


class Contents(NamedTuple):
    """What stands somewhere in memory."""

    symbol: str
    """A function or variable of Xen's, or of the sample."""
    contents: bytes


class SampleStep(NamedTuple):
    """One command of `xen-livepatch`, and what must come of it."""

    verb: str
    name: str | None
    """The sample that it is about; None: this one."""
    flags: tuple[str, ...]
    status: int | None
    """How the tool exits; None: the machine dies."""
    errno: int | None
    """What the tool shows; None: nothing."""
    logs: tuple[str, ...] = ()
    """Some of the lines that Xen prints, in their order, without `livepatch: ` and without spaces around them."""
    contents: tuple[Contents, ...] = ()
    """What stands in memory afterwards."""

    def words(self, own_name: str) -> tuple[str, ...]:
        """Return the command as words, for a sample that was uploaded as `own_name`."""
        return (self.verb, self.name or own_name, *self.flags)


@dataclass(frozen=True, slots=True)
class Case:
    """One way to load a sample, and what must come of it."""

    release: str | None
    """Whose rules; None: those of the hypervisor it is loaded on."""
    options: tuple[str, ...]
    """Further options of `xsplice-load`, as words."""
    verdict: Verdict
    errno: int | None
    stage: Stage | None
    xen_message: str | None = None
    """The line Xen logs; None: the sample does not say."""
    contents: tuple[Contents, ...] = ()
    """What stands in memory after the upload."""
    steps: tuple[SampleStep, ...] = ()
    """What is done after the upload."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A sample's head."""

    title: str
    explanation: str
    below: tuple[str, ...]
    """The samples that are applied before this one is uploaded, in order."""
    cases: tuple[Case, ...]
    damages: tuple[str, ...]


def read_sample(source: str) -> Sample:
    """Return what the head of `source` says.

    Raises:
        ForgeError: a `#!` line is not understood, or the sample does not say what must become of it.

    """
    cases: dict[str, Case] = {}
    details: list[tuple[str, str, str, int]] = []
    releases: list[str | None] = []
    below: list[str] = []
    options: list[str] = []
    damages: list[str] = []
    for number, line in enumerate(source.splitlines(), 1):
        kind, selector, value = _directive(line, number)
        if kind == "expect":
            if selector in cases:
                raise ForgeError("this case has its expectation already", number, line)
            cases[selector] = _case(selector, value, number)
        elif kind in _DETAILS:
            details.append((kind, selector, value, number))
        elif kind == "on":
            below += value.split()
        elif kind == "release":
            releases.append(value)
        elif kind == "options":
            options += shlex.split(value)
        elif kind == "damage":
            damages.append(value)
    for kind, selector, value, number in details:
        if selector not in cases:
            raise ForgeError("no expectation has the same selector", number, value)
        cases[selector] = _DETAILS[kind](cases[selector], value.strip(), number)
    if not cases:
        raise ForgeError("a sample needs a line `#! expect: accepted`, or `#! expect: refused ERRNO STAGE`")
    title, explanation = _comment(source)
    complete = tuple(
        replace(case, release=release, options=(*options, *case.options))
        for case in cases.values()
        for release in ([case.release] if case.release else releases or [None])
    )
    return Sample(title, explanation, tuple(below), complete, tuple(damages))


def _directive(line: str, number: int) -> tuple[str, str, str]:
    text = line.strip()
    if not text.startswith(("#!", "//!")):
        return "", "", ""
    match = _DIRECTIVE.fullmatch(text)
    if match is None or match[1] not in _KINDS:
        raise ForgeError(f"expected one of {', '.join(_KINDS)}, and a colon", number, text)
    return match[1], " ".join((match[2] or "").split()), match[3]


def _case(selector: str, value: str, number: int) -> Case:
    words = shlex.split(selector)
    release = words.pop(0) if words and _RELEASE.fullmatch(words[0]) else None
    verdict, *rest = value.split() or [""]
    if verdict == "accepted" and not rest:
        return Case(release, tuple(words), "accepted", None, None)
    if verdict == "crash" and len(rest) == 1 and rest[0] in get_args(Stage):
        return Case(release, tuple(words), "crash", None, _stage(rest[0]))
    if verdict == "refused" and len(rest) == 2 and rest[1] in get_args(Stage):
        code = ERRNOS.get(rest[0])
        if code is not None:
            return Case(release, tuple(words), "refused", code, _stage(rest[1]))
    raise ForgeError("expected `accepted`, `refused ERRNO STAGE` or `crash STAGE`", number, value)


def _with_message(case: Case, value: str, number: int) -> Case:
    del number
    return replace(case, xen_message=value)


def _with_step(case: Case, value: str, number: int) -> Case:
    match = _STEP.fullmatch(" ".join(value.split()))
    errno = None if match is None or match["errno"] is None else ERRNOS.get(match["errno"], 0)
    if match is None or errno == 0:
        raise ForgeError(
            "expected `VERB [NAME] [--nodeps] -> STATUS [ERRNO]`, or `… -> crash`, with one of the verbs apply, "
            "revert, replace, unload",
            number,
            value,
        )
    if case.verdict != "accepted" or (case.steps and case.steps[-1].status is None):
        raise ForgeError("nothing can be done with a payload that was refused, or after the machine's death", number)
    status = None if match["status"] is None else int(match["status"])
    flags = () if match["flag"] is None else (match["flag"].strip(),)
    return replace(case, steps=(*case.steps, SampleStep(match["verb"], match["name"], flags, status, errno)))


def _with_log(case: Case, value: str, number: int) -> Case:
    if not case.steps:
        raise ForgeError("expected a step before this; for a refused upload there is xen-message", number, value)
    *steps, last = case.steps
    return replace(case, steps=(*steps, last._replace(logs=(*last.logs, value))))


def _with_contents(case: Case, value: str, number: int) -> Case:
    match = _BYTES.fullmatch(value)
    if match is None:
        raise ForgeError("expected `SYMBOL HEX`, two lower-case digits for each byte", number, value)
    found = Contents(match[1], bytes.fromhex(match[2]))
    if not case.steps:
        return replace(case, contents=(*case.contents, found))
    *steps, last = case.steps
    return replace(case, steps=(*steps, last._replace(contents=(*last.contents, found))))


_DETAILS = {"xen-message": _with_message, "step": _with_step, "logs": _with_log, "bytes": _with_contents}
"""What adds to the expectation with the same selector."""


def _stage(name: str) -> Stage:
    return next(stage for stage in get_args(Stage) if stage == name)


def _comment(source: str) -> tuple[str, str]:
    lines: list[str] = []
    for line in source.splitlines():
        if line.strip().startswith(("#!", "//!")):
            continue
        match = _COMMENT.fullmatch(line.strip())
        if match is None:
            break
        lines.append(match[1].strip())
    text = "\n".join(lines).strip()
    title, _, rest = text.partition("\n")
    return title, rest.strip()
