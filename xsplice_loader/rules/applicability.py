"""Which releases have a rule, and in which order they test."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple, get_args

from xsplice_loader.releases import NEWEST_BRANCH, Release, release, turning_points
from xsplice_loader.rules.rule import Stage

if TYPE_CHECKING:
    from collections.abc import Callable

    from xsplice_loader.releases import Version
    from xsplice_loader.rules.rule import Rule

ONLY_WHERE: dict[str, Callable[[Release], bool]] = {
    **dict.fromkeys(("XSP050", "XSP051", "XSP052", "XSP053"), lambda release: release.xen_build_id_check == "early"),
    **dict.fromkeys(("XSP160", "XSP161", "XSP162"), lambda release: release.xen_build_id_check == "late"),
    **dict.fromkeys(("XSP144", "XSP154", "XSP189"), lambda release: release.passes_note_errors),
    **dict.fromkeys(("XSP143", "XSP151"), lambda release: not release.passes_note_errors),
    "XSP091": lambda release: not release.refuses_ignored_symbols,
    "XSP090": lambda release: not release.checks_symbol_zero,
    "XSP150": lambda release: not release.empty_exception_table,
    "XSP187": lambda release: not release.alternatives_return_errors,
    "XSP213": lambda release: release.reapply_rule != "always",
    "XSP245": lambda release: release.marks_applied,
}
"""The releases that have a rule, where that takes more than a switch that is on."""


def applies(rule: Rule, release: Release) -> bool:
    """Tell whether a release has a rule."""
    if rule.id in ONLY_WHERE:
        return ONLY_WHERE[rule.id](release)
    return rule.switch is None or bool(getattr(release, rule.switch))


def stages_of(release: Release) -> list[Stage]:
    """Return the steps of a load in a release's order; releases differ in when they compare build-ids, if at all."""
    stages: list[Stage] = list(get_args(Stage))
    if release.xen_build_id_check != "early":
        stages.remove("build-id")
    if release.xen_build_id_check == "late":
        stages.insert(stages.index("prepare") + 1, "build-id")
    return stages


class Span(NamedTuple):
    """Point releases of one branch, `first` and `last` included; no `last`: to its end."""

    branch: tuple[int, int]
    first: int
    last: int | None

    @property
    def is_whole(self) -> bool:
        """Whether all of the branch is meant."""
        return self.first == 0 and self.last is None

    def __str__(self) -> str:
        name = f"{self.branch[0]}.{self.branch[1]}"
        if self.is_whole:
            return name
        if self.last is None:
            return f"{name} from {name}.{self.first} on"
        return f"{name}.{self.first}" + (f" to {name}.{self.last}" if self.last > self.first else "")


def spans(holds: Callable[[Release], bool]) -> list[Span]:
    """Return the releases for which something holds, branch by branch. Rules change at turning points only."""
    found: list[Span] = []
    for branch, points in groupby(turning_points(), key=lambda version: version[:2]):
        known: list[Version] = list(points)
        ends: list[int | None] = [version[2] - 1 for version in known[1:]]
        for version, last in zip(known, [*ends, None], strict=True):
            if holds(release(".".join(map(str, version)))):
                if found and found[-1].branch == branch and found[-1].last == version[2] - 1:
                    found[-1] = found[-1]._replace(last=last)
                else:
                    found.append(Span(branch, version[2], last))
    return found


def spans_text(found: list[Span]) -> str:
    """Return releases as a person would list them: `4.8 to 4.13, 4.14.0 to 4.14.4, 4.17 and later`."""
    parts: list[str] = []
    whole: list[Span] = []

    def close() -> None:
        if whole:
            first, last = whole[0], whole[-1]
            if last.branch == NEWEST_BRANCH:
                parts.append(f"{first} and later")
            else:
                parts.append(str(first) if first is last else f"{first} to {last}")
            whole.clear()

    for span in found:
        if span.is_whole and (not whole or whole[-1].branch[1] + 1 == span.branch[1]):
            whole.append(span)
            continue
        close()
        if span.is_whole:
            whole.append(span)
        else:
            parts.append(str(span))
    close()
    return ", ".join(parts) or "none"
