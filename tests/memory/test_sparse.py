"""A payload of 6 KB that Xen spreads over 961 MiB: pages that nothing is written to take no memory."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from records import DATA

from xsplice_loader.memory import sparse

PAYLOAD = DATA / "upload-buffer" / "align-250.livepatch"
HYPERVISOR = DATA / "real-xen-4.17.7" / "hypervisor.elf.gz"
PAGES = 245762
LOAD = """
import sys
from xsplice_loader import Hypervisor, load
result = load(sys.argv[1], Hypervisor.open(sys.argv[2]))
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(result.verdict, result.pages, peak)
"""


def test_memory_is_in_proportion_to_what_is_written() -> None:
    words = subprocess.run(
        [sys.executable, "-c", LOAD, PAYLOAD, HYPERVISOR], capture_output=True, text=True, check=True
    ).stdout.split()
    assert words[:2] == ["accepted", str(PAGES)]
    assert int(words[2]) < 200 << 10


@pytest.mark.parametrize("options", [(), ("--apply",)])
def test_what_cannot_be_had_is_said_in_a_sentence(options: tuple[str, ...]) -> None:
    command = [sys.executable, "-c", "from xsplice_loader.cli.load import main; main()", *options]
    done = subprocess.run(
        ["/bin/sh", "-c", 'ulimit -v 900000; exec "$@"', "sh", *command, "-x", HYPERVISOR, PAYLOAD],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "Error: cannot allocate 961 MiB for the pages of a payload\n"


@pytest.mark.parametrize("size", [4096, 8 << 20])
def test_a_copy_is_equal_and_independent(size: int) -> None:
    contents = sparse.zeros(size)
    contents[[1, size // 2, size - 1]] = 7, 8, 9
    copy = sparse.copied(contents)
    contents[0] = 1
    assert np.flatnonzero(copy).tolist() == [1, size // 2, size - 1]
    assert copy[[1, size // 2, size - 1]].tolist() == [7, 8, 9]
