"""Fixtures: recorded hypervisors, Debian's package, and programs that look at files."""

from __future__ import annotations

import gzip
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from forge_readback import require
from hypothesis import settings
from known_hypervisors import KNOWN, Known, Package, missing

if TYPE_CHECKING:
    from forge_readback import Tool


# A slow machine is no failure: nothing here is timed.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


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


@pytest.fixture
def run() -> Tool:
    """Run a program that must succeed in silence, and return what it prints."""

    def call(tool: str, *arguments: str, text: str | None = None) -> str:
        done = subprocess.run([require(tool), *arguments], input=text, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert not done.stderr, done.stderr
        return done.stdout

    return call
