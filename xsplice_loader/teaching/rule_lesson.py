"""A rule of the catalogue: what it protects, who has it, and an example that is made and run while it is told."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from xsplice_loader.releases import SWITCHES
from xsplice_loader.results import LIVEPATCH
from xsplice_loader.rules.applicability import applies, spans, spans_text
from xsplice_loader.rules.errnos import ERRNOS, errno_text
from xsplice_loader.teaching.blocks import Block, Found, Heading, Items, Listing, Paragraph, Table
from xsplice_loader.teaching.examples import EXAMPLES, WITHOUT, EmulatorNeededError, try_out
from xsplice_loader.teaching.outcomes import action_text, upload_outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xsplice_loader.rules import Rule
    from xsplice_loader.teaching.examples import Recipe, Trial

MODEL_RELEASE = "4.17.7"
"""Whose rules the built-in model has if nobody asks for others."""
_HYPERVISORS = {
    "model": None,
    "no build-id": "against the model, as if it had been linked without a build-id",
    "symbol list": "against the model, of which only a list of symbols is at hand",
    "unknown": "against a hypervisor that is not at hand",
}
LONGEST_NAME = 40
_FORMAT = re.compile(r"\{(\w+):[^}]*\}")
"""How a number is to be written, which a reader of the line need not know."""


def rule_lesson(rule: Rule) -> Iterator[Block]:
    """Yield what there is to say about a rule."""
    yield Heading(f"{rule.id}: {rule.title}")
    yield Paragraph(rule.lesson)
    yield Table(("", ""), tuple(_facts(rule)))
    if rule.words is not None:
        yield Paragraph("Xen logs, with the names and numbers of the case:")
        yield Listing(_log_lines(rule))
    yield from _changes(rule)
    if rule in WITHOUT:
        yield Heading("No example")
        yield Paragraph(f"No payload can break this rule: {WITHOUT[rule]}.")
    else:
        yield from _example(rule, EXAMPLES[rule])


def _facts(rule: Rule) -> Iterator[tuple[str, str]]:
    yield "what breaks it is", _consequence(rule)
    if rule.stage is not None:
        yield "tested at step", rule.stage
    yield "in releases", spans_text(spans(lambda release: applies(rule, release)))
    yield "source", rule.source


def _consequence(rule: Rule) -> str:
    if rule.crash:
        return "an end: Xen does not survive it"
    if rule.severity != "error":
        return f"a {rule.severity}: it decides nothing"
    if rule.errno is None:
        return "an error"
    return f"refused with {rule.errno} ({ERRNOS[rule.errno]}), {errno_text(ERRNOS[rule.errno])}"


def _log_lines(rule: Rule) -> tuple[str, ...]:
    lines = (rule.words or "").split("\n")
    lines[rule.named_line] = f"{LIVEPATCH}NAME{rule.after_name}{lines[rule.named_line]}"
    return tuple(_FORMAT.sub(r"{\1}", line) for line in lines)


def _changes(rule: Rule) -> Iterator[Block]:
    """Tell what changed a rule, for those that not all releases have alike."""
    if rule.switch is None:
        return
    _, *steps = SWITCHES[rule.switch]
    yield Paragraph("It hangs on what came with these changes, each at the first release of every branch that has it:")
    yield Items(
        tuple(
            f"{change.content}: {', '.join('.'.join(map(str, version)) for version in change.first)}"
            for change, _ in steps
        )
    )


def _example(rule: Rule, recipe: Recipe) -> Iterator[Block]:
    yield Heading("An example, made and run just now")
    yield Paragraph(recipe.shows)
    yield Listing(tuple(recipe.source.strip("\n").splitlines()))
    yield from _how(recipe)
    try:
        trial = try_out(recipe)
    except EmulatorNeededError as error:
        yield Paragraph(str(error))
        return
    yield from upload_outcome(trial.upload)
    if trial.actions:
        yield Table(("action", "came to"), tuple((line, action_text(result)) for line, result in trial.actions))
        yield Listing(
            tuple(
                f"(XEN) {'(a line that depends on what is unknown)' if line is None else line}"
                for line in trial.actions[-1][1].log
            )
        )
    yield Found(tuple(finding for finding in trial.findings if finding.rule == rule.id)[:3])
    yield from _others(rule, trial)


def _how(recipe: Recipe) -> Iterator[Block]:
    below = "".join(f" {name}.livepatch" for name, _ in recipe.below)
    name = recipe.name if len(recipe.name) <= LONGEST_NAME else f"{recipe.name[:8]}…"
    command = "xsplice-check" if recipe.any_placement or recipe.policy != "xen" else "xsplice-load"
    options = "".join(
        f" {option} {shlex.quote(value)}"
        for option, value, is_given in (
            ("--release", recipe.release, recipe.release != MODEL_RELEASE),
            ("--vmap", recipe.vmap, recipe.vmap != "xen"),
            ("--place", f"{recipe.place or 0:#x}", recipe.place is not None),
            ("--arena", "-".join(f"{end:#x}" for end in recipe.arena or ()), recipe.arena is not None),
            ("--policy", recipe.policy, recipe.policy != "xen"),
        )
        if is_given
    )
    flags = " --any-placement" * recipe.any_placement + " --run-hooks" * recipe.runs_hooks
    yield Listing((f"$ {command}{options}{flags}{below} {name}.livepatch",))
    special = _HYPERVISORS[recipe.hypervisor]
    if special is not None:
        yield Paragraph(f"It is loaded {special}.")


def _others(rule: Rule, trial: Trial) -> Iterator[Block]:
    others = sorted({finding.rule for finding in trial.findings} - {rule.id})
    if others:
        yield Paragraph(f"Found beside it: {', '.join(others)}.")
