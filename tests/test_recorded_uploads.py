"""Every recorded upload to a real hypervisor, made again here: verdict, errno, log line, addresses, bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from records import RELEASES, Record, chain, recorded_hypervisor, single_uploads

from xsplice_loader import Host

if TYPE_CHECKING:
    from xsplice_loader import LoadResult

SINGLE = [record for release in RELEASES for record in single_uploads(release)]


def check(result: LoadResult, record: Record) -> None:
    assert result.verdict == record.verdict
    assert result.errno == record.errno
    assert result.xen_message == record.log
    placed = record.placed
    if placed is None:
        return
    assert result.regions is not None
    assert [region.address for region in result.regions] == [
        int(placed[f"{name}_addr"], 16) for name in ("text", "rw", "ro")
    ]
    assert [region.pages for region in result.regions] == [placed[f"{name}_pages"] for name in ("text", "rw", "ro")]
    assert result.pages == placed["pages"]
    assert result.image == record.image
    assert [
        (function.name, function.old_addr, function.old_size, function.new_addr, function.new_size)
        for function in result.funcs
    ] == [
        (row["name"], int(row["old_addr"], 16), row["old_size"], int(row["new_addr"], 16), row["new_size"])
        for row in placed["funcs"]
    ]
    assert result.build_id == bytes.fromhex(placed["build-id"])
    assert result.depends == bytes.fromhex(placed["depend-on"])


@pytest.mark.parametrize("record", SINGLE, ids=lambda record: f"{record.release}-{record.name}")
def test_single_upload(record: Record) -> None:
    host = Host(recorded_hypervisor(record.release), nops="k8")
    check(host.upload(record.name, record.data), record)


@pytest.mark.parametrize("release", RELEASES)
def test_uploads_one_after_the_other(release: str) -> None:
    host = Host(recorded_hypervisor(release), nops="k8")
    for record in chain(release):
        check(host.upload(record.name, record.data), record)


# Xen replaces indirect calls in its own text when it boots; the records were read from a running one.
PATCHED_AT_BOOT = b"\x0f\x0b\x0f\xff\xff\x90"


@pytest.mark.parametrize(
    "record", [record for record in SINGLE if record.fields.get("patched")], ids=lambda r: f"{r.release}-{r.name}"
)
def test_bytes_after_apply(record: Record) -> None:
    result = Host(recorded_hypervisor(record.release), nops="k8").upload(record.name, record.data)
    for before_row, patched_row in zip(record.fields["before"], record.fields["patched"], strict=True):
        before, patched = (bytes.fromhex(row["bytes"]) for row in (before_row, patched_row))
        # Up to there; all of what is shown where Xen patched nothing.
        length = min(before.find(PATCHED_AT_BOOT) % (len(before) + 1), 32)
        (function,) = (f for f in result.funcs if f.old_addr == int(before_row["addr"], 16))
        assert function.before is not None
        assert function.patched is not None
        assert function.before[:length] == before[:length]
        assert function.patched[:length] == patched[:length]
        assert function.before != function.patched
