"""What is known of an action so far: the lines that Xen prints, and findings; and the one exception, its death."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from xsplice_loader.payload import text_of
from xsplice_loader.results import LIVEPATCH, Finding
from xsplice_loader.rules.errnos import ERRNOS

if TYPE_CHECKING:
    from xsplice_loader.loading import LoadedPayload
    from xsplice_loader.releases import Release
    from xsplice_loader.rules import Rule


class MachineDiedError(Exception):
    """Xen does not survive what it is doing."""

    def __init__(self, rule: Rule) -> None:
        super().__init__(rule.title)
        self.rule = rule


class Transcript:
    """Lines and findings of one action on one payload, in the order in which they come."""

    def __init__(self, release: Release, name: str) -> None:
        self.release = release
        self.shown_name = text_of(name.encode("utf-8", "surrogateescape"))
        self.lines: list[str] = []
        self.findings: list[Finding] = []

    def say(self, text: str) -> None:
        """Note a line of the live-patch code; builds that print no errors print no such lines either."""
        if self.release.prints_errors:
            self.lines.append(f"{LIVEPATCH}{text}")

    def say_of(self, payload: LoadedPayload, text: str) -> None:
        """Note a line that begins with a payload's name."""
        self.say(f"{payload.shown_name}: {text}")

    def add(
        self, rule: Rule, message: str, *, words: dict[str, Any] | None = None, errno: int | None = None, **details: Any
    ) -> int:
        """Note that a rule was broken, with the line that Xen logs for it; return what Xen returns, 0 or negative.

        `words` fills that line; `errno` (positive) overrides the rule's where a hook decides on it.
        """
        number = ERRNOS[rule.errno] if rule.errno is not None and errno is None else errno
        said = rule.words.format_map({"code": -(number or 0), **(words or {})}) if rule.words is not None else None
        if said is not None:
            self.say(f"{self.shown_name}: {said}")
        self.findings.append(
            Finding(
                rule=rule.id,
                severity=rule.severity,
                message=message,
                errno=number,
                crash=rule.crash,
                xen_message=said if self.release.prints_errors else None,
                **details,
            )
        )
        return -(number or 0)

    def die(self, rule: Rule, message: str, **details: Any) -> NoReturn:
        """Note what Xen does not survive.

        Raises:
            MachineDiedError: always.
        """
        self.add(rule, message, **details)
        raise MachineDiedError(rule)
