"""From what a user names to files: single ones, patterns, and everything of a kind in a directory."""

from __future__ import annotations

import glob
import os
from struct import Struct
from typing import TYPE_CHECKING

from xsplice_loader.hypervisor.contents import GZIP_MAGIC, FormError, read_contents
from xsplice_loader.hypervisor.elf import ELF_MAGIC
from xsplice_loader.hypervisor.forms import read_form
from xsplice_loader.hypervisor.pe import PE_MAGIC
from xsplice_loader.payload import elf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_START = Struct("<4s12xHH")
"""Magic, then e_type and e_machine."""
SUFFIX = ".livepatch"
_PATTERN = frozenset("*?[")


class NothingThereError(Exception):
    """A directory or a pattern holds nothing of what was asked for; the message says which."""


def payload_files(names: Iterable[str]) -> list[str]:
    """Return the payloads that are meant, each once; a name that is nothing at hand stays as it is.

    Of a directory these are all objects for x86-64, and whatever is called `*.livepatch`; a directory that cannot be
    read stays as it is.

    Raises:
        NothingThereError: there are none in a directory, or of a pattern.
    """
    return list(dict.fromkeys(_expanded(names, _is_payload)))


def hypervisor_files(names: Iterable[str]) -> list[str]:
    """Return the hypervisor files that are meant, each once.

    Of a directory these are all that can be read as one, and images that are called `xen…`, whatever is wrong with
    them.

    Raises:
        NothingThereError: there are none in a directory, or of a pattern.
    """
    return list(dict.fromkeys(_expanded(names, _is_hypervisor)))


def _expanded(names: Iterable[str], belongs: Callable[[str], bool]) -> Iterator[str]:
    for name in names:
        is_pattern = not _PATTERN.isdisjoint(name) and not os.path.lexists(name)
        found: list[str] = []
        for path in sorted(glob.glob(name, recursive=True)) if is_pattern else [name]:
            inside = _files_in(path) if os.path.isdir(path) else None
            found += [path] if inside is None else filter(belongs, inside)
        if not found:
            raise NothingThereError(name)
        yield from found


def _files_in(directory: str) -> list[str] | None:
    """Return the files in a directory and the links that lead nowhere; None if it cannot be read."""
    try:
        paths = [os.path.join(directory, name) for name in os.listdir(directory)]
    except OSError:
        return None
    return sorted(path for path in paths if os.path.isfile(path) or not os.path.exists(path))


def _is_payload(path: str) -> bool:
    """Tell whether a file is called a payload, or begins as a relocatable object of x86-64 does."""
    if path.endswith(SUFFIX):
        return True
    try:
        with open(path, "rb") as file:
            start = file.read(_START.size)
    except OSError:
        return False
    return len(start) == _START.size and _START.unpack(start) == (elf.MAGIC, elf.ET_REL, elf.EM_X86_64)


def _is_hypervisor(path: str) -> bool:
    """Tell whether a file can be read as a hypervisor; kernels lie in the same directories and look alike outside."""
    try:
        contents = read_contents(path)
        read_form(contents)
    except (FormError, OSError):
        return os.path.basename(path).startswith("xen") and _may_be_image(path)
    return True


def _may_be_image(path: str) -> bool:
    """Tell whether a file begins as an image does, or not at all; configurations are called `xen…`, too."""
    try:
        with open(path, "rb") as file:
            start = file.read(4)
    except OSError:
        return True
    return not start or start.startswith((ELF_MAGIC, PE_MAGIC, GZIP_MAGIC))
