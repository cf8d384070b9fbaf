"""Commands of `xen-livepatch` as text: what one would see on a host's terminal and on its console."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.report.escaping import for_terminal
from xsplice_loader.report.findings import finding_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from xsplice_loader.report.paint import Paint
    from xsplice_loader.results import PatchedBytes, Step

CONSOLE = "(XEN) "
COMMANDS = ("xen-livepatch", "xl")
"""What a line of a script may begin with; where it does not, it is the first."""
SHOWN = 16
"""Bytes that are shown of a patched function."""


def step_lines(steps: Iterable[Step], *, of_uploads: bool, verbosity: int, paint: Paint) -> Iterator[str]:
    """Yield the lines of some commands. `verbosity`: -1 the tool's words only, 0 ordinary, 1 also patched bytes.

    `of_uploads`: also what was found at uploads, which nothing else shows.
    """
    patched: tuple[PatchedBytes, ...] = ()
    for step in steps:
        first = step.command.split(maxsplit=1)[:1]
        typed = step.command if first and first[0] in COMMANDS else f"{COMMANDS[0]} {step.command}"
        yield paint(f"$ {for_terminal(typed)}", "strong")
        yield from (for_terminal(line) for line in step.out)
        yield from (paint(for_terminal(line), "refused") for line in step.err)
        if step.crash is not None:
            yield paint(f"the machine would die [{step.crash}]", "refused")
        if step.unknown is not None:
            yield paint(f"unknown outcome: {for_terminal(step.unknown)}", "refused")
            yield paint("what follows depends on it and is not run", "refused")
        if verbosity >= 0:
            yield from (f"  {CONSOLE}{_shown(line)}" for line in step.log)
            yield from _changes(patched, step.patched, paint, everything=verbosity > 0)
            if of_uploads or first != ["upload"]:
                yield from finding_lines(step.findings, verbosity, paint)
        patched = step.patched


def _shown(line: str | None) -> str:
    return "(a line that depends on what is unknown)" if line is None else for_terminal(line)


def _changes(
    before: tuple[PatchedBytes, ...], after: tuple[PatchedBytes, ...], paint: Paint, *, everything: bool
) -> Iterator[str]:
    """Show the functions whose bytes a command changed."""
    for function in after:
        if everything or function not in before:
            pairs = [function.hex[place : place + 2] for place in range(0, min(2 * SHOWN, len(function.hex)), 2)]
            shown = " ".join(pairs) if set(pairs) - {"??"} else "unknown"
            yield f"  {function.address:#018x}  {paint(shown, 'quiet')}"
