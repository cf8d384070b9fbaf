"""Functions that were run, as text: what came of it, and the way there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.report.escaping import for_terminal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from xsplice_loader.emulation import PathStep, Run, Write
    from xsplice_loader.report.paint import Paint

SHOWN_STEPS = 20
"""Functions on the way that are shown without -v."""
SHOWN_WRITES = 10
"""Places written to that are shown without -v."""
SHOWN_BYTES = 16
WORDS = {"returned": "returned", "stopped": "cannot be followed", "crash": "would kill the machine"}


def run_lines(runs: Iterable[tuple[str, Run]], *, verbosity: int, paint: Paint) -> Iterator[str]:
    """Yield the lines of some runs, each with the time at which it was made."""
    for when, run in runs:
        yield f"{for_terminal(run.function)} {when}: {_outcome(run, paint)}"
        if verbosity >= 0:
            yield from _way(run, paint, everything=verbosity > 0)
            yield from _writes(run.writes, paint, everything=verbosity > 0)
            yield from (f"  (XEN) {for_terminal(line)}" for line in run.console)


def _outcome(run: Run, paint: Paint) -> str:
    if run.outcome != "returned" or run.value is None:
        return f"{paint(WORDS[run.outcome], 'refused')}: {for_terminal(run.reason or '')}"
    text = f", {paint(for_terminal(repr(run.text)), 'strong')}" if run.text is not None else ""
    return f"{paint('returned', 'accepted')} {run.value:#x}{text}, after {run.instructions} instructions"


def _way(run: Run, paint: Paint, *, everything: bool) -> Iterator[str]:
    shown = run.path if everything else run.path[:SHOWN_STEPS]
    for step in shown:
        yield f"  {'  ' * min(step.depth, 20)}{_step(step, paint)}"
    left_off = len(run.path) - len(shown) + run.path_left_off
    if left_off:
        yield f"  … and {left_off} more functions"


def _step(step: PathStep, paint: Paint) -> str:
    name = for_terminal(step.symbol) if step.symbol is not None else f"{step.address:#018x}"
    whose = f" of {for_terminal(step.payload)}" if step.payload is not None else ""
    how = "through the trampoline to " if step.via == "trampoline" else ""
    return f"{paint(how, 'strong')}{name}{whose}"


def _writes(writes: tuple[Write, ...], paint: Paint, *, everything: bool) -> Iterator[str]:
    shown = writes if everything else writes[:SHOWN_WRITES]
    for write in shown:
        where = for_terminal(write.symbol) if write.symbol is not None else f"{write.address:#018x}"
        before = "not known" if write.before is None else write.before[:SHOWN_BYTES].hex(" ")
        yield f"  wrote {where}: {paint(before, 'quiet')} -> {write.after[:SHOWN_BYTES].hex(' ')}"
    if len(shown) < len(writes):
        yield f"  … and {len(writes) - len(shown)} more places"
