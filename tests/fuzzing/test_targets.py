"""Every target of the fuzzer takes its seeds, and each of them with some bytes changed."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzzing.targets import TARGETS
from hypothesis import given, settings
from hypothesis import strategies as st

FOUND = Path(__file__).parent / "found"
"""Inputs that the fuzzer failed on, named TARGET--WHAT."""


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_are_within_limits_and_read(name: str) -> None:
    target = TARGETS[name]
    seeds = list(target.seeds())
    assert seeds
    for seed in seeds:
        assert len(seed) <= target.largest
        target.run(seed)


@pytest.mark.parametrize("path", sorted(FOUND.iterdir()), ids=lambda path: path.name)
def test_what_was_found_stays_mended(path: Path) -> None:
    TARGETS[path.name.partition("--")[0]].run(path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=20)
@given(data=st.data())
def test_changed_seeds_are_survived(name: str, data: st.DataObject) -> None:
    target = TARGETS[name]
    seed = bytearray(data.draw(st.sampled_from(list(target.seeds()))))
    for place in data.draw(st.lists(st.integers(0, len(seed) - 1), min_size=1, max_size=4)):
        seed[place] = data.draw(st.integers(0, 255))
    target.run(bytes(seed[: data.draw(st.integers(0, len(seed)))]))
