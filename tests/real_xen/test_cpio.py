"""The archive writer, read back by cpio itself."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from real_xen import cpio
from real_xen.debian import DEFAULT
from real_xen.packages import fetched

if TYPE_CHECKING:
    from pathlib import Path

ENTRIES = (
    cpio.directory("bin"),
    cpio.file("bin/odd", b"12345", 0o755),
    cpio.file("empty", b""),
    cpio.link("init", "bin/odd"),
    cpio.character_device("null", 1, 3),
)


def _cpio(*arguments: str, archive: bytes, folder: Path) -> str:
    parts = fetched(DEFAULT)
    if program := shutil.which("cpio"):
        command = [program]
    elif parts is not None:
        command = [str(parts.busybox), "cpio"]
    else:
        pytest.skip("there is no cpio; `scripts/real-xen fetch` fetches one")
    done = subprocess.run([*command, *arguments], input=archive, cwd=folder, capture_output=True, check=True)
    return done.stdout.decode()


def test_cpio_lists_every_entry(tmp_path: Path) -> None:
    listed = _cpio("-t", archive=cpio.archive(ENTRIES), folder=tmp_path)
    assert listed.split() == ["bin", "bin/odd", "empty", "init", "null"]


def test_cpio_unpacks_contents_permissions_and_links(tmp_path: Path) -> None:
    _cpio("-i", archive=cpio.archive(ENTRIES[:4]), folder=tmp_path)
    assert (tmp_path / "bin/odd").read_bytes() == b"12345"
    assert (tmp_path / "bin/odd").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "empty").read_bytes() == b""
    assert (tmp_path / "init").readlink().as_posix() == "bin/odd"


def test_cpio_shows_a_device(tmp_path: Path) -> None:
    listed = _cpio("-tv", archive=cpio.archive(ENTRIES[4:]), folder=tmp_path)
    assert re.match(r"crw------- .* null$", listed.strip())
