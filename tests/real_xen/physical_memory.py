"""The memory of a booted machine, kept beside its snapshot: what the loader's code finds when it runs without one."""

from __future__ import annotations

import os
import re
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from real_xen.machine import MEMORY, Machine
from real_xen.problem import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from real_xen.machine import Snapshot

SIZE = MEMORY << 20
PAGE = 4096
TRIES = 200
_REGISTER = re.compile(r"\b(CR[034]|EFER|RSP)=\s*([0-9a-f]+)")
_IDLE = re.compile(r"\bCPL=0\b.*\bHLT=1\b", re.DOTALL)


class PhysicalMemory(NamedTuple):
    """Every byte of the machine's memory, and the registers that say how it is mapped."""

    file: Path
    registers: dict[str, int]
    """CR0, CR3, CR4, EFER and RSP while Xen is idle."""


def physical_memory_of(snapshot: Snapshot, say: Callable[[str], None]) -> PhysicalMemory:
    """Return the memory of a machine as its snapshot has it; read it from a restored machine if nothing is kept yet.

    Raises:
        HarnessError: the machine does not become idle, or its memory cannot be written.
    """
    file = snapshot.folder / "memory"
    registers = snapshot.folder / "registers"
    if not registers.is_file() or not file.is_file():
        say("reading the memory of the booted machine")
        with tempfile.TemporaryDirectory(prefix=".memory-", dir=snapshot.folder) as scratch:
            whole, sparse = Path(scratch) / "whole", Path(scratch) / "sparse"
            with Machine.restored(snapshot, Path(scratch)) as machine:
                said = _idle(machine)
                failure = machine.monitor(f'pmemsave 0 {SIZE:#x} "{whole}"').strip()
            if failure:
                raise HarnessError(f"the emulator cannot write its memory: {failure}")
            _copy_sparsely(whole, sparse)
            sparse.replace(file)
            (Path(scratch) / "said").write_text(said, encoding="utf-8")
            (Path(scratch) / "said").replace(registers)
    found = _REGISTER.findall(registers.read_text(encoding="utf-8"))
    return PhysicalMemory(file, {name: int(value, 16) for name, value in found})


def _idle(machine: Machine) -> str:
    """Stop the machine while Xen is idle, and return the registers as QEMU prints them."""
    for _ in range(TRIES):
        machine.stop()
        said = machine.monitor("info registers")
        if _IDLE.search(said):
            return said
        machine.go_on()
        time.sleep(0.01)
    raise HarnessError("the booted machine does not become idle")


def _copy_sparsely(source: Path, target: Path) -> None:
    with source.open("rb") as read, target.open("wb") as written:
        written.truncate(source.stat().st_size)
        for offset, block in _blocks(read.fileno()):
            if block.count(0) != len(block):
                os.pwrite(written.fileno(), block, offset)


def _blocks(file: int) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while block := os.pread(file, 16 * PAGE, offset):
        yield offset, block
        offset += len(block)
