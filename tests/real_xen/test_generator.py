"""Generated payloads and scripts: the same for the same seed, of many kinds, and good to make smaller."""

from __future__ import annotations

from collections import Counter

from records import recorded_hypervisor

from real_xen.foretelling import foretell
from real_xen.generator import SCRIPT_EVERY, Generator

HYPERVISOR = recorded_hypervisor("4.17.7")
BUILD_ID = HYPERVISOR.build_id or b""


def test_a_seed_always_gives_the_same() -> None:
    assert [Generator(HYPERVISOR, 7).plot(number) for number in range(12)] == [
        Generator(HYPERVISOR, 7).plot(number) for number in range(12)
    ]
    assert Generator(HYPERVISOR, 7).plot(0) != Generator(HYPERVISOR, 8).plot(0)


def test_every_sixth_is_a_script() -> None:
    kinds = [Generator(HYPERVISOR, 1).plot(number).case(BUILD_ID).kind for number in range(2 * SCRIPT_EVERY)]
    assert kinds == [*["payload"] * 5, "script"] * 2


def test_many_are_accepted_and_many_are_refused() -> None:
    generator = Generator(HYPERVISOR, 1)
    cases = [generator.plot(number).case(BUILD_ID) for number in range(120) if number % SCRIPT_EVERY < 5]
    first = [next(foretell(case, HYPERVISOR, ())).step for case in cases]
    outcomes = Counter("crash" if step.crash else step.errno for step in first)
    assert outcomes[None] >= 20
    assert sum(outcomes.values()) - outcomes[None] >= 20
    assert len(outcomes) >= 4


def test_what_is_smaller_has_one_part_less() -> None:
    plot = Generator(HYPERVISOR, 1).plot(SCRIPT_EVERY - 1)
    size = len(plot.commands) + len(plot.recipes) + sum(len(r.blocks) + len(r.damages) for r in plot.recipes)
    assert [
        len(less.commands) + len(less.recipes) + sum(len(r.blocks) + len(r.damages) for r in less.recipes)
        for less in plot._replace(recipes=plot.recipes[:1]).smaller()
    ]
    assert all(less.commands and less.recipes for less in plot.smaller())
    assert size > 3
