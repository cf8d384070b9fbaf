"""Generated payloads and scripts against the real hypervisor; what disagrees is made small and kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.forge import ForgeError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from real_xen.bench import Bench, Trial
    from real_xen.recipe import Plot

SHRINKING = 200
"""Trials at most for one disagreement."""


def shrunk(plot: Plot, disagreement: Trial, bench: Bench, progress: Callable[[str], None]) -> tuple[Plot, Trial]:
    """Return the smallest plot found that disagrees in the same field, and its trial."""
    wanted = _sort_of(disagreement)
    trials = 0
    while True:
        for less in plot.smaller():
            if trials == SHRINKING:
                return plot, disagreement
            try:
                case = less.case(bench.build_id)
            except ForgeError:
                continue
            trials += 1
            progress(f"making {plot.name} smaller, trial {trials}")
            trial = bench.attempt(case)
            if _sort_of(trial) == wanted:
                plot, disagreement = less, trial
                break
        else:
            return plot, disagreement


def _sort_of(trial: Trial) -> str | None:
    """Return what disagrees first: `memory`, `log`, …, whatever it is called after."""
    differences = trial.comparison.differences
    return differences[0].field.split(" ", 1)[0] if differences else None


def keep(plot: Plot, trial: Trial, folder: Path) -> Path:
    """Write a plot's sources, payloads and script, with what disagrees; return where."""
    target = folder / plot.name
    target.mkdir(parents=True, exist_ok=True)
    for recipe in plot.recipes:
        (target / f"{recipe.name if plot.commands else plot.name}.s").write_text(recipe.source, encoding="utf-8")
    for path, data in trial.case.files.items():
        (target / path).write_bytes(data)
    # The life of a payload is kept as a script too: its name may be part of what disagrees.
    lines = plot.script or "".join(f"{command.line}\n" for command in trial.case.commands)
    (target / f"{plot.name}.script").write_text(lines, encoding="utf-8")
    text = "".join(f"{difference}\n" for difference in trial.comparison.differences)
    (target / "differences.txt").write_text(text, encoding="utf-8")
    return target
