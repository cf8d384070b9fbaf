"""`--cpu-features`: the list of numbers, and what it changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result
from recorded_tables import payload
from records import DATA

from xsplice_loader.cli.load import main

if TYPE_CHECKING:
    from pathlib import Path

HYPERVISOR = str(DATA / "real-xen-4.17.7" / "hypervisor.elf.gz")


def run(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


@pytest.mark.parametrize("text", ["x", "1,", ",", "1 2", "-1", "0x10", "1*16+1", "32768", "1024*32+0", "3*32+", "1e3"])
def test_wrong(text: str) -> None:
    result = run("--cpu-features", text, "x")
    assert result.exit_code == 2
    assert "feature" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("text", ["111", "3*32+15", "0, 3*32+15,640", " 3 * 32 + 15 "])
def test_asks_for_the_feature(text: str, tmp_path: Path) -> None:
    # The site of `call-absent` holds bytes 1 and 2 before padding; its replacement, for feature 111, is a call.
    file = tmp_path / "payload.livepatch"
    file.write_bytes(payload("4.17.7", "call-absent"))
    images: list[bytes] = []
    for words in ([], ["--cpu-features", text]):
        out = tmp_path / str(len(images))
        assert run("-x", HYPERVISOR, *words, "--image", str(out), str(file)).exit_code == 0
        images.append((out / "payload.image").read_bytes()[8:10])
    assert images[0] == b"\x01\x02"
    assert images[1][:1] == b"\xe8"
