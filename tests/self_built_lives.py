"""Lives of payloads on Xen releases that were built from source: what the hypervisor and its tool answered."""

from __future__ import annotations

import json
import lzma
import tempfile
import zipfile
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from records import DATA

from xsplice_loader import Hypervisor

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = DATA / "self-built"
RULES = {
    **{name: name for name in ("4.7.0", "4.8.0", "4.11.0", "4.13.0", "4.16.0", "4.18.0", "4.18.5")},
    # The development branch after 4.22.0 was released.
    "master-2026-08": "4.22.0",
}
"""Whose rules each build follows."""


@dataclass(frozen=True)
class Life:
    """One payload on one hypervisor, from its upload to its unloading, a refusal, or a host crash."""

    file: str
    payload: bytes
    crashes: bool
    """The last step is the one that the host did not survive."""
    steps: tuple[dict[str, Any], ...]


@lru_cache(maxsize=1)
def _rows(build: str) -> tuple[dict[str, Any], ...]:
    with lzma.open(FOLDER / build / "lives.jsonl.xz", "rt", encoding="utf-8") as lines:
        return tuple(map(json.loads, lines))


def lives(build: str) -> Iterator[Life]:
    """Yield every life on one build."""
    with zipfile.ZipFile(FOLDER / build / "payloads.zip") as archive:
        for row in _rows(build):
            yield Life(row["file"], archive.read(row["file"]), row["died"] is not None, tuple(row["steps"]))


@lru_cache(maxsize=1)
def self_built_hypervisor(build: str) -> Hypervisor:
    """Return the hypervisor: its symbols, and the build-id, which a symbol list does not have."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "xen-syms.map"
        path.write_bytes(lzma.decompress((FOLDER / build / "xen-syms.map.xz").read_bytes()))
        hypervisor = Hypervisor.open(path, release=RULES[build])
    return replace(hypervisor, build_id=bytes.fromhex(_rows(build)[0]["xen_build_id"]))
