"""A bar that shows how far a 32-bit displacement reaches, and where the target lies."""

from __future__ import annotations

from xsplice_loader.numbers import size_text
from xsplice_loader.releases import GIB

HALF = 16
"""Columns for 2 GiB to either side."""
REACH = 2 * GIB
BAR_START = "-2 GiB ["
"""What every bar has in it."""


def reach_bar(value: int) -> str:
    """Return the bar for a displacement of `value` bytes: `P` is the place, `S` the target.

    A target outside the reach stands beyond the end of the bar, on its side, with its distance.
    """
    cells = ["-"] * (2 * HALF + 1)
    cells[HALF] = "P"
    bar_left, bar_right = BAR_START, "] +2 GiB"
    if -REACH <= value < REACH:
        cells[HALF + round(value / REACH * HALF)] = "S"
        return bar_left + "".join(cells) + bar_right
    distance = size_text(value)
    if value < 0:
        return f"S <~~ {distance} ~~ {bar_left}{''.join(cells)}{bar_right}"
    return f"{bar_left}{''.join(cells)}{bar_right} ~~ {distance} ~~> S"
