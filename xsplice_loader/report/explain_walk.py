"""The walk through a load as lines of text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.report.escaping import for_terminal
from xsplice_loader.report.explain import block_lines, indented, wrapped
from xsplice_loader.report.text import verdict_line
from xsplice_loader.rules import RULES
from xsplice_loader.teaching.blocks import Found

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xsplice_loader.report.explain import Style
    from xsplice_loader.teaching.walk import Outcome, Step, Walk

NEVER = {
    "never reached": "Xen never gets here.",
    "would be refused": "Xen never gets here; what it would have found:",
    "would crash": "Xen never gets here; what it would not have survived:",
}
_ROLES: dict[Outcome, str] = {
    "passed": "accepted",
    "refused": "refused",
    "crash": "refused",
    "never reached": "quiet",
    "would be refused": "warning",
    "would crash": "warning",
}
STEP_INDENT = "    "


def walk_lines(walk: Walk, style: Style) -> Iterator[str]:
    """Yield the lines of one walk."""
    yield verdict_line(walk.result, style.paint)
    for line in (walk.result.xen_message or "").splitlines():
        yield f"  Xen logs: {for_terminal(line)}"
    for number, step in enumerate(walk.steps, 1):
        if style.verbosity >= 0:
            yield ""
        yield f"{number:2}  {step.name:19}{style.paint(step.outcome, _ROLES[step.outcome])}"
        if style.verbosity >= 0:
            yield from indented(_told(step, style.narrowed(len(STEP_INDENT))), STEP_INDENT)


def _told(step: Step, style: Style) -> Iterator[str]:
    yield style.paint(step.question, "strong")
    if step.outcome in NEVER:
        yield NEVER[step.outcome]
    yield from block_lines(step.told, style)
    if step.found:
        yield from block_lines((Found(step.found),), style)
    if style.verbosity > 0:
        fired = {finding.rule for finding in step.found}
        for rule in step.rules:
            mark = "broken" if rule in fired else "holds"
            yield from wrapped(f"{rule} {mark}: {RULES[rule].title}", style.width, "       ")
    elif step.rules:
        yield from wrapped("rules tested here: " + " ".join(step.rules), style.width, "  ")
