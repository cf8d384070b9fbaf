"""Payloads with tables that Xen carries out while it loads: what real hypervisors made of them."""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from typing import Any

from records import DATA, RELEASES, recorded_hypervisor

from xsplice_loader import Host

Row = dict[str, Any]


def recorded(*, of_exception_tables: bool) -> list[tuple[str, Row]]:
    """Rows by release; those on exception tables have names with `ex-`."""
    rows = [
        (release, json.loads(line))
        for release in RELEASES
        for line in (DATA / f"real-xen-{release}" / "tables.jsonl").read_text().splitlines()
    ]
    return [(release, row) for release, row in rows if row["name"].startswith("ex-") is of_exception_tables]


def label(value: object) -> str:
    return value["name"] if isinstance(value, dict) else str(value)


def payload(release: str, name: str) -> bytes:
    with zipfile.ZipFile(DATA / f"real-xen-{release}" / "tables.zip") as payloads:
        return payloads.read(name)


def check_against_record(release: str, row: Row) -> None:
    host = Host(recorded_hypervisor(release), nops="k8", cpu_features=row.get("cpu_features", ()))
    result = host.upload(row["name"], payload(release, row["name"]))
    assert (result.verdict, result.errno) == (row["verdict"], row.get("errno"))
    if "log" in row:
        assert result.xen_message == row["log"]
    if "console" in row:
        # Alternatives come before whatever is refused after them.
        printed = re.compile(f"^livepatch: {re.escape(row['name'])}:? ")
        assert [printed.sub("", line) for line in result.log] == row["console"] + (row.get("log") or "").splitlines()
    if "image_sha256" in row:
        assert result.regions is not None
        assert (f"{result.regions[0].address:#018x}", result.pages) == (row["text_addr"], row["pages"])
        assert hashlib.sha256(result.image or b"").hexdigest() == row["image_sha256"]
