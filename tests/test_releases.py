"""Releases as data: the switch table of spec/06 §2, column by column."""

from __future__ import annotations

import pytest

from xsplice_loader.releases import ENDBR64, ENDBR64_POISON, NewerReleaseError, UnknownReleaseError, release

TABLE: dict[str, list[object]] = {
    # columns of spec/06 §2
    "releases": [
        "4.7.0",
        "4.8.0",
        "4.11.0",
        "4.13.0",
        "4.14.0",
        "4.14.5",
        "4.17.0",
        "4.17.4",
        "4.18.0",
        "4.19.0",
        "4.19.1",
        "4.20.0",
        "4.21.0",
    ],
    "function_version": [1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2],
    "function_entry_size": [64, 64, 64, 64, 104, 104, 104, 104, 104, 104, 104, 104, 104],
    "ignores_empty_sections": [False, True, True, True, True, *[False] * 8],
    "refuses_ignored_symbols": [*[False] * 5, *[True] * 8],
    "checks_alignment": [False, False, *[True] * 11],
    "limits_nobits": [False, *[True] * 12],
    "xen_build_id_check": [*["none"] * 4, *["late"] * 6, *["early"] * 3],
    "patches_with_nops": [False, *[True] * 12],
    "checks_distance": [False, *[True] * 12],
    "resolves_before_verifying": [*[False] * 5, *[True] * 8],
    "endbr64_forms": [*[()] * 5, (ENDBR64,), *[(ENDBR64, ENDBR64_POISON)] * 7],
    "keeps_state_in_payload": [*[True] * 7, False, True, *[False] * 4],
    "marks_applied": [*[False] * 4, *[True] * 9],
    "text_active_from_load": [*[False] * 7, True, False, *[True] * 4],
    "shows_xen_depends": [*[False] * 4, *[True] * 6, *[False] * 3],
    "has_expectations": [*[False] * 4, *[True] * 9],
    "tool_waits_in_dots": [True, True, *[False] * 11],
    "tool_knows_prefixes": [*[True] * 9, *[False] * 4],
    "tool_knows_force": [*[False] * 9, *[True] * 4],
    "empty_exception_table": [False, False, *[True] * 11],
    "alternatives_entry_size": [12, 12, *[14] * 11],
    "longest_nop": [8, 8, *[9] * 11],
    "xen_virt_start": [*[0xFFFF82D080000000] * 4, *[0xFFFF82D040000000] * 9],
    "image_offset": [1 << 20, 1 << 20, *[2 << 20] * 11],
    "arena_starts_at_rwdata_end": [*[False] * 6, *[True] * 7],
    "has_executable_fixmap": [*[False] * 4, *[True] * 9],
    "prints_errors": [*[False] * 3, *[True] * 10],
}


@pytest.mark.parametrize("switch", [name for name in TABLE if name != "releases"])
def test_switch_table(switch: str) -> None:
    assert [getattr(release(name), switch) for name in map(str, TABLE["releases"])] == TABLE[switch]


@pytest.mark.parametrize(
    ("switch", "without", "with_it"),
    [
        # spec/06 §1: the first release of each branch.
        ("refuses_ignored_symbols", ["4.14.4", "4.15.2", "4.16.0"], ["4.14.5", "4.15.3", "4.16.1", "4.17.0"]),
        ("passes_note_errors", ["4.17.9", "4.18.3", "4.19.0"], ["4.18.4", "4.19.1", "4.20.0"]),
        ("checks_symbol_zero", ["4.7.3", "4.8.1", "4.9.0"], ["4.7.4", "4.8.2", "4.9.1", "4.10.0"]),
    ],
)
def test_point_releases(switch: str, without: list[str], with_it: list[str]) -> None:
    assert not any(getattr(release(name), switch) for name in without)
    assert all(getattr(release(name), switch) for name in with_it)


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("4.17.7", (4, 17, 7)),
        ("4.20.4-pre", (4, 20, 3)),
        ("4.17.0-rc4", (4, 17, 0)),
        ("4.17.99", (4, 17, 99)),
    ],
)
def test_whose_rules(name: str, version: tuple[int, int, int]) -> None:
    assert release(name).version == version
    assert release(name).name == name


def test_a_branch_that_is_not_known_has_no_rules() -> None:
    with pytest.raises(NewerReleaseError, match=r"4\.22"):
        release("4.30.1")


@pytest.mark.parametrize("name", ["", "4.17", "newest", "4.6.6", "3.9.9", "4.17.x", "4.17.7 and more"])
def test_what_is_no_release(name: str) -> None:
    with pytest.raises(UnknownReleaseError, match=r"X\.Y\.Z|4\.7\.0"):
        release(name)
