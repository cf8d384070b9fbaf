"""What is known of an action so far: the lines that Xen prints, and findings; and the one exception, its death."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NoReturn

from xsplice_loader.findings import Voice, cut, raw
from xsplice_loader.results import LIVEPATCH

if TYPE_CHECKING:
    from xsplice_loader.host_state import LoadedPayload
    from xsplice_loader.releases import Release
    from xsplice_loader.results import Finding
    from xsplice_loader.rules import Rule


class MachineDiedError(Exception):
    """Xen does not survive what it is doing."""

    def __init__(self, rule: Rule) -> None:
        super().__init__(rule.title)
        self.rule = rule


class UnknownOutcomeError(Exception):
    """The outcome of an action is unknown; the message is a clause that says why."""


class Transcript:
    """Lines and findings of one action on one payload, in the order in which they come."""

    def __init__(self, release: Release, name: str) -> None:
        self._voice = Voice(release, name)
        self.shown_name = self._voice.shown_name
        self.lines: list[str | None] = []
        """None: a line that depends on what is unknown."""
        self.findings: list[Finding] = []

    def say(self, text: str | None) -> None:
        """Note a line of the live-patch code, in the form of `findings.raw`; None: one that depends on what is unknown.

        What it does is printed in release builds of every release.
        """
        self.lines.append(None if text is None else cut(f"{LIVEPATCH}{text}"))

    def say_of(self, payload: LoadedPayload, text: str) -> None:
        """Note a line that begins with a payload's name."""
        self.say(f"{raw(os.fsencode(payload.name))}: {text}")

    def add(
        self, rule: Rule, message: str, *, words: dict[str, Any] | None = None, errno: int | None = None, **details: Any
    ) -> int:
        """Note that a rule was broken, with the line that Xen logs for it; return what Xen returns, 0 or negative.

        The arguments are those of `Voice.finding`; a hook may have decided on `errno`.
        """
        finding = self._voice.finding(rule, message, words, errno, details)
        self.lines += self._voice.lines(rule, finding)
        self.findings.append(finding)
        return -(finding.errno or 0)

    def die(self, rule: Rule, message: str, **details: Any) -> NoReturn:
        """Note what Xen does not survive.

        Raises:
            MachineDiedError: always.
        """
        self.add(rule, message, **details)
        raise MachineDiedError(rule)

    def give_up(self, rule: Rule, message: str, **details: Any) -> NoReturn:
        """Note why the outcome of the action is unknown.

        Raises:
            UnknownOutcomeError: always.
        """
        self.add(rule, message, **details)
        raise UnknownOutcomeError(message)
