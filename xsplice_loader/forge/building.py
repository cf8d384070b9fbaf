"""From a source to a finished file: assemble, name it by its content, spoil it as asked."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import replace
from typing import TYPE_CHECKING

from xsplice_loader.forge.assembler import Assembler
from xsplice_loader.forge.damage import Damage, parse_damage
from xsplice_loader.forge.errors import ForgeError
from xsplice_loader.forge.model import MODEL_BUILD_ID

if TYPE_CHECKING:
    from xsplice_loader.forge.object_file import ObjectFile

HEAD = "#!"
"""What a line for the forge and its readers, not for the assembler, begins with."""


def build(source: str, xen_build_id: bytes | None = None) -> bytes:
    """Return the object file made of `source` (see `forge`)."""
    data = assemble(source, xen_build_id)
    for damage in _damages(source):
        data = damage.apply(data)
    return data


def assemble(source: str, xen_build_id: bytes | None = None) -> bytes:
    """Return the object file made of `source`, its damages left out."""
    assembler = Assembler(MODEL_BUILD_ID if xen_build_id is None else xen_build_id)
    assembler.run(source)
    file = assembler.finish()
    data = _written(file)
    if assembler.program.build_id is None:
        return data
    section, offset = assembler.program.build_id
    digest = hashlib.sha1(data, usedforsecurity=False).digest()
    index = assembler.program.sections.index(section)
    note = file.sections[index]
    named = note.data[:offset] + digest + note.data[offset + len(digest) :]
    sections = (*file.sections[:index], replace(note, data=named), *file.sections[index + 1 :])
    return _written(replace(file, sections=sections))


def _written(file: ObjectFile) -> bytes:
    try:
        return file.write()
    except struct.error as error:
        raise ForgeError(f"a number does not fit the object file ({error})") from error


def _damages(source: str) -> list[Damage]:
    found = []
    for number, line in enumerate(source.splitlines(), 1):
        text = line.strip()
        if text.startswith(HEAD):
            kind, _, rest = text[len(HEAD) :].strip().partition(":")
            if kind.strip() == "damage":
                found.append(parse_damage(rest.strip(), number))
    return found
