"""Names that mean something to a terminal, a shell or a file system mean nothing where they are shown."""

from __future__ import annotations

import json
import unicodedata
from typing import TYPE_CHECKING

import pytest
from command_line import run
from small_payloads import payload

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = (
    "\x1b[2J\x1b]0;owned\x07",
    "\u202egnp.exe\u2069",
    "::error file=x,line=1::injected",
    "<script>alert(1)</script>&amp;",
    "]]><x/>",
    "a\tb\rc",
    "\x9b31m\u2028\u200b",
    "../../../up",
    "..",
    ".",
    "%s%n{name}{0}",
)


def is_harmless(text: str) -> bool:
    """Tell whether a text holds no control, format or line separating character but line ends and tabs."""
    return not [mark for mark in text if mark not in "\n\t" and unicodedata.category(mark) in ("Cc", "Cf", "Zl", "Zp")]


@pytest.fixture(params=HOSTILE, ids=range(len(HOSTILE)))
def script(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    """A script that uploads, applies and lists a payload of a hostile name."""
    name: str = request.param
    (tmp_path / "a.livepatch").write_bytes(payload(f'.modinfo "says={json.dumps(name)[1:-1].replace(chr(92), "/")}"\n'))
    quoted = "'" + name.replace("'", "'\\''") + "'"
    path = tmp_path / "script"
    lines = [
        f"upload {quoted} a.livepatch",
        f"apply {quoted}",
        "list",
        f"unload {quoted}",
        quoted,
        f"upload b {quoted}",
    ]
    path.write_bytes("\n".join(lines).encode("utf-8", "surrogateescape"))
    return name, path


def test_text_is_harmless(script: tuple[str, Path]) -> None:
    result = run("-v", "--script", script[1])
    assert is_harmless(result.stdout)
    assert is_harmless(result.stderr)


def test_json_says_it_exactly(script: tuple[str, Path]) -> None:
    name, path = script
    document = json.loads(run("--format", "json", "--script", path).stdout)
    assert document["payloads"][0]["name"] == name
    assert document["steps"][2]["list"][0].startswith(name)


def test_files_stay_in_their_folder(script: tuple[str, Path], tmp_path: Path) -> None:
    before = {path for path in tmp_path.parent.rglob("*") if "out" not in path.parts}
    run("--image", tmp_path / "out", "--elf", tmp_path / "out", "--script", script[1])
    assert {path for path in tmp_path.parent.rglob("*") if "out" not in path.parts} == before
    assert all(path.parent == tmp_path / "out" for path in (tmp_path / "out").rglob("*"))


def test_a_nul_byte_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "script"
    path.write_bytes(b"list\nupload a\0b x\n")
    result = run("--script", path)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "line 2: a NUL byte" in result.stderr


def test_a_name_too_long_for_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.livepatch").write_bytes(payload())
    path = tmp_path / "script"
    path.write_text(f"upload {'/' * 100} a.livepatch\n")
    result = run("--image", tmp_path / "out", "--script", path)
    assert result.exit_code == 2
    assert "too long for the name of a file" in result.stderr
