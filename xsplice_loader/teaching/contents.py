"""What there is to learn."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from xsplice_loader.rules import RULES, actions, checking, upload
from xsplice_loader.teaching.blocks import Block, Heading, Paragraph, Table
from xsplice_loader.teaching.topics import TOPICS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xsplice_loader.rules import Rule

_OF_NO_STEP = {
    **dict.fromkeys(upload.ALL, "before a byte of the file is looked at"),
    **dict.fromkeys(actions.ALL, "after the upload"),
    **dict.fromkeys(checking.ALL, "xsplice-check"),
}


def contents() -> Iterator[Block]:
    """Yield the list of lessons, and of rules by the step that they belong to."""
    yield Heading("What there is to learn")
    yield Paragraph(
        "xsplice-explain TOPIC tells one of these; each runs the loader while it talks. xsplice-explain RULE tells "
        "what a rule is for, and breaks it. xsplice-explain PAYLOAD walks through a load."
    )
    yield Table(("topic", "what it tells"), tuple((name, topic.title) for name, topic in TOPICS.items()), whole=True)
    yield Heading("Rules, by the step of the load that tests them")
    for step, rules in groupby(_in_order(), key=_step):
        found = tuple(rules)
        yield Heading(step)
        yield Table(("rule", "holds when"), tuple((rule.id, rule.title) for rule in found), whole=True)


def _in_order() -> list[Rule]:
    steps = list(dict.fromkeys(map(_step, RULES.values())))
    return sorted(RULES.values(), key=lambda rule: steps.index(_step(rule)))


def _step(rule: Rule) -> str:
    if rule.stage is not None:
        return rule.stage
    return _OF_NO_STEP.get(rule, "noted by this program: Xen does not test it")
