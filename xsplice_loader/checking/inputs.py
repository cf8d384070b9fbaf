"""From what a user names to files: single ones, patterns, and everything of a kind in a directory."""

from __future__ import annotations

import glob
import os
from struct import Struct
from typing import TYPE_CHECKING

from xsplice_loader.hypervisor.contents import FormError, read_contents
from xsplice_loader.hypervisor.forms import read_form
from xsplice_loader.payload import elf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_START = Struct("<4s12xHH")
"""Magic, then e_type and e_machine."""
_PATTERN = frozenset("*?[")


def payload_files(names: Iterable[str]) -> list[str]:
    """Return the payloads that are meant, each once; a name that is nothing at hand stays as it is."""
    return list(dict.fromkeys(_expanded(names, _is_payload)))


def hypervisor_files(names: Iterable[str]) -> list[str]:
    """Return the hypervisor files that are meant, each once; of a directory those that can be read as one."""
    return list(dict.fromkeys(_expanded(names, _is_hypervisor)))


def _expanded(names: Iterable[str], belongs: Callable[[str], bool]) -> Iterator[str]:
    for name in names:
        is_pattern = not _PATTERN.isdisjoint(name) and not os.path.lexists(name)
        for path in sorted(glob.glob(name, recursive=True)) if is_pattern else [name]:
            if not os.path.isdir(path):
                yield path
                continue
            inside = sorted(entry.path for entry in os.scandir(path) if entry.is_file())
            yield from filter(belongs, inside)


def _is_payload(path: str) -> bool:
    """Tell whether a file begins as a relocatable object of x86-64 does."""
    try:
        with open(path, "rb") as file:
            start = file.read(_START.size)
    except OSError:
        return False
    return len(start) == _START.size and _START.unpack(start) == (elf.MAGIC, elf.ET_REL, elf.EM_X86_64)


def _is_hypervisor(path: str) -> bool:
    """Tell whether a file can be read as a hypervisor; kernels lie in the same directories and look alike outside."""
    try:
        read_form(read_contents(path))
    except (FormError, OSError):
        return False
    return True
