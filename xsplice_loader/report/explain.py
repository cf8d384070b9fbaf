"""Explanations as lines of text: every kind of block for a given width, readable without colour."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from xsplice_loader.report.bits import bit_lines
from xsplice_loader.report.escaping import for_terminal
from xsplice_loader.report.findings import finding_lines
from xsplice_loader.report.reach import BAR_START, reach_bar
from xsplice_loader.teaching.blocks import (
    Bits,
    Change,
    Found,
    Heading,
    Items,
    Listing,
    Paragraph,
    Reach,
    Table,
    Verdict,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from xsplice_loader.report.paint import Paint
    from xsplice_loader.teaching.blocks import Block

NARROWEST, WIDEST = 40, 120
"""Columns that text is broken for at least and at most; longer lines are hard to read."""
SHOWN_ROWS = 12
"""Rows of a table that are shown without -v."""
INDENT = "  "
GAP = "  "


class Style:
    """How to show: columns, colours, and whether everything is wanted."""

    def __init__(self, width: int, paint: Paint, *, verbosity: int = 0) -> None:
        """`verbosity`: -1 least, 0 ordinary, 1 everything."""
        self.width = min(max(width, NARROWEST), WIDEST)
        self.paint = paint
        self.verbosity = verbosity

    def narrowed(self, columns: int) -> Style:
        """Return the style for text that is moved to the right."""
        return Style(self.width - columns, self.paint, verbosity=self.verbosity)


def block_lines(blocks: Iterable[Block], style: Style) -> Iterator[str]:
    """Yield the lines of some blocks, close together."""
    for block in blocks:
        yield from _SHOWN_BY[type(block)](block, style)


def lesson_lines(blocks: Iterable[Block], style: Style) -> Iterator[str]:
    """Yield the lines of a lesson, an empty one before each heading and before text that follows something else."""
    before: Block | None = None
    for block in blocks:
        starts_anew = isinstance(block, Heading) or (isinstance(block, Paragraph) and not isinstance(before, Heading))
        if before is not None and starts_anew:
            yield ""
        yield from _SHOWN_BY[type(block)](block, style)
        before = block


def indented(lines: Iterable[str], by: str = INDENT) -> Iterator[str]:
    """Yield lines moved to the right."""
    return (by + line if line else line for line in lines)


def wrapped(text: str, width: int, further: str = "") -> list[str]:
    """Return text in lines; `further` begins all but the first."""
    return textwrap.wrap(for_terminal(text), max(width, 1), subsequent_indent=further, break_on_hyphens=False) or [""]


def _heading(block: Heading, style: Style) -> Iterator[str]:
    for line in wrapped(block.text, style.width):
        yield style.paint(line, "strong")


def _paragraph(block: Paragraph, style: Style) -> Iterator[str]:
    yield from wrapped(block.text, style.width)


def _items(block: Items, style: Style) -> Iterator[str]:
    shown = block.items if style.verbosity > 0 else block.items[:SHOWN_ROWS]
    for item in shown:
        first, *others = wrapped(item, style.width - 4)
        yield f"  - {first}"
        yield from (f"    {line}" for line in others)
    yield from _left_off(len(block.items) - len(shown))


def _table(block: Table, style: Style) -> Iterator[str]:
    shown = block.rows if block.whole or style.verbosity > 0 else block.rows[:SHOWN_ROWS]
    rows = [tuple(map(for_terminal, row)) for row in shown]
    columns = list(zip(block.head, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    right = [_is_number(column[1:]) for column in columns]
    if any(block.head):
        yield style.paint(INDENT + _row(block.head, widths, right), "quiet")
    used = len(INDENT) + sum(widths[:-1]) + len(GAP) * (len(widths) - 1)
    room = style.width - used
    for row in rows:
        # A last column that has no room is shown whole all the same: a name in slices helps nobody.
        parts = textwrap.wrap(row[-1], room, break_long_words=False, break_on_hyphens=False) if room > 8 else [row[-1]]
        parts = parts or [""]
        yield INDENT + _row((*row[:-1], parts[0]), widths, right)
        yield from (" " * used + part for part in parts[1:])
    yield from _left_off(len(block.rows) - len(shown))


def _is_number(cells: Iterable[str]) -> bool:
    return all(cell.replace(",", "").isdecimal() for cell in cells)


def _row(cells: tuple[str, ...], widths: list[int], right: list[bool]) -> str:
    padded = (
        cell.rjust(width) if to_right else cell.ljust(width)
        for cell, width, to_right in zip(cells, widths, right, strict=True)
    )
    return GAP.join(padded).rstrip()


def _left_off(count: int) -> Iterator[str]:
    if count:
        yield f"  … and {count:,} more; -v shows them"


def _listing(block: Listing, style: Style) -> Iterator[str]:
    del style
    yield from (f"    {for_terminal(line)}".rstrip() for line in block.lines)


def _verdict(block: Verdict, style: Style) -> Iterator[str]:
    for line in wrapped(block.text, style.width - 2):
        yield INDENT + style.paint(line, "accepted" if block.good else "refused")


def _found(block: Found, style: Style) -> Iterator[str]:
    for line in finding_lines(block.findings, style.verbosity, style.paint):
        indent = len(line) - len(line.lstrip())
        # What is drawn stays in one piece, and so does what is coloured: escapes have no width.
        if len(line) <= style.width or "\x1b" in line or BAR_START in line:
            yield line
        else:
            yield from textwrap.wrap(
                line, style.width, subsequent_indent=" " * (indent + 2), break_long_words=False, break_on_hyphens=False
            )


def _change(block: Change, style: Style) -> Iterator[str]:
    before, after = (" ".join(f"{byte:02x}" for byte in code) for code in (block.before, block.after))
    marks = " ".join("^^" if old != new else "  " for old, new in zip(block.before, block.after, strict=True)).rstrip()
    for label, code, text in (("before", before, block.before_text), ("after", after, block.after_text)):
        yield f"{INDENT}{label:7}{code}"
        if text:
            yield f"{INDENT}{'':7}{style.paint(for_terminal(text), 'strong')}"
    if marks:
        yield f"{INDENT}{'':7}{style.paint(marks, 'strong')} changed"


def _bits(block: Bits, style: Style) -> Iterator[str]:
    yield from (INDENT + line for line in bit_lines(block.value, block.kept, style.paint))


def _reach(block: Reach, style: Style) -> Iterator[str]:
    del style
    yield f"{INDENT}{reach_bar(block.value)}"


_SHOWN_BY: dict[type, Callable[..., Iterator[str]]] = {
    Heading: _heading,
    Paragraph: _paragraph,
    Items: _items,
    Table: _table,
    Listing: _listing,
    Verdict: _verdict,
    Found: _found,
    Change: _change,
    Bits: _bits,
    Reach: _reach,
}
