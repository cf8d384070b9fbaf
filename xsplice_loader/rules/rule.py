"""What a rule is."""

from __future__ import annotations

from typing import Literal, NamedTuple

Severity = Literal["error", "warning", "note"]
Stage = Literal[
    "header",
    "sections",
    "names",
    "symbols",
    "build-id",
    "placement",
    "resolution",
    "relocation",
    "special-sections",
    "patching-sections",
    "prepare",
    "symbol-table",
    "permissions",
]


class Rule(NamedTuple):
    """One check of Xen's, or one observation of ours."""

    id: str
    title: str
    lesson: str
    """What the rule protects, for a reader who meets it for the first time."""
    source: str
    """Where the fact stands."""
    stage: Stage | None = None
    errno: str | None = None
    """The errno's name; None: Xen goes on, or does not survive."""
    words: str | None = None
    """What Xen logs after `livepatch: NAME: `, as a format, line by line; None: it refuses in silence."""
    after_name: str = ": "
    """What Xen puts between the payload's name and those words."""
    named_line: int = 0
    """Which line of the words begins with `livepatch: NAME`; the others are printed as they are."""
    crash: bool = False
    severity: Severity = "error"
    switch: str | None = None
    """The field of `Release` that the rule hangs on; None: in all releases."""
