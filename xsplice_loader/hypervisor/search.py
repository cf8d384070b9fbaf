"""Looking for the hypervisor file that has a given build-id."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from xsplice_loader.hypervisor.contents import GZIP_MAGIC, FormError
from xsplice_loader.hypervisor.elf import ELF_MAGIC
from xsplice_loader.hypervisor.forms import build_id_of
from xsplice_loader.hypervisor.pe import PE_MAGIC

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

SYSTEM_DIRECTORIES = (Path("/usr/lib/debug/boot"), Path("/usr/lib/debug"), Path("/boot"))
"""Searched in this order for files whose names start with `xen`; kernels lie there, too."""
BY_BUILD_ID = Path("/usr/lib/debug/.build-id")
_MAGICS = (ELF_MAGIC, PE_MAGIC, GZIP_MAGIC)


def files_with_build_id(build_id: bytes, directories: Sequence[str | os.PathLike[str]]) -> Iterator[Path]:
    """Yield the files that have a build-id: xen-syms first, then other images.

    Of each kind, those in `directories` come first, then the system's. Files that cannot be read or are of
    another kind are passed over.
    """
    others = []
    for path in _candidates(build_id, directories):
        try:
            found, form = build_id_of(path)
        except (FormError, OSError):
            continue
        if found != build_id:
            continue
        if form == "xen-syms":
            yield path
        else:
            others.append(path)
    yield from others


def _candidates(build_id: bytes, directories: Sequence[str | os.PathLike[str]]) -> Iterator[Path]:
    for directory in directories:
        yield from _images(Path(directory), "*")
    for directory in SYSTEM_DIRECTORIES:
        yield from _images(directory, "xen*")
    if len(build_id) > 1:
        identity = build_id.hex()
        yield from _images(BY_BUILD_ID / identity[:2], f"{identity[2:]}.debug")


def _images(directory: Path, pattern: str) -> Iterator[Path]:
    """Yield a directory's regular files that start as an image does, by name."""
    try:
        paths = sorted(directory.glob(pattern))
    except OSError:
        return
    for path in paths:
        try:
            if not path.is_file():
                continue
            with path.open("rb") as file:
                start = file.read(4)
        except OSError:
            continue
        if start.startswith(_MAGICS):
            yield path
