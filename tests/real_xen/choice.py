"""Random choices from a seed."""

from __future__ import annotations

import random

EDGES = (
    0, 1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 104, 127, 128, 255, 256, 4095, 4096, 4097, 65535, 65536,
    1 << 20, 1 << 21, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 62, (1 << 63) - 1, -(1 << 63), -4096, -8, -1,
)  # fmt: skip


class Choice(random.Random):
    """A random generator that also draws numbers near limits."""

    def edge(self) -> int:
        """Return a number near which something may happen."""
        return self.choice(EDGES) + self.choice((0, 0, 0, -1, 1, 8))
