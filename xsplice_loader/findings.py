"""How a broken rule becomes a finding, and what a load has found so far."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from xsplice_loader.c_strings import UnterminatedString
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


def raw(word: object) -> str:
    """Return a word of a log line with bytes as they are; those that are not UTF-8 become lone surrogates."""
    return word.decode("utf-8", "surrogateescape") if isinstance(word, bytes) else str(word)


def visible(text: str) -> str:
    r"""Return a text that is as `raw` returns it with bytes that are not UTF-8 as `\xNN`."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def cut(text: str, room: int = LOG_LINE) -> str:
    r"""Return what is seen of a text that Xen prints: as many bytes as its buffer takes, less the levels of lines.

    `text` is as `raw` returns it. Bytes that are not UTF-8, once it is cut, are shown as `\xNN`.
    """
    taken = text.encode("utf-8", "surrogateescape")[:room]
    return _LEVELS.sub("", taken.decode("utf-8", "backslashreplace"))


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

        `words` fills the rule's log line, bytes as Xen prints them; `errno` (positive) overrides the rule's where Xen
        passes one on; `details` are the keys of `Finding`, of which `stage` overrides the rule's.
        """
        said = rule.words if self.release.prints_errors and not rule.crash else None
        number = ERRNOS[rule.errno] if rule.errno is not None and errno is None else errno
        crash = rule.crash
        if said and words and any(isinstance(word, UnterminatedString) for word in words.values()):
            # What is printed is the last that Xen does.
            said, number, crash = None, None, True
            message += "; Xen prints that name, which runs on into unmapped memory"
        stage = details.pop("stage", rule.stage)
        return Finding(
            rule=rule.id,
            severity=rule.severity,
            message=message,
            stage=stage,
            errno=number,
            crash=crash,
            xen_message=None if not said else self._printed(rule, said, {"code": -(number or 0), **(words or {})}),
            **details,
        )

    def _printed(self, rule: Rule, said: str, words: dict[str, Any]) -> str:
        """Return the lines of a rule; each is printed, and cut, by itself."""
        shown = {key: raw(word) if isinstance(word, bytes) else word for key, word in words.items()}
        return "\n".join(
            cut(line.format_map(shown), self._room if number == rule.named_line else LOG_LINE)
            for number, line in enumerate(said.split("\n"))
        )

    def lines(self, rule: Rule, finding: Finding) -> list[str]:
        """Return the lines that Xen logs for it, as they are on its console."""
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
