"""The cases beside this file, on the real hypervisor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from real_xen.case import SCRIPT_SUFFIX, cases_of

if TYPE_CHECKING:
    from real_xen.bench import Bench

CASES = Path(__file__).parent / "cases"


@pytest.mark.parametrize("path", sorted(CASES.iterdir()), ids=lambda path: path.name)
def test_the_program_foretells_all_of_it(bench: Bench, path: Path) -> None:
    (case,) = cases_of([path], bench.build_id)
    trial = bench.attempt(case)
    assert not trial.comparison.differences
    assert trial.comparison.fields


def test_a_wrong_forecast_is_noticed(bench: Bench) -> None:
    (case,) = cases_of([CASES / f"stack{SCRIPT_SUFFIX}"], bench.build_id)
    foretold = bench.foretell(case)
    observed = bench.observe(case, foretold)
    (name, image), *_ = observed[0].images.items()
    spoilt = image._replace(contents=bytes([image.contents[0] ^ 1]) + image.contents[1:])
    wrong = (observed[0]._replace(images={name: spoilt}), *observed[1:])
    (difference,) = bench.comparer.compare(foretold, wrong).differences
    assert difference.field == f"memory of {name}"
