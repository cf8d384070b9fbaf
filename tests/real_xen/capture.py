"""Captured memory: what a running hypervisor's image holds once it has booted, as an ELF core file.

Xen alters its own code at boot (xen/arch/x86/alternative.c), fills in its variables, and frees what it needed only to
start. None of that is in a hypervisor file.
"""

from __future__ import annotations

import os
import struct
import tempfile
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from real_xen.core_file import PAGE, Run, core_file
from real_xen.initramfs import initramfs
from real_xen.machine import Machine, boot_arguments
from real_xen.packages import unzipped
from real_xen.problem import HarnessError
from xsplice_loader import Hypervisor
from xsplice_loader.hypervisor.contents import HypervisorFileError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from real_xen.machine import Snapshot
    from real_xen.packages import Parts

MULTIBOOT = struct.pack("<I", 0x1BADB002)
MULTIBOOT_LIMIT = 8192
"""Bytes at the start of a boot image among which its Multiboot header is."""
ATTEMPTS, PAUSE = 40, 0.05
"""How often, and how many seconds apart, the machine is stopped until its page tables map Xen: where these are isolated
(XPTI), they map little of it while the domain runs."""

LEAST_TEXT = 256 * PAGE
"""Bytes of code that every Xen has, for images whose symbols do not say where it ends."""


def memory_of(snapshot: Snapshot, hypervisor: Hypervisor) -> Path:
    """Return the core file with the memory of a booted snapshot; it is captured once and kept beside the snapshot."""
    path = snapshot.folder / "memory.core"
    if not path.is_file():
        with (
            tempfile.TemporaryDirectory(prefix="real-xen-") as scratch,
            Machine.restored(snapshot, Path(scratch)) as machine,
        ):
            write(path, captured(machine, hypervisor))
    return path


def memory_of_own(parts: Parts, xen: Path | None, cpu: str, say: Callable[[str], None]) -> bytes:
    """Boot a Xen on a processor that no snapshot is kept of, and return its memory as a core file.

    The domain that Xen starts may be made for another release, and is not waited for.

    Args:
        parts: what the machine is made of.
        xen: the boot image, gzipped or not; None: that of `parts`.
        cpu: the emulator's processor model.
        say: called with what takes time.

    Raises:
        HarnessError: the image cannot be booted, or does not finish its boot.
    """
    image = boot_image(parts.xen if xen is None else xen)
    try:
        hypervisor = Hypervisor.open(parts.xen_syms if xen is None else xen)
    except HypervisorFileError as error:
        raise HarnessError(str(error)) from None
    say(f"booting {parts.xen if xen is None else xen} on {cpu}")
    with tempfile.TemporaryDirectory(prefix="real-xen-") as scratch:
        folder = Path(scratch)
        (folder / "xen").write_bytes(image)
        (folder / "initrd").write_bytes(initramfs(parts))
        arguments = boot_arguments(folder / "xen", parts.kernel, folder / "initrd", cpu)
        with Machine(arguments, folder) as machine:
            machine.wait_until_booted()
            return captured(machine, hypervisor)


def boot_image(path: Path) -> bytes:
    """Return a boot image, unzipped.

    Raises:
        HarnessError: the file cannot be read, or the emulator cannot boot it.
    """
    try:
        data = unzipped(path)
    except (OSError, EOFError, zlib.error) as error:
        raise HarnessError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    if MULTIBOOT not in data[:MULTIBOOT_LIMIT]:
        raise HarnessError(f"{path} is not a Multiboot image; give the `xen` or `xen.gz` of the same build")
    if data[:5] != b"\x7fELF\x01":
        raise HarnessError(f"{path} is not a 32-bit ELF file; give the `xen` or `xen.gz` of the same build")
    return data


def captured(machine: Machine, hypervisor: Hypervisor) -> bytes:
    """Stop a machine, and return the memory of its hypervisor's image as a core file.

    Raises:
        HarnessError: the hypervisor is not what runs there.
    """
    build_id = hypervisor.build_id
    if build_id is None:
        raise HarnessError(f"{hypervisor.file} has no build-id, by which its memory could be recognized")
    start = hypervisor.symbols.address_of(b"_start") or hypervisor.image_start
    text = hypervisor.text_start
    text_end = hypervisor.symbols.address_of(b"_etext") or text + LEAST_TEXT
    for _ in range(ATTEMPTS):
        machine.stop()
        runs = list(mapped_runs(machine, start // PAGE * PAGE, hypervisor.image_end))
        if any(run.address <= text < text_end <= run.end for run in runs):
            break
        machine.go_on()
        time.sleep(PAUSE)
    else:
        raise HarnessError(f"the code of {hypervisor.file} is not mapped where its symbols say")
    if not any(build_id in run.contents for run in runs):
        raise HarnessError(f"what runs is not the build {build_id.hex()} of {hypervisor.file}")
    return core_file(runs, build_id)


def mapped_runs(machine: Machine, start: int, end: int) -> Iterator[Run]:
    """Yield the runs of mapped pages from `start`, a page's address, to the end of the page that `end` falls in."""
    address, end = start, -(-end // PAGE) * PAGE
    while address < end:
        contents = machine.memory_up_to(address, end - address)
        contents = contents[: len(contents) // PAGE * PAGE]
        if contents:
            yield Run(address, contents)
        # What follows is the end, or a page that is not mapped.
        address += len(contents) + PAGE


def write(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all.

    Raises:
        HarnessError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(f".{path.name}.{os.getpid()}")
        scratch.write_bytes(data)
        scratch.replace(path)
    except OSError as error:
        raise HarnessError(f"cannot write {path}: {error.strerror or error}") from None
