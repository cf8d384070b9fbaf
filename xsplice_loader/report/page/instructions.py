"""Disassembly for the page: instructions with relocated fields, and functions before and after they are patched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xsplice_loader.relocation.instructions import MAX_INSTRUCTION, disassembler, finder_in
from xsplice_loader.report.document import address
from xsplice_loader.report.page.columns import placed_groups

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from xsplice_loader.releases import Release
    from xsplice_loader.relocation.sections import RelocationSection
    from xsplice_loader.relocation.trace import LoadTrace
    from xsplice_loader.results import PatchedFunction

FIRST = 1000
"""Relocations that are disassembled in any case, from the first on."""
REFUSED = 2000
"""Relocations that do not fit and are disassembled wherever they stand."""
FUNCTIONS = 64
"""Patched functions that are disassembled."""


def instructions(trace: LoadTrace, release: Release, refused: Collection[tuple[str | None, int | None]]) -> list[Any]:
    """Return `[row, offset, bytes, text in the file, text with the symbol]` for relocations that have an instruction.

    `row` counts over all relocation sections, `offset` is the instruction's in its section, the bytes are the file's.
    """
    found: list[Any] = []
    first_row, left = 0, REFUSED
    for group in placed_groups(trace, release):
        if group.target.is_executable:
            name = group.target.text_name
            rows = [row for row in range(len(group.entries)) if first_row + row < FIRST or (name, row) in refused]
            early = sum(first_row + row < FIRST for row in rows)
            wanted = rows[: early + left]
            left -= len(wanted) - early
            found += ([first_row + row, *rest] for row, *rest in _of_group(group, trace, wanted))
        first_row += len(group.entries)
    return found


def _of_group(group: RelocationSection, trace: LoadTrace, rows: Sequence[int]) -> Iterator[list[Any]]:
    target = group.target
    address_of_target = trace.placement.addresses[target.index]
    start = address_of_target - trace.placement.base
    contents = trace.image[start : start + target.size]
    finder = finder_in(trace.payload, target.index, contents, address_of_target)
    in_file = trace.payload.bytes_of(target)
    for row in rows:
        entry = group.entries[row]
        offset, index = int(entry["offset"]), int(entry["symbol"])
        if index >= len(trace.payload.symbols) or offset >= target.size:
            continue
        instruction = finder.find(offset, trace.payload.symbol_name(index))
        if instruction is None:
            continue
        code = in_file[instruction.offset : instruction.offset + instruction.size]
        yield [row, instruction.offset, code.hex(), _text(code, instruction.offset), instruction.text]


def functions_code(functions: Sequence[PatchedFunction]) -> list[dict[str, Any]]:
    """Return each patched function with its bytes before and after, and what they mean."""
    return [
        {
            "name": function.name,
            "old_addr": address(function.old_addr),
            "new_addr": address(function.new_addr),
            "old_size": function.old_size,
            "new_size": function.new_size,
            "patch_offset": function.patch_offset,
            "before": function.before_hex,
            "patched": function.patched_hex,
            "code": _lines(function.before, function.old_addr) if number < FUNCTIONS else [],
        }
        for number, function in enumerate(functions)
    ]


def _lines(code: bytes | None, at: int) -> list[list[Any]]:
    """Return `[offset, size, text]` for the instructions in some bytes; what does not decode is left out."""
    return [
        [place - at, size, f"{mnemonic} {operands}".strip()]
        for place, size, mnemonic, operands in disassembler().disasm_lite(code or b"", at)
    ]


def _text(code: bytes, at: int) -> str:
    """Return one instruction as text, as at offset `at` of its section."""
    for _, _, mnemonic, operands in disassembler().disasm_lite(code[:MAX_INSTRUCTION], at, 1):
        return f"{mnemonic} {operands}".strip()
    return ""
