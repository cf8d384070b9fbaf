"""Finders of addresses that do harm, for `--vmap`."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

BASE = 0xFFFF82D050000000
DEADLY_PAGES = 3


def deadly(_mfns: Sequence[int], pages: int) -> int:
    """Kill the process that asks for a payload of three pages."""
    if pages == DEADLY_PAGES:
        os._exit(9)
    return BASE


def slow(_mfns: Sequence[int], _pages: int) -> int:
    """Take a while."""
    time.sleep(0.05)
    return BASE


def leaving(_mfns: Sequence[int], _pages: int) -> int:
    """End the program, as code that was written for the command line may."""
    raise SystemExit(0)
