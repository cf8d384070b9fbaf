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
from xsplice_loader.hypervisor.captured import CapturedMemory
from xsplice_loader.hypervisor.contents import Piece, Pieces

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = DATA / "self-built"
RULES = {
    **{name: name for name in ("4.7.0", "4.8.0", "4.11.0", "4.13.0", "4.16.0", "4.18.0", "4.18.5")},
    # The development branch after 4.22.0 was released.
    "master-2026-08": "4.22.0",
}
"""Whose rules each build follows."""
_VPMU_DUMP = {
    "4.16.0": "488b87a80300004885c0740e488b40304885c07405e8ea390500c341574156",
    "4.18.0": "f687880300000174060f0b0fffff90c34155415455534883ec1848c7042400",
    "4.18.5": "f687880300000174060f0b0fffff90e9177ff9ff4155415455534883ec1848",
    "master-2026-08": "f68758030000017417554889e50f0b0f0b0f0b5de957aff3ff0f1f80000000",
}
CODE: dict[str, dict[bytes, str]] = {
    build: {
        b"xen_minor_version": minor,
        b"xen_extra_version": extra,
        **({b"vpmu_dump": _VPMU_DUMP[build]} if build in _VPMU_DUMP else {}),
    }
    for build, minor, extra in (
        ("4.7.0", "b807000000c3", "488d0598ed0f00c3"),
        ("4.8.0", "b808000000c3", "488d05021c1000c3"),
        ("4.11.0", "b80b000000c3", "488d05f3121300c3"),
        ("4.13.0", "b80d000000c3", "488d05c7410e00c3"),
        ("4.16.0", "b810000000c3", "488d0560860c00c3"),
        ("4.18.0", "b812000000c3", "488d05993e0c00c3"),
        ("4.18.5", "b812000000e9", ""),
        ("master-2026-08", "b817000000e9", ""),
    )
}
"""Bytes of the running hypervisor that its records tell.

They are from the lines on expectations and from the bytes after a jump; the two bytes of a displacement that are left
are those with which the SHA-256 of the memory that they are saved in is the recorded one.
"""


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
    """Return the hypervisor: its symbols, and what the records tell beside them, the build-id and some bytes."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "xen-syms.map"
        path.write_bytes(lzma.decompress((FOLDER / build / "xen-syms.map.xz").read_bytes()))
        hypervisor = Hypervisor.open(path, release=RULES[build])
    build_id = bytes.fromhex(_rows(build)[0]["xen_build_id"])
    pieces = []
    for name, code in CODE[build].items():
        address = hypervisor.symbols.address_of(name)
        assert address is not None
        contents = bytes.fromhex(code)
        pieces.append(Piece(address, len(contents), memoryview(contents)))
    return replace(hypervisor, build_id=build_id, _captured=CapturedMemory("records", build_id, Pieces(pieces)))
