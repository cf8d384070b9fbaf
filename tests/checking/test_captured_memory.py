"""Captured memory for the checker: every core file is used for the hypervisor of its build-id, or refused."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from checking.checks import HYPERVISORS, check, check_json
from hypervisor.cores import core
from livepatch.test_boot_pointers import calling

from xsplice_loader import Hypervisor
from xsplice_loader.forge import forge

if TYPE_CHECKING:
    from pathlib import Path


def opened(release: str) -> Hypervisor:
    return Hypervisor.open(HYPERVISORS[release])


def captured(release: str, *, noted: bool = True) -> bytes:
    """Return memory in which the pointers of `genapic` lead to a function of Xen's."""
    xen = opened(release)
    genapic, target = (xen.symbols.address_of(name) for name in (b"genapic", b"xen_minor_version"))
    assert genapic is not None
    assert target is not None
    memory = {genapic: target.to_bytes(8, "little") * 4}
    if not noted:
        start = xen.symbols.address_of(b"__note_gnu_build_id_start")
        assert start is not None
        assert xen.build_id is not None
        memory[start] = b"\4\0\0\0\x14\0\0\0\3\0\0\0GNU\0" + xen.build_id
    return core(memory, xen.build_id if noted else None)


@pytest.fixture
def payload(tmp_path: Path) -> Path:
    """A payload for 4.17.7 with a call that Xen makes direct, through a pointer that boot fills in."""
    file = tmp_path / "calls.livepatch"
    file.write_bytes(forge(calling("genapic+8"), xen_build_id=opened("4.17.7").build_id))
    return file


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    file = tmp_path / "4.17.core"
    file.write_bytes(captured("4.17.7"))
    return file


def rules(cell: dict[str, list[dict[str, str]]]) -> list[str]:
    return [finding["rule"] for finding in cell["findings"]]


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_it_supplies_what_boot_wrote(payload: Path, memory: Path, jobs: str) -> None:
    words = ("-x", HYPERVISORS["4.17.7"], "-x", HYPERVISORS["4.14.6"], "--jobs", jobs, payload)
    without = check_json(*words)
    assert "XSP193" in rules(without["cells"][0])
    assert [hypervisor["memory"] for hypervisor in without["hypervisors"]] == [None, None]
    document = check_json("--memory", memory, *words)
    assert "XSP193" not in rules(document["cells"][0])
    assert [hypervisor["memory"] for hypervisor in document["hypervisors"]] == [str(memory), None]
    assert f"captured memory {memory}" in check("--memory", memory, *words).stdout


def test_several_and_by_the_build_id_in_memory(payload: Path, memory: Path, tmp_path: Path) -> None:
    other = tmp_path / "4.14.core"
    other.write_bytes(captured("4.14.6", noted=False))
    words = ("-x", HYPERVISORS["4.17.7"], "-x", HYPERVISORS["4.14.6"], "--memory", other, "--memory", memory, payload)
    document = check_json(*words)
    assert [hypervisor["memory"] for hypervisor in document["hypervisors"]] == [str(memory), str(other)]
    chosen = check_json("--match-build-id", *words, status=0)
    assert [hypervisor["memory"] for hypervisor in chosen["hypervisors"]] == [str(memory)]


def test_a_hypervisor_that_is_looked_for(payload: Path, memory: Path, tmp_path: Path) -> None:
    builds = HYPERVISORS["4.17.7"].parent
    (cell,) = check_json("--hypervisor-path", builds, "--memory", memory, payload, status=0)["cells"]
    assert "XSP193" not in rules(cell)
    other = tmp_path / "4.14.core"
    other.write_bytes(captured("4.14.6"))
    result = check("--hypervisor-path", builds, "--memory", other, payload)
    assert result.exit_code == 2
    build_id = opened("4.14.6").build_id
    assert build_id is not None
    assert f"{other}: is of the build {build_id.hex()}, and is of none of the hypervisors" in result.stderr


def test_memory_of_no_hypervisor_is_wrong_usage(payload: Path, memory: Path, tmp_path: Path) -> None:
    others = ("-x", HYPERVISORS["4.14.6"], "-x", HYPERVISORS["4.20.3"])
    twice, unnoted = tmp_path / "twice.core", tmp_path / "unnoted.core"
    twice.write_bytes(memory.read_bytes())
    unnoted.write_bytes(captured("4.17.7", noted=False))
    os.mkfifo(tmp_path / "pipe")
    for words, complaint in (
        ((*others, "--memory", memory), "and is of none of the hypervisors"),
        ((*others, "--memory", unnoted), "has no build-id, and is of none of the hypervisors"),
        (("-x", HYPERVISORS["4.17.7"], "--memory", memory, "--memory", twice), "is of the same build as"),
        (("--memory", unnoted), "has no build-id; name its hypervisor with -x"),
        (("--memory", "-"), "name a regular file"),
        (("--memory", tmp_path / "pipe"), "name a regular file"),
        (("--memory", tmp_path / "none"), "No such file"),
        (("--memory", payload), "not a core file"),
    ):
        result = check(*words, payload)
        assert (result.exit_code, result.stdout) == (2, ""), words
        assert complaint in result.stderr


def test_a_project_names_it(payload: Path, memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(payload.parent)
    (payload.parent / "pyproject.toml").write_text(
        f'[tool.xsplice-check]\nhypervisor = ["{HYPERVISORS["4.17.7"]}"]\nmemory = ["{memory.name}"]\n'
    )
    assert [hypervisor["memory"] for hypervisor in check_json(payload)["hypervisors"]] == [str(memory)]


def test_another_core_is_another_run(payload: Path, memory: Path, tmp_path: Path) -> None:
    words = ("--resume", tmp_path / "journal", "-x", HYPERVISORS["4.17.7"], "--memory", memory, payload)
    assert check(*words).exit_code == 0
    assert check(*words).exit_code == 0
    memory.write_bytes(captured("4.17.7") + b"\0")
    result = check(*words)
    assert result.exit_code == 2
    assert "files have changed" in result.stderr
