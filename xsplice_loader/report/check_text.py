"""`xsplice-check`'s text: the matrix first, then every finding once with the hypervisors that it was made on."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from xsplice_loader.checking.policies import POLICIES
from xsplice_loader.numbers import size_text
from xsplice_loader.report.checked import BY_ITSELF, UNREADABLE
from xsplice_loader.report.escaping import for_terminal
from xsplice_loader.report.findings import finding_lines
from xsplice_loader.rules.errnos import errno_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from xsplice_loader.checking.cells import Cell, CellWindow, CheckedHypervisor
    from xsplice_loader.checking.judging import Judge
    from xsplice_loader.report.checked import Group, Run
    from xsplice_loader.report.paint import Paint

SHOWN_GROUPS = 20
"""Findings that are shown without -v."""
LONGEST_NAME = 48
"""Characters of a payload's name in the matrix; of a longer one the end is shown."""
COLUMN = 12
MOST_COLUMNS = 10
"""Hypervisors that get a column of the matrix each; of more, each payload has a line that sums them up."""
SHOWN_ON = 8
"""Hypervisors that are listed with a finding."""


def check_lines(run: Run, *, verbosity: int, paint: Paint) -> Iterator[str]:
    """Yield the lines of the report. `verbosity`: -1 the sums only, 0 ordinary, 1 everything."""
    if verbosity >= 0:
        yield from _matrix(run, paint)
        yield ""
        yield from _hypervisors(run)
        yield ""
        yield from _windows(run)
        yield from _policies(run, paint)
        yield from _findings(run, verbosity, paint)
    yield _summary(run, paint)


def _matrix(run: Run, paint: Paint) -> Iterator[str]:
    names = [_name(row) for row in _shortened(run.rows)]
    width = max(map(len, names), default=0)
    if 1 < len(run.columns) <= MOST_COLUMNS:
        numbers = "".join(f"{number:<{COLUMN}}" for number in range(1, len(run.columns) + 1))
        yield paint(" " * width + "  " + numbers, "quiet")
    for row, name in enumerate(names):
        lines = (run.line(row, column) for column in range(len(run.columns)))
        words = [("not done", "warning") if line is None else _word(line.cell, run.judge) for line in lines]
        told = _cells(words, paint) if len(words) <= MOST_COLUMNS else _summed_up(words, run.columns, paint)
        yield f"{name:{width}}  {told}".rstrip()
    if any(line.cell.accepted and run.judge.judged(line.cell) for line in run.journal):
        yield paint("* accepted, and there is something to say", "quiet")
    if run.verdicts[UNREADABLE]:
        yield paint("? not checked: the payload or the hypervisor cannot be read", "quiet")


def _cells(words: Sequence[tuple[str, str]], paint: Paint) -> str:
    return "".join(paint(word, role) + " " * (COLUMN - len(word)) for word, role in words)


def _summed_up(words: Sequence[tuple[str, str]], columns: Sequence[str], paint: Paint) -> str:
    """Return how many hypervisors say what, and of all but the most frequent word which these are."""
    on: dict[tuple[str, str], list[str]] = {}
    for word, column in zip(words, columns, strict=True):
        on.setdefault(word, []).append(column)
    (usual, role), hypervisors = max(on.items(), key=lambda item: len(item[1]))
    told = [
        f"{paint(usual, role)} on " + (f"all {len(words)}" if len(on) == 1 else f"{len(hypervisors)} of {len(words)}")
    ]
    told += [
        f"{paint(word, role)} on {_on(hypervisors, columns)}"
        for (word, role), hypervisors in on.items()
        if word != usual
    ]
    return "; ".join(told)


def _shortened(paths: Sequence[str]) -> Sequence[str]:
    """Return the paths without directories, where that still tells them apart."""
    short = [path.rpartition("/")[2] or path for path in paths]
    return short if len(set(short)) == len(paths) else paths


def _name(path: str) -> str:
    name = for_terminal(path)
    return name if len(name) <= LONGEST_NAME else "…" + name[1 - LONGEST_NAME :]


def _word(cell: Cell, judge: Judge) -> tuple[str, str]:
    """Return a cell in a word, and how to paint it."""
    if cell.verdict is None:
        return "?", "warning"
    if cell.verdict == "accepted":
        return ("ok*" if judge.judged(cell) else "ok"), "accepted"
    if cell.verdict == "crash":
        return "crash", "refused"
    return (errno_name(cell.errno) if cell.errno is not None else "refused"), "refused"


def _hypervisors(run: Run) -> Iterator[str]:
    known = {hypervisor.file: hypervisor for hypervisor in run.hypervisors}
    own = [hypervisor for hypervisor in run.hypervisors if hypervisor.file not in run.columns]
    for number, column in enumerate(run.columns, 1):
        prefix = f"{number:>3}  " if len(run.columns) > 1 else "on "
        if column in known:
            yield prefix + _hypervisor(known[column])
        elif own:
            for hypervisor in own:
                yield prefix + _hypervisor(hypervisor)
        elif column == BY_ITSELF:
            yield "on none: there is no hypervisor that they were made for"
        else:
            yield f"{prefix}{for_terminal(column)}: cannot be read"


def _hypervisor(hypervisor: CheckedHypervisor) -> str:
    file = "the built-in model" if hypervisor.built_in else for_terminal(hypervisor.file)
    kind = ", assumed" if hypervisor.assumed else ""
    build_id = f", build-id {hypervisor.build_id}" if hypervisor.build_id is not None else ""
    memory = "" if hypervisor.memory is None else f", captured memory {for_terminal(hypervisor.memory)}"
    return f"{file}: Xen {hypervisor.release}{build_id}{kind}{memory}"


