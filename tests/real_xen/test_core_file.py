"""Core files as readelf reads them."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from real_xen.core_file import PAGE, Run, core_file

if TYPE_CHECKING:
    from pathlib import Path

XEN = 0xFFFF_82D0_4020_0000
RUNS = (Run(XEN, b"\x11" * PAGE * 3), Run(XEN + 0x25B000, b"\x22" * PAGE))
BUILD_ID = bytes(range(1, 21))


@pytest.fixture
def core(tmp_path: Path) -> Path:
    path = tmp_path / "core"
    path.write_bytes(core_file(RUNS, BUILD_ID))
    return path


def readelf(option: str, path: Path) -> str:
    shown = subprocess.run(["readelf", "-W", option, str(path)], capture_output=True, text=True, check=True, timeout=60)
    assert not shown.stderr
    return shown.stdout


def test_its_header_is_that_of_a_core_file(core: Path) -> None:
    fields = dict(line.strip().split(":", 1) for line in readelf("-h", core).splitlines() if ":" in line)
    assert fields["Class"].strip() == "ELF64"
    assert fields["Type"].strip() == "CORE (Core file)"
    assert fields["Machine"].strip() == "Advanced Micro Devices X86-64"
    assert fields["Number of program headers"].strip() == "3"


def test_every_run_is_a_segment_at_its_virtual_address(core: Path) -> None:
    rows = [line.split() for line in readelf("-l", core).splitlines() if line.split()[:1] == ["LOAD"]]
    assert [[int(field, 16) for field in row[2:6]] for row in rows] == [
        [XEN, 0, 3 * PAGE, 3 * PAGE],
        [XEN + 0x25B000, 0, PAGE, PAGE],
    ]
    data = core.read_bytes()
    for row, run in zip(rows, RUNS, strict=True):
        offset, size = int(row[1], 16), int(row[4], 16)
        assert offset % PAGE == 0
        assert data[offset : offset + size] == run.contents
    assert len(data) == int(rows[-1][1], 16) + PAGE


@pytest.mark.parametrize("build_id", [BUILD_ID, BUILD_ID[:16], BUILD_ID[:17]], ids=["sha1", "md5", "17 bytes"])
def test_its_note_is_the_build_id(tmp_path: Path, build_id: bytes) -> None:
    path = tmp_path / "core"
    path.write_bytes(core_file(RUNS, build_id))
    assert f"Build ID: {build_id.hex()}" in readelf("-n", path)
