"""The simulated processor, as far as loading a payload depends on it (`spec/04 §2.2`, `§5.1`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from xsplice_loader.livepatch.patching import NopTable

ALWAYS = 2 * 32 + 29
"""The feature that every processor has: word 2, bit 29 (long mode)."""


class Processor(NamedTuple):
    """What Xen found out about the processor when it booted."""

    nops: NopTable = "p6"
    features: frozenset[int] = frozenset()
    """Numbers `word * 32 + bit`; `ALWAYS` need not be among them."""

    def has(self, feature: int) -> bool:
        """Tell whether the processor has a feature."""
        return feature == ALWAYS or feature in self.features
