"""The report on rules, and its table of reasons."""

from __future__ import annotations

import pytest
from records import recorded_hypervisor

from real_xen.coverage import REASONS, RECORDS, has, recorded
from xsplice_loader.rules import RULES
from xsplice_loader.rules.applicability import ONLY_WHERE


def test_reasons_are_for_rules_that_there_are() -> None:
    assert REASONS.keys() <= RULES.keys()
    assert ONLY_WHERE.keys() <= RULES.keys()


@pytest.mark.parametrize("release", RECORDS)
def test_what_was_seen_is_in_the_release_and_has_no_excuse(release: str) -> None:
    rules = recorded_hypervisor(RECORDS[release][0]).release
    seen = recorded(release)
    assert [rule for rule in seen if not has(rules, RULES[rule])] == []
    assert [rule for rule in seen if release == "4.17" and rule in REASONS] == []
