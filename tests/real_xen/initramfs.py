"""The first file system of the domain that administers Xen: busybox, the tool with its libraries, and modules."""

from __future__ import annotations

import gzip
import lzma
import re
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from elftools.elf.elffile import ELFFile

from real_xen import cpio
from real_xen.problem import HarnessError
from real_xen.shared_objects import needed_by

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from real_xen.packages import Parts

INIT = Path(__file__).with_name("init.sh")
WANTED_MODULES = ("xen-privcmd", "virtio_pci", "virtio_blk")
"""Hypercalls for programs, and the disk with the payloads; a kernel may have them built in."""


def initramfs(parts: Parts) -> bytes:
    """Return the archive for a kernel to start from."""
    tool = parts.livepatch
    needed = needed_by(tool, parts.tools)
    if needed.missing:
        raise HarnessError(f"{tool} needs {', '.join(needed.missing)}")
    modules = list(in_order(parts.modules))
    files = [
        cpio.file("init", INIT.read_bytes(), 0o755),
        cpio.file("bin/busybox", parts.busybox.read_bytes(), 0o755),
        cpio.file("bin/xen-livepatch", tool.read_bytes(), 0o755),
        *(cpio.file(place, source.read_bytes(), 0o755) for place, source in needed.found.items()),
        *(cpio.file(f"modules/{name}.ko", contents) for name, contents in modules),
        cpio.file("modules/order", "".join(f"{name}.ko\n" for name, _ in modules).encode()),
    ]
    folders = sorted({str(parent) for entry in files for parent in Path(entry.path).parents} - {"."})
    return cpio.archive(
        [
            *map(cpio.directory, [*folders, "dev"]),
            cpio.character_device("dev/console", 5, 1),
            cpio.character_device("dev/null", 1, 3),
            *files,
        ]
    )


def in_order(paths: Iterable[Path], wanted: Iterable[str] = WANTED_MODULES) -> Iterator[tuple[str, bytes]]:
    """Yield the wanted modules and those that they need, each after what it needs, with contents."""
    by_name = {_plain(path.name.split(".ko")[0]): path for path in paths}
    done: set[str] = set()

    def visit(name: str) -> Iterator[tuple[str, bytes]]:
        if name in done or name not in by_name:
            return
        done.add(name)
        contents = _unpacked(by_name[name])
        for other in depends_of(contents):
            yield from visit(_plain(other))
        yield name, contents

    for name in wanted:
        yield from visit(_plain(name))


def depends_of(module: bytes) -> list[str]:
    """Return the names of the modules that a module says it needs."""
    section = ELFFile(BytesIO(module)).get_section_by_name(".modinfo")
    found = None if section is None else re.search(rb"(?:^|\0)depends=([^\0]*)", section.data())
    return [] if found is None else [name for name in found[1].decode().split(",") if name]


def _plain(name: str) -> str:
    return name.replace("-", "_")


def _unpacked(path: Path) -> bytes:
    data = path.read_bytes()
    match path.suffix:
        case ".xz":
            return lzma.decompress(data)
        case ".gz":
            return gzip.decompress(data)
    return data
