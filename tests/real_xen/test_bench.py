"""What the program takes from the file alone is compared with what was captured."""

from __future__ import annotations

import pytest
from records import recorded_hypervisor

from real_xen.bench import read, wrong_constants
from real_xen.core_file import PAGE, Run, core_file, runs_of
from real_xen.problem import HarnessError

HYPERVISOR = recorded_hypervisor("4.17.7")
START = HYPERVISOR.image_start
RUNS = (Run(START, b"\x11" * 3 * PAGE), Run(START + 4 * PAGE, b"\x22" * PAGE))


def test_a_core_file_is_read_back() -> None:
    assert runs_of(core_file(RUNS, b"\x01" * 20)) == RUNS


def test_bytes_are_read_from_the_run_that_has_them() -> None:
    assert read(RUNS, START + 3 * PAGE - 2, 2) == b"\x11\x11"
    assert read(RUNS, START + 4 * PAGE, 1) == b"\x22"


@pytest.mark.parametrize("offset", [3 * PAGE - 1, 3 * PAGE, 5 * PAGE - 1, 5 * PAGE])
def test_bytes_that_are_not_mapped_are_not_read(offset: int) -> None:
    with pytest.raises(HarnessError, match="is not mapped in the running hypervisor"):
        read(RUNS, START + offset, 2)


def test_a_constant_that_is_not_as_in_the_file_is_found() -> None:
    address = HYPERVISOR.symbols.address_of(b"strlen") or 0
    known = HYPERVISOR.at_run_time.read(address, 16)
    assert known is not None
    assert wrong_constants(HYPERVISOR, [Run(address, known)]) == []
    changed = known[:5] + bytes([known[5] ^ 1]) + known[6:]
    assert wrong_constants(HYPERVISOR, [Run(address, changed)]) == [address + 5]


def test_a_variable_may_be_anything() -> None:
    address = HYPERVISOR.symbols.address_of(b"genapic") or 0
    assert HYPERVISOR.at_run_time.read(address, 8) is None
    assert wrong_constants(HYPERVISOR, [Run(address, b"\x55" * 8)]) == []
