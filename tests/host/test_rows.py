"""Where each row of the rules on applying (`spec/04 §2` to `§9`) is proved; rows of other architectures are left out.

`shows` names recorded sequences by what they were made to show; the rest are tests by file and name.
What nobody can type is left out: of `§3` rows 1 and 2, which cannot be reached after the load; of `§6` tests 1, 4 and
5 (pad, pending work, unknown action), the stale -EAGAIN, and `§6.2` timeouts, because here every action is over before
the next one begins; and of `§7` rows 1 to 5, numbers that the tool never gives.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from recorded_sequences import RECORDED, recorded

TESTS = Path(__file__).parents[1]
ACTIONS, TOOL, PATCHING = "host/test_actions.py", "host/test_tool.py", "livepatch/test_patching.py"
SCRIPTS, ALTERNATIVES = "cli/test_scripts.py", "livepatch/test_alternatives.py"

SHOWN = {
    "§2.1 offset behind ENDBR64": "spec/04 §2.1 off",
    "§2.1 jump": "spec/04 §2.1 rel32",
    "§2.1 NOPs": "spec/04 §2.1 NOPs",
    "§2.1 length 0": "spec/04 §2.1 len 0",
    "§2.1 hazard: fewer NOPs than ENDBR64 has bytes": "spec/04 §2.1 hazard",
    "§2.1 revert": "spec/04 §2.1 revert",
    "§2.2 K8 NOPs on a running hypervisor": "spec/04 §2.2",
    "§3 row 0, not enabled": "spec/04 §3 row 0",
    "§3 row 3, reserved bits": "spec/04 §3 row 3",
    "§3 row 4, longer than the function": "spec/04 §3 row 4",
    "§3 row 5, other bytes": "spec/04 §3 row 5",
    "§3 the first failure stops": "spec/04 §3 first failure",
    "§3 a function without a name": "spec/04 §3 unknown",
    "§3 on a function that carries a trampoline": "spec/04 §3 re-patching",
    "§4 load": "spec/04 §4 load",
    "§4 unload": "spec/04 §4 unload",
    "§4 preapply": "spec/04 §4 preapply",
    "§4 apply": "spec/04 §4 apply",
    "§4 postapply": "spec/04 §4 postapply",
    "§4 prerevert": "spec/04 §4 prerevert",
    "§4 revert": "spec/04 §4 revert",
    "§4 postrevert": "spec/04 §4 postrevert",
    "§4 NULL in a single slot": "spec/04 §4 NULL",
    "§4 order of an array": "spec/04 §4 array order",
    "§4 full order": "spec/04 §4 full order",
    "§4 consistency check": "spec/04 §4 consistency",
    "§5.3 bug frames": "spec/04 §5.3",
    "§5.4 exception table": "spec/04 §5.4",
    "§5.5 metadata": "spec/04 §5.5",
    "§6 test 2, name rules": "spec/01 §2",
    "§6 test 3, no such payload": "spec/04 §6 test 3",
    "§6 UNLOAD of CHECKED": "spec/04 §6 UNLOAD CHECKED",
    "§6 UNLOAD of APPLIED": "spec/04 §6 UNLOAD APPLIED",
    "§6 REVERT of CHECKED": "spec/04 §6 REVERT CHECKED",
    "§6 REVERT (a), not on top": "spec/04 §6 REVERT APPLIED (a)",
    "§6 REVERT (b), veto": "spec/04 §6 REVERT APPLIED (b)",
    "§6 APPLY of APPLIED": "spec/04 §6 APPLY APPLIED",
    "§6 APPLY (a), used data": "spec/04 §6 APPLY CHECKED (a)",
    "§6 APPLY (d), veto": "spec/04 §6 APPLY CHECKED (d)",
    "§6 REPLACE of APPLIED": "spec/04 §6 REPLACE APPLIED",
    "§6 REPLACE (a), depends": "spec/04 §6 REPLACE CHECKED (a)",
    "§6 REPLACE (b), hooks that might veto": "spec/04 §6 REPLACE CHECKED (b)",
    "§6 UNLOAD asks nobody": "spec/04 §6 notes UNLOAD",
    "§6 REPLACE ignores what forbids a second apply": "spec/04 §6 notes REPLACE",
    "§6.1 dependency test": "spec/04 §6.1",
    "§6.2 the work of REPLACE": "spec/04 §6.2 REPLACE",
    "§6.2 log lines": "spec/04 §6.2 log lines",
    "§6.3 what is text, and when": "spec/04 §6.3",
    "§7 order of the list": "spec/04 §7",
    "§8 key x": "spec/04 §8",
    "§9 verbs": "spec/04 §9 verbs",
    "§9 load": "spec/04 §9 load",
    "§9 --nodeps": "spec/04 §9 --nodeps",
    "§9 unsupported flag": "spec/04 §9 flag",
    "§9 --force": "spec/04 §9 --force",
    "§9 beginnings of verbs": "spec/04 §9 prefix",
    "§9 upload": "spec/04 §9 upload",
    "§9 success": "spec/04 §9 success",
    "§9 nothing to do": "spec/04 §9 nothing to do",
    "§9 already in progress": "spec/04 §9 already in progress",
    "§9 wrong state": "spec/04 §9 wrong state",
    "§9 status unreadable": "spec/04 §9 status unreadable",
    "§9 unknown verb": "spec/04 §9 unknown verb",
    "§9 list": "spec/04 §9 list",
    "§9 names of 127, 128 and more characters": "spec/04 §9 names",
}

PROVED = {
    "§2.1 4.7 and what is saved where": (ACTIONS, "test_where_the_payload_keeps_what_was_there"),
    "§2.1 the release decides on ENDBR64": (PATCHING, "test_where_the_new_bytes_begin"),
    "§2.2 table of NOPs": (PATCHING, "test_the_table_of_nops"),
    "§2.2 greedy": (PATCHING, "test_any_length_is_filled_greedily"),
    "§2.2 examples": (PATCHING, "test_31_bytes"),
    "§2.2 bytes seen": (PATCHING, "test_jumps_as_seen_on_a_running_hypervisor"),
    "§4 hooks of an array that are no code": (ACTIONS, "test_a_hook_that_is_no_code_kills_the_machine"),
    "§4 a mark in the file": (ACTIONS, "test_a_mark_in_the_file"),
    "§5.1 alternatives": (ALTERNATIVES, "test_as_recorded"),
    "§5.2 alternative calls": ("livepatch/test_alternative_calls.py", "test_behind_endbr64"),
    "§5.4 sorting": ("livepatch/test_exception_table.py", "test_as_recorded"),
    "§6 APPLY (a) before 4.8": (ACTIONS, "test_before_4_8_a_dirty_payload_is_applied_again"),
    "§6.1 NODEPS before 4.14": (ACTIONS, "test_nodeps_is_unknown_before_4_14"),
    "§6.2 builds that print nothing": (ACTIONS, "test_builds_that_print_no_refusals_log_actions"),
    "§7 row 6, what cannot be copied": (TOOL, "test_metadata_that_was_left_in_the_upload_cannot_be_listed"),
    "§9 texts of 4.7 and 4.8": (TOOL, "test_the_old_way_of_speaking"),
    "§9 texts of 4.9 to 4.13": (TOOL, "test_4_9_to_4_13_speak_the_new_way_but_know_no_metadata_and_no_flags"),
    "§9 exact verbs from 4.19": (TOOL, "test_verbs"),
    "§9 order of verbs": (TOOL, "test_the_first_verb_with_a_beginning_is_meant"),
}


@pytest.mark.parametrize("release", RECORDED)
def test_every_row_is_shown_by_a_recorded_sequence(release: str) -> None:
    shown = {row for sequence in recorded() if sequence.release == release for row in sequence.shows}
    assert {row: shows for row, shows in SHOWN.items() if shows not in shown} == {}


@pytest.mark.parametrize(("file", "name"), PROVED.values(), ids=PROVED)
def test_every_other_row_has_a_test(file: str, name: str) -> None:
    assert f"def {name}(" in (TESTS / file).read_text()
