"""What a program needs to start: the closure of its shared objects, found in a tree."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import InterpSegment

if TYPE_CHECKING:
    from pathlib import Path


class Needed(NamedTuple):
    """What a program needs beside itself."""

    found: dict[str, Path]
    """Where each is to be in the file system, without a leading slash, and its file."""
    missing: tuple[str, ...]


def needed_by(program: Path, tree: Path) -> Needed:
    """Return the dynamic linker and all libraries that `program` needs, as far as they are in `tree`."""
    libraries = {path.name: path for path in sorted(tree.glob("**/*.so*")) if path.is_file()}
    found: dict[str, Path] = {}
    missing = set()
    waiting = [program]
    while waiting:
        interpreter, names = _asks_for(waiting.pop())
        for name in names:
            if name not in libraries:
                missing.add(name)
            elif (place := f"lib/{name}") not in found:
                found[place] = libraries[name]
                waiting.append(libraries[name])
        if interpreter is not None and interpreter.rsplit("/", 1)[-1] in libraries:
            found[interpreter.lstrip("/")] = libraries[interpreter.rsplit("/", 1)[-1]]
    return Needed(found, tuple(sorted(missing)))


def _asks_for(path: Path) -> tuple[str | None, list[str]]:
    """Return the dynamic linker and the libraries that a file names."""
    with path.open("rb") as stream:
        elf = ELFFile(stream)
        interpreters = [s.get_interp_name() for s in elf.iter_segments() if isinstance(s, InterpSegment)]
        section = elf.get_section_by_name(".dynamic")
        names = (
            [str(vars(tag)["needed"]) for tag in section.iter_tags("DT_NEEDED")]
            if isinstance(section, DynamicSection)
            else []
        )
    return (interpreters[0] if interpreters else None), names
