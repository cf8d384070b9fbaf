"""The table of releases and the log lines of rules, compared with the sources of all 93 release tags."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from functools import cache
from typing import Any

import pytest
from records import DATA

from xsplice_loader.releases import release
from xsplice_loader.results import LIVEPATCH
from xsplice_loader.rules import RULES, Rule
from xsplice_loader.rules.applicability import applies

_DATA: dict[str, Any] = json.loads((DATA / "release-facts.json").read_text())
TAGS = [f"{branch}.{point}" for branch, count in _DATA["tags"].items() for point in range(count)]
FIRST_WITH_MESSAGES = TAGS.index("4.13.0")
"""Before, the reasons of refusals are printed in debug builds only."""
SWITCHES: dict[str, tuple[str, dict[Any, Any]]] = {
    # switch: name of the fact, and what its values are called here where it is not the same
    "alternatives_feature_words": ("ncapints", {}),
    "alternatives_entry_size": ("altinstr_size", {}),
    "prints_errors": ("errors_are_printk", {}),
    "text_active_from_load": ("region_registered_at", {"apply": False, "upload": True}),
    "alternatives_make_calls_direct": ("alternatives_make_calls_direct", {}),
    "has_alternative_calls": ("alt_call_sites", {}),
    "alternatives_know_absence": ("alternatives_know_absence", {}),
    "alternatives_return_errors": ("alternatives_fail_with_errno", {}),
    "moves_return_thunks": ("alternatives_move_return_thunks", {}),
    "built_for_ibt": ("ibt_default_config", {}),
    "bug_instruction": ("bug_instruction", {"0f0b": b"\x0f\x0b", "d6": b"\xd6"}),
}
_OLD_ROUTINES = ("common_livepatch_apply", "common_livepatch_revert")
_NEW_ROUTINES = ("apply_payload", "revert_payload")
MESSAGE_SWITCHES: dict[str, dict[str, Any]] = {
    # message: what switches must be for a release to have it
    "Alternatives provided, but no .text": {"checks_alternatives_bounds": True},
    "altcall %ps dest %ps has no endbr64": {"direct_calls_skip_endbr64": True, "altcall_word": "altcall"},
    "Altcall %ps dest %ps has no endbr64": {"direct_calls_skip_endbr64": True, "altcall_word": "Altcall"},
    "depend-on-xen=": {"shows_xen_depends": True},
    "Relocation against ignored symbol": {"refuses_ignored_symbols": True},
    "livepatch: common_livepatch_apply: ": {"marks_applied": True, "skipping_routines": _OLD_ROUTINES},
    "livepatch: apply_payload: ": {"marks_applied": True, "skipping_routines": _NEW_ROUTINES},
    "failed to parse section": {"xen_build_id_check": "early"},
    "check against hypervisor build-id failed": {"xen_build_id_check": "late"},
    "Verifying enabled expectations": {"has_expectations": True},
    "with inconsistent applied state": {"marks_applied": True},
    "module metadata": {"has_metadata": True},
    "feature %#x outside of featureset range": {"alternatives_return_errors": True},
}


def values_of(fact: str) -> dict[str, Any]:
    """Return a fact's value in every tag; it is recorded where it changes."""
    changes = dict(_DATA["facts"][fact])
    values, value = {}, None
    for tag in TAGS:
        value = changes.get(tag, value)
        values[tag] = value
    return values


def tags_in(spans: str) -> set[str]:
    """Return the tags of some spans in version order; `master` is after all tags."""
    tags: set[str] = set()
    for span in spans.split(", "):
        first, _, last = span.partition("..")
        end = len(TAGS) if last == "master" else TAGS.index(last or first) + 1
        tags.update(TAGS[TAGS.index(first) : end])
    return tags


MESSAGES = [(text, tags_in(spans)) for text, spans in _DATA["messages"]]


def test_there_are_93_release_tags() -> None:
    assert len(TAGS) == 93


@pytest.mark.parametrize("switch", SWITCHES)
def test_switches(switch: str) -> None:
    fact, names = SWITCHES[switch]
    expected = {tag: names.get(value, value) for tag, value in values_of(fact).items()}
    assert {tag: getattr(release(tag), switch) for tag in TAGS} == expected


@pytest.mark.parametrize("part", MESSAGE_SWITCHES)
def test_switches_that_show_in_a_message(part: str) -> None:
    (tags,) = [tags for text, tags in MESSAGES if part in text]
    switches = MESSAGE_SWITCHES[part].items()
    assert {tag for tag in TAGS if all(getattr(release(tag), name) == value for name, value in switches)} == tags


@cache
def _pattern(message: str) -> re.Pattern[str]:
    parts = re.split(r"%(?:#?\{\w+\}|\*?6?phN?|ps|pd|p|#?z?x|zu|lu|[sudc])", message)
    return re.compile(r"\S+".join(map(re.escape, parts)))


def _is_printed(line: str, tag: str) -> bool:
    return any(tag in tags and _pattern(message).fullmatch(line) for message, tags in MESSAGES)


_WORDS: dict[str, int | str] = defaultdict(lambda: 1, hook="pre-apply")
"""Placeholders for the parts of a line that differ; hooks have two names."""
WITH_WORDS = [rule for rule in RULES.values() if rule.words is not None]


@pytest.mark.parametrize("rule", WITH_WORDS, ids=lambda rule: rule.id)
def test_a_rule_logs_what_the_sources_have(rule: Rule) -> None:
    assert rule.words is not None
    lines = rule.words.format_map(_WORDS).split("\n")
    lines[rule.named_line] = f"{LIVEPATCH}name{rule.after_name}{lines[rule.named_line]}"
    tags = [tag for tag in TAGS[FIRST_WITH_MESSAGES:] if applies(rule, release(tag))]
    assert tags
    strange = [
        tag for tag in tags if not (_is_printed("\n".join(lines), tag) or all(_is_printed(line, tag) for line in lines))
    ]
    assert not strange


def test_a_line_that_no_release_has_is_not_taken_for_one() -> None:
    assert not _is_printed("livepatch: name: Unknown symbols: x", "4.17.7")
    assert not _is_printed("livepatch: name: section .livepatch.depends is missing", "4.17.7")
    assert _is_printed("livepatch: name: section .livepatch.depends is missing", "4.18.4")
