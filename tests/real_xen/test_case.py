"""Files as cases: payloads, sources, scripts and what these name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from real_xen.case import cases_of
from real_xen.problem import HarnessError

if TYPE_CHECKING:
    from pathlib import Path


def test_a_payload_lives_four_steps(tmp_path: Path) -> None:
    (tmp_path / "fix.livepatch").write_bytes(b"\x7fELF")
    (case,) = cases_of([tmp_path], b"")
    assert [command.words for command in case.commands] == [
        ("upload", "fix", "fix.livepatch"), ("apply", "fix"), ("revert", "fix"), ("unload", "fix"),
    ]  # fmt: skip
    assert case.files == {"fix.livepatch": b"\x7fELF"}


def test_a_script_brings_the_payloads_that_it_names(tmp_path: Path) -> None:
    (tmp_path / "a.livepatch").write_bytes(b"a")
    (tmp_path / "two.script").write_text("upload a a.livepatch\nxen-livepatch upload b missing.livepatch # why not\n")
    (case,) = cases_of([tmp_path / "two.script"], b"")
    assert case.files == {"a.livepatch": b"a"}
    assert [command.words for command in case.commands] == [
        ("upload", "a", "a.livepatch"), ("upload", "b", "missing.livepatch"),
    ]  # fmt: skip
    assert isinstance(case.read("missing.livepatch"), FileNotFoundError)


def test_a_path_outside_of_the_folder_is_renamed(tmp_path: Path) -> None:
    (tmp_path / "a.livepatch").write_bytes(b"a")
    (tmp_path / "one.script").write_text(f"load {tmp_path}/a.livepatch\n")
    (case,) = cases_of([tmp_path / "one.script"], b"")
    assert case.commands[0].words == ("load", "renamed/0.livepatch")
    assert case.files == {"renamed/0.livepatch": b"a"}


def test_a_source_is_made_for_the_hypervisor(tmp_path: Path) -> None:
    (tmp_path / "one.s").write_text("        .livepatch_xen_depends xen\n")
    (case,) = cases_of([tmp_path / "one.s"], b"\xab" * 20)
    assert b"\xab" * 20 in case.files["one.livepatch"]


@pytest.mark.parametrize("script", ["upload 'a\n", "\udcff"])
def test_a_script_that_cannot_be_read_is_an_error(tmp_path: Path, script: str) -> None:
    (tmp_path / "bad.script").write_bytes(script.encode("utf-8", "surrogateescape"))
    with pytest.raises(HarnessError, match=r"bad\.script"):
        cases_of([tmp_path / "bad.script"], b"")
