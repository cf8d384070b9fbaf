"""JUnit XML: a suite for each hypervisor, a case for each payload; what makes the run fail is a failure."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, quoteattr

from xsplice_loader.report.escaping import for_terminal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xsplice_loader.checking.journal import CellLine
    from xsplice_loader.checking.judging import Judged
    from xsplice_loader.report.checked import Run


def junit(run: Run) -> Iterator[bytes]:
    """Yield the document piece by piece."""
    yield b'<?xml version="1.0" encoding="UTF-8"?>\n<testsuites name="xsplice-check">\n'
    for number, column in enumerate(run.columns):
        lines = range(number * len(run.rows), (number + 1) * len(run.rows))
        cases = [case for at in lines if (line := run.journal.line(at)) is not None for case in [_case(line, run)]]
        failures = sum(kind == "failure" for kind, _ in cases)
        errors = sum(kind == "error" for kind, _ in cases)
        yield (
            f'<testsuite name={_attribute(column)} tests="{len(cases)}" failures="{failures}" errors="{errors}" '
            'skipped="0">\n'
        ).encode()
        yield from (text.encode() for _, text in cases)
        yield b"</testsuite>\n"
    yield b"</testsuites>\n"


def _case(line: CellLine, run: Run) -> tuple[str, str]:
    """Return what became of a cell, and its element."""
    cell = line.cell
    judged = run.judge.judged(cell)
    failing = [one for one in judged if run.judge.fails(one)]
    kind = "passed" if not failing else "error" if cell.verdict is None else "failure"
    inner = ""
    if failing:
        first = failing[0].finding
        body = "\n".join(_line(one) for one in failing)
        inner = f"<{kind} message={_attribute(first.message)} type={_attribute(first.rule)}>{_text(body)}</{kind}>"
    others = "\n".join(_line(one) for one in judged if one not in failing)
    output = f"<system-out>{_text(others)}</system-out>" if others else ""
    name, owner = _attribute(cell.payload), _attribute(cell.hypervisor)
    return kind, f'<testcase name={name} classname={owner} time="0">{inner}{output}</testcase>\n'


def _line(judged: Judged) -> str:
    finding = judged.finding
    where = "" if finding.section is None or finding.offset is None else f" {finding.section}+{finding.offset:#x}"
    source = "" if finding.source_file is None else f" {finding.source_file}:{finding.source_line}"
    known = " (in the baseline)" if judged.is_known else ""
    return for_terminal(f"{finding.severity} {finding.rule}{where}{source}: {finding.message}{known}")


def _attribute(text: str) -> str:
    return quoteattr(for_terminal(text))


def _text(text: str) -> str:
    """Return lines as XML takes them: it has no form at all for most control characters."""
    return escape("\n".join(map(for_terminal, text.split("\n"))))
