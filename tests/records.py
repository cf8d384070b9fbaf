"""The recorded answers of real hypervisors, as the tests see them."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from xsplice_loader import Hypervisor

DATA = Path(__file__).parent / "data"
RELEASES = ("4.14.6", "4.17.7", "4.20.3")


@dataclass(frozen=True)
class Record:
    """One payload, and what the real hypervisor made of it."""

    release: str
    payload: Path
    fields: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.fields["name"])

    @property
    def data(self) -> bytes:
        return self.payload.read_bytes()

    @property
    def errno(self) -> int | None:
        number = self.fields["upload"]["errno"]
        return None if number is None else int(number)

    @property
    def verdict(self) -> str:
        return "accepted" if self.fields["upload"]["rc"] == 0 else "refused"

    @property
    def log(self) -> str | None:
        """Everything the hypervisor's console showed during the upload, without its prefixes."""
        lines = "\n".join(line.removeprefix("(XEN) ") for line in self.fields["upload"]["xen"])
        for prefix in (f"livepatch: {self.name}: ", f"livepatch: {self.name} "):
            lines = lines.removeprefix(prefix)
        return lines or None

    @property
    def placed(self) -> dict[str, Any] | None:
        placed: dict[str, Any] | None = self.fields.get("placed")
        return placed

    @property
    def image(self) -> bytes | None:
        if self.placed is None:
            return None
        return gzip.decompress(
            (DATA / f"real-xen-{self.release}" / "images" / f"{self.placed['image']}.gz").read_bytes()
        )


def _read(release: str, file: str, payloads: str) -> tuple[Record, ...]:
    folder = DATA / f"real-xen-{release}"
    rows = map(json.loads, (folder / file).read_text().splitlines())
    return tuple(Record(release, folder / payloads / row["file"], row) for row in rows)


def single_uploads(release: str) -> tuple[Record, ...]:
    """Payloads that were uploaded to a host with no other payload on it."""
    return _read(release, "verdicts.jsonl", "payloads")


def chain(release: str) -> tuple[Record, ...]:
    """Payloads that were uploaded one after the other to one host."""
    return _read(release, "chain.jsonl", "payloads/chain")


@lru_cache
def recorded_hypervisor(release: str) -> Hypervisor:
    """The hypervisor that the records are from, as far as it was kept."""
    return Hypervisor.open(DATA / f"real-xen-{release}" / "hypervisor.elf.gz")
