"""The steps about what the payload is and does: ids, special sections, functions, own symbols (`spec/01 §8`, `§12`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.livepatch.patching import JUMP_SIZE
from xsplice_loader.livepatch.prepare import BUILD_ID, DEPENDS, TABLES
from xsplice_loader.livepatch.sections import XEN_DEPENDS
from xsplice_loader.numbers import size_text
from xsplice_loader.payload import text_of
from xsplice_loader.relocation.instructions import disassemble
from xsplice_loader.teaching.blocks import Block, Change, Items, Paragraph, Table
from xsplice_loader.teaching.places import count_text, hexadecimal
from xsplice_loader.teaching.scene import MOST_ROWS
from xsplice_loader.teaching.walk_form import NOT_READ

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xsplice_loader.results import PatchedFunction
    from xsplice_loader.teaching.scene import Scene

SHOWN = 16
"""Bytes of a function that are shown."""
DRAWN_FUNCTIONS = 4
"""Functions whose bytes are shown; of the others only where they lead."""


def tell_build_id(scene: Scene) -> Iterator[Block]:
    """Tell whose build the payload names."""
    if scene.payload is None:
        yield NOT_READ
        return
    running = scene.host.hypervisor.build_id
    yield Table(
        ("of", "build-id"),
        (
            ("the running Xen", _hex(running) if scene.host.hypervisor.has_known_build_id else "not known"),
            (XEN_DEPENDS, _hex(scene.result.xen_depends)),
        ),
    )
    if not scene.host.hypervisor.has_known_build_id:
        yield Paragraph("Nothing is compared: which build is running is not known here.")


def _hex(value: bytes | None) -> str:
    return value.hex() if value is not None else "none"


def tell_special(scene: Scene) -> Iterator[Block]:
    """Tell of the sections that every payload needs."""
    if scene.payload is None:
        yield NOT_READ
        return
    yield from _sizes(scene, scene.release.required_sections)


def tell_patching(scene: Scene) -> Iterator[Block]:
    """Tell of the sections of which one at least must be there."""
    if scene.payload is None:
        yield NOT_READ
        return
    names = scene.release.patching_sections
    if not names:
        yield Paragraph("This release does not ask: the function table is among the sections that must be there.")
        return
    there = [name for name in names if scene.payload.section_named(name) is not None]
    if there:
        yield from _sizes(scene, there)
    else:
        yield Paragraph("There is neither a function table nor a hook.")


def _sizes(scene: Scene, names: tuple[str, ...] | list[str]) -> Iterator[Block]:
    sections = [scene.payload.section_named(name) for name in names if scene.payload is not None]
    yield Table(
        ("section", "bytes"),
        tuple(
            (name, f"{section.size:,}" if section is not None else "missing")
            for name, section in zip(names, sections, strict=True)
        ),
    )


def tell_prepare(scene: Scene) -> Iterator[Block]:
    """Tell of functions, hooks, ids and tables."""
    payload = scene.payload
    if payload is None:
        yield NOT_READ
        return
    funcs = scene.result.funcs
    if funcs:
        room = f"The jump takes {JUMP_SIZE} bytes, and the old function must have room for it."
        yield Paragraph(f"{count_text(len(funcs), 'function')} to patch when the payload is applied. {room}")
        yield Items(tuple(_function(function) for function in funcs[:MOST_ROWS]))
        for function in funcs[:DRAWN_FUNCTIONS]:
            yield from change_of(function)
    hooks = [section for section in payload.sections if section.name.startswith(b".livepatch.hooks.") and section.size]
    if hooks:
        yield Paragraph("Hooks that Xen will call: " + ", ".join(section.text_name for section in hooks) + ".")
    tables = [section for section in payload.sections if section.text_name in TABLES]
    if tables:
        yield Paragraph(
            "Tables that Xen carries out now or keeps: "
            + ", ".join(f"{section.text_name} ({count_text(section.size, 'byte')})" for section in tables)
            + "."
        )
    unknown = scene.result.unknown
    if unknown:
        yield Paragraph(
            f"{count_text(sum(part.size for part in unknown), 'byte')} of the code are unknown here, because what Xen "
            "writes there depends on memory that it fills in while it boots:"
        )
        yield Items(tuple(f"{hexadecimal(part.address)}: {part.why}" for part in unknown[:MOST_ROWS]))
    yield Table(
        ("section", "the build-id that it names"),
        (
            (BUILD_ID, _hex(scene.result.build_id)),
            (DEPENDS, _hex(scene.result.depends)),
        ),
    )


def _function(function: PatchedFunction) -> str:
    old = f"{function.name} at {hexadecimal(function.old_addr)}, {count_text(function.old_size, 'byte')}"
    if not function.new_addr:
        return f"{old}: {count_text(function.new_size, 'byte')} of it become NOPs"
    behind = ", behind the ENDBR64 that it begins with," if function.patch_offset else ""
    way = function.new_addr - function.old_addr
    return (
        f"{old}: a jump{behind} to the new one at {hexadecimal(function.new_addr)}, {size_text(way)} "
        f"{'above' if way > 0 else 'below'}"
    )


def change_of(function: PatchedFunction) -> Iterator[Block]:
    """Yield what applying does to a function's first bytes; nothing where they are not known."""
    if function.before is None or function.patched is None:
        return
    at = function.patch_offset
    # As far as both are known.
    size = min(len(function.before), len(function.patched), SHOWN)
    texts = [
        found[0] if (found := disassemble(code[at:], function.old_addr + at)) is not None else "no instruction"
        for code in (function.before, function.patched)
    ]
    yield Change(function.old_addr, function.before[:size], function.patched[:size], *texts)


def tell_symbol_table(scene: Scene) -> Iterator[Block]:
    """Tell which names later payloads may link to."""
    if scene.loaded is None:
        yield Paragraph("Nothing of it is kept." if scene.payload is not None else NOT_READ.text)
        return
    new = [symbol for symbol in scene.loaded.symbols if symbol.is_new]
    old = len(scene.loaded.symbols) - len(new)
    names = ", ".join(text_of(symbol.name) for symbol in new[:8]) + (", …" if len(new) > 8 else "")
    yield Paragraph(
        f"New names, which payloads that come later can link to: {len(new)}{f' ({names})' if names else ''}. Names of "
        f"new functions, which stand for the old ones: {old}. A name that is taken already would be refused."
    )
