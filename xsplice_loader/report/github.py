"""Workflow commands of GitHub: each finding becomes a remark beside the line of code that it is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.report.escaping import for_terminal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xsplice_loader.report.checked import Group, Run

COMMANDS = {"error": "error", "warning": "warning", "note": "notice"}
_IN_TEXT = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A"})
_IN_PROPERTY = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A", ":": "%3A", ",": "%2C"})


def github(run: Run) -> Iterator[str]:
    """Yield a command for each finding that the baseline does not have."""
    for group in run.groups():
        if not group.judged.is_known:
            yield _command(group, len(run.columns))


def _command(group: Group, columns: int) -> str:
    finding = group.judged.finding
    hint = f". {finding.hint}" if finding.hint else ""
    on = f" (on {len(group.hypervisors)} of {columns} hypervisors)" if columns > 1 else ""
    properties = {
        "file": finding.source_file or group.payload,
        "line": str(max(finding.source_line or 1, 1)),
        "title": f"{finding.rule} {group.payload}",
    }
    shown = ",".join(f"{name}={for_terminal(value).translate(_IN_PROPERTY)}" for name, value in properties.items())
    text = for_terminal(f"{finding.message}{hint}{on}").translate(_IN_TEXT)
    return f"::{COMMANDS[finding.severity]} {shown}::{text}"
