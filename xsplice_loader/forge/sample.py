"""The head of a sample: what it shows, and what must become of it.

The first lines of a sample are comments. Plain ones tell a student what is going on; the first of them is
the title. Those that begin with `#!` (in C: `//!`) are for programs:

    #! expect: accepted
    #! expect: refused EOVERFLOW relocation         verdict, errno, stage
    #! expect[4.14.0]: …                            under the rules of another release
    #! expect[--vmap default]: …                    with other options of xsplice-load
    #! xen-message: …                               the line Xen logs; with the same […] as its expectation
    #! release: 4.14.0                              rules for whatever does not name its own; may repeat
    #! options: --cpu-features 93                   options that every case is run with
    #! damage: …                                    see `damage.py`
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, get_args

from xsplice_loader.forge.errors import ForgeError
from xsplice_loader.rules.rule import ERRNOS, Stage

if TYPE_CHECKING:
    from xsplice_loader.results import Verdict

_DIRECTIVE = re.compile(r"(?:#|//)!\s*([\w-]+)(?:\[([^\]]*)\])?\s*:\s*(.*)")
_COMMENT = re.compile(r"(?:#|//)(?!!)\s?(.*)")
_RELEASE = re.compile(r"\d+\.\d+\.\d+\S*")
_KINDS = ("expect", "xen-message", "release", "options", "damage")


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
    xen_message: str | None
    """The line Xen logs; None: the sample does not say."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A sample's head."""

    title: str
    explanation: str
    cases: tuple[Case, ...]
    damages: tuple[str, ...]


def read_sample(source: str) -> Sample:
    """Return what the head of `source` says.

    Raises:
        ForgeError: a `#!` line is not understood, or the sample does not say what must become of it.

    """
    cases: dict[str, Case] = {}
    messages: dict[str, tuple[str, int]] = {}
    releases: list[str | None] = []
    options: list[str] = []
    damages: list[str] = []
    for number, line in enumerate(source.splitlines(), 1):
        kind, selector, value = _directive(line, number)
        if kind == "expect":
            if selector in cases:
                raise ForgeError("this case has its expectation already", number, line)
            cases[selector] = _case(selector, value, number)
        elif kind == "xen-message":
            messages[selector] = (value, number)
        elif kind == "release":
            releases.append(value)
        elif kind == "options":
            options += shlex.split(value)
        elif kind == "damage":
            damages.append(value)
    for selector, (message, number) in messages.items():
        if selector not in cases:
            raise ForgeError("this message has no expectation with the same selector", number, message)
        cases[selector] = replace(cases[selector], xen_message=message)
    if not cases:
        raise ForgeError("a sample needs a line `#! expect: accepted`, or `#! expect: refused ERRNO STAGE`")
    title, explanation = _comment(source)
    complete = tuple(
        replace(case, release=release, options=(*options, *case.options))
        for case in cases.values()
        for release in ([case.release] if case.release else releases or [None])
    )
    return Sample(title, explanation, complete, tuple(damages))


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
        return Case(release, tuple(words), "accepted", None, None, None)
    if verdict == "crash" and len(rest) == 1 and rest[0] in get_args(Stage):
        return Case(release, tuple(words), "crash", None, _stage(rest[0]), None)
    if verdict == "refused" and len(rest) == 2 and rest[1] in get_args(Stage):
        code = ERRNOS.get(rest[0])
        if code is not None:
            return Case(release, tuple(words), "refused", code, _stage(rest[1]), None)
    raise ForgeError("expected `accepted`, `refused ERRNO STAGE` or `crash STAGE`", number, value)


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
