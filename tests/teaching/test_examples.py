"""Every rule has its lesson, and an example that breaks it or a reason why there is none."""

from __future__ import annotations

import pytest
from command_line import explain, explained

from xsplice_loader.releases import release, turning_points
from xsplice_loader.rules import RULES, Rule
from xsplice_loader.rules.applicability import applies, spans, spans_text
from xsplice_loader.rules.errnos import ERRNOS
from xsplice_loader.teaching.examples import EXAMPLES, WITHOUT, Recipe, try_out


def test_each_rule_has_an_example_or_a_reason() -> None:
    assert {*EXAMPLES} | {*WITHOUT} == {*RULES.values()}
    assert {*EXAMPLES} & {*WITHOUT} == set()
    assert all(reason.strip() for reason in WITHOUT.values())


@pytest.mark.parametrize(("rule", "recipe"), EXAMPLES.items(), ids=lambda value: getattr(value, "id", ""))
def test_the_example_breaks_the_rule(rule: Rule, recipe: Recipe) -> None:
    trial = try_out(recipe)
    found = [finding for finding in trial.findings if finding.rule == rule.id]
    assert found, [finding.rule for finding in trial.findings]
    assert {finding.severity for finding in found} == {rule.severity}
    assert applies(rule, release(recipe.release))
    deciding = next((finding for finding in trial.upload.findings if finding.severity == "error"), None)
    if rule.severity == "error" and not recipe.actions and not trial.checked:
        # It is not only found, it is what Xen would stop at.
        assert deciding is not None
        assert deciding.rule == trial.upload.rule == rule.id
        assert trial.upload.verdict == ("crash" if rule.crash else "refused")
        if rule.errno is not None:
            assert trial.upload.errno == ERRNOS[rule.errno]
    if recipe.actions:
        assert trial.upload.accepted
        assert not trial.actions[-1][1].succeeded or rule.severity != "error"


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.id)
def test_the_lesson(rule: Rule) -> None:
    result = explain(rule.id)
    assert result.exit_code == 0
    told = " ".join(result.stdout.split())
    assert told.startswith(f"{rule.id}: {rule.title}")
    assert rule.lesson in told
    assert rule.source in told
    if rule in WITHOUT:
        assert WITHOUT[rule] in told
    else:
        assert "made and run just now" in told
        assert EXAMPLES[rule].shows in told
        (entry,) = explained(rule.id)
        (found,) = (block for block in entry["told"] if block["block"] == "found")
        assert {finding["rule"] for finding in found["findings"]} == {rule.id}


def test_releases_are_named_as_the_switches_have_them() -> None:
    """`spec/06 §1`: SET-A came with 4.14.5, 4.15.3, 4.16.1 and 4.17.0; `spec/02 §1` says what it ended."""
    texts = {
        "XSP086": "4.14 from 4.14.5 on, 4.15 from 4.15.3 on, 4.16 from 4.16.1 on, 4.17 and later",
        "XSP091": "4.7 to 4.13, 4.14.0 to 4.14.4, 4.15.0 to 4.15.2, 4.16.0",
        "XSP089": "4.7 and later",
        "XSP195": "4.21 and later",
        "XSP150": "4.7 to 4.9",
        "XSP084": "4.7 from 4.7.4 on, 4.8 from 4.8.2 on, 4.9 from 4.9.1 on, 4.10 and later",
    }
    for name, text in texts.items():
        rule = RULES[name]
        assert spans_text(spans(lambda found, rule=rule: applies(rule, found))) == text  # type: ignore[misc]
    assert spans_text(spans(lambda _: False)) == "none"


def test_spans_hold_what_they_say() -> None:
    """For every rule and every point release up to 4.22.9: it is within a span if and only if the release has it."""
    for rule in RULES.values():
        found = spans(lambda of, rule=rule: applies(rule, of))  # type: ignore[misc]
        for branch in range(7, 23):
            for point in range(10):
                inside = any(
                    span.branch == (4, branch) and span.first <= point and (span.last is None or point <= span.last)
                    for span in found
                )
                assert inside is applies(rule, release(f"4.{branch}.{point}")), (rule.id, branch, point)


def test_turning_points_begin_every_branch() -> None:
    points = turning_points()
    assert list(points) == sorted(points)
    assert {(4, minor, 0) for minor in range(7, 23)} <= {*points}
    assert (4, 14, 5) in points
