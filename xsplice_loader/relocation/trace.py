"""Intermediate results of a load."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

    from xsplice_loader.memory.placement import Placement
    from xsplice_loader.payload import ObjectFile
    from xsplice_loader.relocation.resolution import ResolvedSymbols
    from xsplice_loader.results import PatchedFunction


class LoadTrace(NamedTuple):
    """What the steps of one load made, accepted or not."""

    payload: ObjectFile
    placement: Placement
    symbols: ResolvedSymbols
    image: np.ndarray
    """The payload's memory from its base on, as uint8."""
    functions: tuple[PatchedFunction, ...] = ()
    """What the entries of the function table would patch, also where Xen refused before it looked at them."""