def _windows(run: Run) -> Iterator[str]:
    least = ", the least of all" if len(run.columns) > MOST_COLUMNS else ""
    shown = False
    for cell, window in _narrowest(run) if least else _measured(run):
        shown = True
        yield f"{for_terminal(cell.payload)} on {for_terminal(cell.hypervisor)} {_window(window)}{least}"
        yield from (f"  breaks first {for_terminal(edge)}" for edge in window.tightest)
    if shown:
        yield ""


def _measured(run: Run) -> Iterator[tuple[Cell, CellWindow]]:
    for line in run.journal:
        if line.cell.window is not None:
            yield line.cell, line.cell.window


def _narrowest(run: Run) -> Iterator[tuple[Cell, CellWindow]]:
    """Yield of each payload the cell with the least headroom."""
    narrowest: dict[str, tuple[Cell, CellWindow]] = {}
    for cell, window in _measured(run):
        known = narrowest.get(cell.payload)
        if known is None or _room(window) < _room(known[1]):
            narrowest[cell.payload] = cell, window
    yield from narrowest.values()


def _room(window: CellWindow) -> float:
    return -inf if window.headroom is None else window.headroom


def _cell(cell: Cell, columns: Sequence[str]) -> str:
    payload = for_terminal(cell.payload)
    return payload if len(columns) < 2 else f"{payload} on {for_terminal(cell.hypervisor)}"


def _window(window: CellWindow) -> str:
    if window.lowest is None or window.highest is None or window.headroom is None:
        return "fits at no address"
    covers = "all of its range" if window.covers_arena else "not all of its range"
    room = f"{size_text(window.headroom)} {'of headroom' if window.headroom >= 0 else 'outside'}"
    return f"fits from {window.lowest:#018x} to {window.highest:#018x}: {covers}, {room}"


def _policies(run: Run, paint: Paint) -> Iterator[str]:
    if all(line.cell.policies is None for line in run.journal):
        return
    seen: set[tuple[object, ...]] = set()
    heading = None
    yield paint(f"{'who would accept':56}{''.join(f'{name:7}' for name in POLICIES)}", "quiet")
    for line in run.journal:
        for row in line.cell.policies or ():
            key = (line.cell.payload, row.section, row.entry, row.accepted_by)
            if key in seen:
                continue
            seen.add(key)
            above, heading = heading, _cell(line.cell, run.columns)
            if heading != above:
                yield heading
            value = "" if row.value is None else f" = {row.value:#x}"
            what = f"  {for_terminal(row.section)}:{row.entry} {row.type} {for_terminal(row.symbol)}{value}"
            yield f"{what:55} " + "".join(f"{'yes' if name in row.accepted_by else 'no':7}" for name in POLICIES)
    if not seen:
        yield "all of them would accept every relocation"
    yield ""


def _findings(run: Run, verbosity: int, paint: Paint) -> Iterator[str]:
    groups = run.groups()
    new = [group for group in groups if verbosity > 0 or not group.judged.is_known]
    shown = new if verbosity > 0 else new[:SHOWN_GROUPS]
    heading = None
    for group in shown:
        above, heading = heading, _heading(group)
        if heading != above:
            yield heading
        yield from _group(group, run.columns, paint)
    if len(shown) < len(new):
        yield f"… and {len(new) - len(shown)} more findings; -v shows them all"
    if shown:
        yield ""


def _heading(group: Group) -> str:
    finding = group.judged.finding
    source = "" if finding.source_file is None else f" ({for_terminal(finding.source_file)}:{finding.source_line})"
    known = " [in the baseline]" if group.judged.is_known else ""
    return f"{for_terminal(group.payload)}{source}{known}"


def _group(group: Group, columns: Sequence[str], paint: Paint) -> Iterator[str]:
    yield from finding_lines([group.judged.finding], 1, paint)
    if len(columns) > 1:
        first = _on(group.hypervisors[:1], columns)
        told = f"; numbers as on {first}" if len(group.messages) > 1 else ""
        yield paint(f"      on {_on(group.hypervisors, columns)}{told}", "quiet")


def _on(hypervisors: Sequence[str], columns: Sequence[str]) -> str:
    if len(hypervisors) == len(columns):
        return "all hypervisors"
    numbers = [str(columns.index(name) + 1) if name in columns else for_terminal(name) for name in hypervisors]
    more = f" and {len(numbers) - SHOWN_ON} more" if len(numbers) > SHOWN_ON else ""
    return ", ".join(numbers[:SHOWN_ON]) + more


def _summary(run: Run, paint: Paint) -> str:
    words = {"accepted": "accepted", "refused": "refused", "crash": "would crash Xen", "unreadable": "not checked"}
    verdicts = ", ".join(f"{run.verdicts[key]} {word}" for key, word in words.items() if run.verdicts[key])
    found = ", ".join(
        f"{run.findings[severity]} {severity}{'' if run.findings[severity] == 1 else 's'}"
        for severity in ("error", "warning", "note")
        if run.findings[severity]
    )
    known = f"; {run.known} known from the baseline" if run.known else ""
    role = "refused" if run.failing or not run.has_checked_anything else "accepted"
    cells = f"{run.cells} cell{'' if run.cells == 1 else 's'}"
    return paint(f"{cells}: {verdicts or 'nothing to check'}; {found or 'nothing found'}{known}", role)
