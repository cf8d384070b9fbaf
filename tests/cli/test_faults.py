"""Full disks, closed streams, limits, interrupts: the right word and status, and never half a file."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from small_payloads import payload

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = [sys.executable, "-c", "from xsplice_loader.cli.load import command; command()"]
SMALL = 4096
NO_SPACE = "No space left on device"


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "a.livepatch"
    path.write_bytes(payload())
    return str(path)


def run(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own; no traceback may ever be seen."""
    done = subprocess.run(
        [*COMMAND, *words],
        check=False,
        text=True,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
    )
    assert "Traceback" not in (done.stderr or "")
    return done


def only_small_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL, SMALL))


def test_a_full_disk_behind_an_output_file(file: str) -> None:
    done = run(file, "-o", "/dev/full")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"Error: /dev/full cannot be written: {NO_SPACE}\n"


def test_a_full_disk_behind_standard_output(file: str) -> None:
    with open("/dev/full", "w") as full:
        done = run(file, stdout=full)
    assert (done.returncode, done.stderr) == (2, f"Error: standard output cannot be written: {NO_SPACE}\n")


@pytest.mark.parametrize("option", ["--image", "--elf"])
def test_a_disk_that_fills_up_leaves_no_half_file(option: str, file: str, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    done = run(file, option, str(folder), preexec_fn=only_small_files)
    assert done.returncode == 2
    assert "cannot be written: File too large" in done.stderr
    assert list(folder.iterdir()) == []


def test_a_disk_that_fills_up_leaves_the_file_that_was_there(file: str, tmp_path: Path) -> None:
    output = tmp_path / "report"
    output.write_text("of yesterday")
    done = run(*[file] * 40, "-v", "-o", str(output), preexec_fn=only_small_files)
    assert done.returncode == 2
    assert output.read_text() == "of yesterday"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.livepatch", "report"]


@pytest.mark.parametrize(
    ("words", "closed", "status", "complaint"),
    [
        (["FILE"], 1, 2, "standard output is closed"),
        (["--schema"], 1, 2, "standard output is closed"),
        (["--help"], 1, 0, ""),
        (["-"], 0, 2, ""),
        (["-x", "-", "FILE"], 0, 2, "standard input is closed"),
        (["--script", "-"], 0, 2, "standard input is closed"),
        (["FILE"], 2, 0, ""),
    ],
)
def test_a_closed_stream(words: list[str], closed: int, status: int, complaint: str, file: str) -> None:
    stream = {0: "stdin", 1: "stdout", 2: "stderr"}[closed]
    done = run(
        *[file if word == "FILE" else word for word in words],
        preexec_fn=lambda: os.close(closed),
        **{stream: None},
    )
    assert done.returncode == status
    assert complaint in (done.stderr or "")


def test_a_folder_that_cannot_be_made(file: str) -> None:
    done = run(file, "--image", f"{file}/below")
    assert (done.returncode, done.stdout) == (2, "")
    assert "cannot be made: Not a directory" in done.stderr


def test_an_interrupt_while_it_waits_for_input(tmp_path: Path) -> None:
    """Whenever it comes: status 130, one word, no traceback, no file."""
    output = tmp_path / "report"
    waiting = subprocess.Popen(
        [*COMMAND, "-", "-o", str(output)],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not _is_waiting(waiting.pid):
        time.sleep(0.01)
    waiting.send_signal(signal.SIGINT)
    _, complaint = waiting.communicate()
    assert (waiting.returncode, complaint) == (130, "interrupted\n")
    assert not output.exists()


def _is_waiting(process: int) -> bool:
    """Tell whether a process sits in a read of its standard input."""
    with open(f"/proc/{process}/syscall") as file:
        words = file.read().split()
    return words[:2] == ["0", "0x0"]
