"""How a broken rule becomes a finding, and what a load has found so far."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from xsplice_loader.results import LIVEPATCH, Finding
from xsplice_loader.rules.errnos import ERRNOS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xsplice_loader.releases import Release
    from xsplice_loader.rules.rule import Rule

LOG_LINE = 1020
"""Bytes of one log line at most: Xen formats into 1024, of which a NUL and the log level's 3 are not seen."""


_LEVELS = re.compile(r"(?<=\n)(?:<[0-3G]>)+")
"""What Xen takes for the level of a line, wherever one begins."""


def cut(text: str, room: int = LOG_LINE) -> str:
    """Return what Xen's buffer takes of what it is to print, less what it takes for levels where a line begins."""
    return _LEVELS.sub("", text.encode()[:room].decode(errors="ignore"))


class Voice:
    """How a release speaks of one payload: the findings and log lines that a broken rule gives."""

    def __init__(self, release: Release, name: str) -> None:
        """`name` is the payload's, which Xen puts before what it logs."""
        self.release = release
        raw_name = name.encode("utf-8", "surrogateescape")
        self.shown_name = raw_name.decode(errors="backslashreplace")
        self._room = LOG_LINE - len(f"{LIVEPATCH}: ".encode()) - len(raw_name)

    def finding(
        self, rule: Rule, message: str, words: dict[str, Any] | None, errno: int | None, details: dict[str, Any]
    ) -> Finding:
        """Return what a broken rule comes to.

        `words` fills the rule's log line; `errno` (positive) overrides the rule's where Xen passes one on;
        `details` are the keys of `Finding`.
        """
        said = rule.words if self.release.prints_errors and not rule.crash else None
        number = ERRNOS[rule.errno] if rule.errno is not None and errno is None else errno
        return Finding(
            rule=rule.id,
            severity=rule.severity,
            message=message,
            stage=rule.stage,
            errno=number,
            crash=rule.crash,
            xen_message=cut(said.format_map({"code": -(number or 0), **(words or {})}), self._room) if said else None,
            **details,
        )

    def lines(self, rule: Rule, finding: Finding) -> list[str]:
        """Return the lines that Xen logs for it, as they stand on its console."""
        if finding.xen_message is None:
            return []
        lines = finding.xen_message.split("\n")
        lines[rule.named_line] = f"{LIVEPATCH}{self.shown_name}{rule.after_name}{lines[rule.named_line]}"
        return lines


class Findings:
    """What one load has found so far, in the order in which Xen would meet it."""

    def __init__(self, release: Release, name: str = "") -> None:
        self.release = release
        self.name = name
        self._voice = Voice(release, name)
        self._lines: list[str] = []
        self._all: list[Finding] = []
        self._first_error: Finding | None = None

    def add(
        self,
        rule: Rule,
        message: str,
        *,
        words: dict[str, Any] | None = None,
        errno: int | None = None,
        **details: Any,
    ) -> None:
        """Record that `rule` was broken; the arguments are those of `Voice.finding`."""
        finding = self._voice.finding(rule, message, words, errno, details)
        self._all.append(finding)
        self.log(*self._voice.lines(rule, finding))
        if self._first_error is None and finding.severity == "error":
            self._first_error = finding

    def take_over(self, others: Findings) -> None:
        """Add what a part of the load has found that was looked at by itself."""
        self._all += others._all
        self.log(*others._lines)
        self._first_error = self._first_error or others._first_error

    def log(self, *lines: str) -> None:
        """Note lines that Xen prints, unless it has stopped before."""
        if self._first_error is None:
            self._lines += lines

    @property
    def lines(self) -> tuple[str, ...]:
        """All that Xen printed, as it stood on its console."""
        return tuple(self._lines)

    @property
    def deciding(self) -> Finding | None:
        """The first finding of severity error: the one that Xen would have stopped at."""
        return self._first_error

    def errors_since(self, count: int) -> bool:
        """Tell whether any error is among the findings after the first `count`."""
        return any(finding.severity == "error" for finding in self._all[count:])

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self._all)
