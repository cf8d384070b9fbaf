"""Hundreds of payloads that are wrong in one respect each: what real hypervisors said, said here too."""

from __future__ import annotations

import hashlib
import json
import zipfile
from typing import Any

import pytest
from records import DATA, RELEASES, recorded_hypervisor

from xsplice_loader import Host

VARIANTS = [
    (release, json.loads(line))
    for release in RELEASES
    for line in (DATA / f"real-xen-{release}" / "variants.jsonl").read_text().splitlines()
]


@pytest.mark.parametrize(
    ("release", "row"), VARIANTS, ids=lambda value: value if isinstance(value, str) else value["name"]
)
def test_variant(release: str, row: dict[str, Any]) -> None:
    with zipfile.ZipFile(DATA / f"real-xen-{release}" / "variants.zip") as payloads:
        data = payloads.read(row["name"])
    result = Host(recorded_hypervisor(release), nops="k8").upload(row["name"], data)
    assert (result.verdict, result.errno) == (row["verdict"], row.get("errno"))
    if "log" in row:
        assert result.xen_message == row["log"]
    if "text_addr" in row:
        assert result.regions is not None
        assert [f"{region.address:#018x}" for region in result.regions] == [
            row["text_addr"],
            row["rw_addr"],
            row["ro_addr"],
        ]
        assert result.pages == row["pages"]
    if "image_sha256" in row:
        assert hashlib.sha256(result.image or b"").hexdigest() == row["image_sha256"]
