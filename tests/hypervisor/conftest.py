from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest
from known_hypervisors import KNOWN, Known, Package, missing


@pytest.fixture(params=KNOWN, ids=lambda known: known.version)
def known(request: pytest.FixtureRequest) -> Known:
    """One of the recorded hypervisors."""
    record: Known = request.param
    return record


@pytest.fixture(scope="session")
def unpacked() -> bytes:
    """The recorded 4.17.7 as a plain ELF file."""
    return gzip.decompress(KNOWN[1].path.read_bytes())


@pytest.fixture(scope="session")
def package() -> Package:
    """The fetched package; without it the test is skipped, under CI=true it fails."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    found = Package(cache / "xsplice-loader" / "xen-4.17")
    if not found.xen_syms.is_file():
        missing(f"{found.tree} is not there; scripts/fetch-xen fetches it")
    return found
