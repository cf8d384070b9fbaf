"""How it looks at 80 and at 120 columns. The files fix layout only: numbers have tests of their own.

PYTHONPATH=tests .venv/bin/python tests/teaching/test_layout.py     writes them again
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from command_line import explain

from xsplice_loader.forge import forge

GOLDEN = Path(__file__).parent / "golden"
SAMPLES = Path(__file__).parents[2] / "payloads"
CASES: dict[str, tuple[str, ...]] = {
    "walk-hello": ("hello.livepatch",),
    "walk-far-data": ("far-data.livepatch",),
    "walk-stack": ("stack-base.livepatch", "stack-top.livepatch"),
    "reloc-fits": ("--reloc", ".text:1", "hello.livepatch"),
    "reloc-overflows": ("--vmap", "default", "--reloc", ".text:1", "hello.livepatch"),
    "reloc-pointer": ("--reloc", ".livepatch.funcs:1", "hello.livepatch"),
    "rule": ("XSP084",),
}


def shown(words: tuple[str, ...], columns: int, directory: Path) -> str:
    paths = [str(directory / word) if word.endswith(".livepatch") else word for word in words]
    for word in words:
        if word.endswith(".livepatch"):
            source = SAMPLES / f"{word.removesuffix('.livepatch')}.s"
            (directory / word).write_bytes(forge(source.read_text(encoding="utf-8")))
    result = explain(*paths, env={"COLUMNS": str(columns)})
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout.replace(f"{directory}/", "")


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("case", CASES)
def test_layout(case: str, columns: int, tmp_path: Path) -> None:
    text = shown(CASES[case], columns, tmp_path)
    assert text == (GOLDEN / f"{case}-{columns}.txt").read_text(encoding="utf-8")
    # Sources and log lines are shown as they are; all else keeps to the width.
    running = [line for line in text.splitlines() if not line.startswith(("    ", "  #", "  $"))]
    assert [line for line in running if len(line) > columns] == []


def main() -> None:
    for case, words in CASES.items():
        for columns in (80, 120):
            with tempfile.TemporaryDirectory() as directory:
                text = shown(words, columns, Path(directory))
            (GOLDEN / f"{case}-{columns}.txt").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
