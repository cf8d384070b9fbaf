"""Second opinions on the forge's files."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable
from typing import Any

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.enums import ENUM_RELOC_TYPE_x64

Tool = Callable[..., str]
Rela = tuple[int, str, str, int]
"""Offset, type, symbol or section, addend."""


def require(tool: str) -> str:
    """Return the path of a program; without it skip, but fail where CI promises that it is there."""
    path = shutil.which(tool)
    if path is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{tool} is not installed, and CI must not skip this test")
        pytest.skip(f"{tool} is not installed")
    return path


def elf(data: bytes) -> Any:
    return ELFFile(io.BytesIO(data))


def relas(data: bytes, section: str) -> list[Rela]:
    """The relocations of `section`, in order of offset, as pyelftools reads them."""
    file = elf(data)
    names = {number: name for name, number in ENUM_RELOC_TYPE_x64.items() if name.startswith("R_X86_64")}
    names |= {41: "R_X86_64_GOTPCRELX", 42: "R_X86_64_REX_GOTPCRELX"}
    table = file.get_section_by_name(".rela" + section)
    if table is None:
        return []
    symbols = file.get_section_by_name(".symtab")
    found = []
    for entry in table.iter_relocations():
        symbol = symbols.get_symbol(entry["r_info_sym"])
        name = symbol.name
        if symbol["st_info"]["type"] == "STT_SECTION":
            name = file.get_section(symbol["st_shndx"]).name
        found.append((entry["r_offset"], names[entry["r_info_type"]], name, entry["r_addend"]))
    return sorted(found)


def symbol(data: bytes, name: str) -> Any:
    (found,) = elf(data).get_section_by_name(".symtab").get_symbol_by_name(name)
    return found
