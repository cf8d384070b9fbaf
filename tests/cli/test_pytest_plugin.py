"""The plugin for pytest, in a run of pytest of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from xsplice_loader.forge import forge

ROOT = Path(__file__).parents[2]


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rA", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_payloads_are_tests(tmp_path: Path) -> None:
    for name in ("hello", "far-data"):
        source = (ROOT / "payloads" / f"{name}.s").read_text(encoding="utf-8")
        (tmp_path / f"{name}.livepatch").write_bytes(forge(source))
    model = str(ROOT / "xsplice_loader" / "hypervisor" / "model.elf")
    done = run(tmp_path, "--xsplice", model)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed, 1 passed" in done.stdout
    outcomes = {line.split()[0]: line for line in done.stdout.splitlines() if line.startswith(("PASSED ", "FAILED "))}
    assert "hello.livepatch" in outcomes["PASSED"]
    assert "far-data.livepatch" in outcomes["FAILED"]
    assert "error XSP089 .text+0x3" in done.stdout
    assert "Traceback" not in done.stdout
    # Nobody asked: there is nothing to run.
    assert "no tests ran" in run(tmp_path).stdout
