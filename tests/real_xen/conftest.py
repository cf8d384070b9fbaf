"""The real hypervisor, where it is asked for."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from real_xen.bench import Bench


def _say(text: str) -> None:
    print(text, file=sys.stderr)


@pytest.fixture(scope="session")
def bench() -> Bench:
    """Debian's Xen 4.17 in an emulator; skipped unless the environment has REAL_XEN=1."""
    if os.environ.get("REAL_XEN") != "1":
        pytest.skip("the real hypervisor takes a minute: REAL_XEN=1 asks for it (so does scripts/real-xen)")
    from real_xen.bench import Bench  # noqa: PLC0415 - it needs the emulator unicorn

    return Bench("4.17", _say)
