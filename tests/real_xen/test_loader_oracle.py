"""The loader without a boot does what booted hypervisors were recorded to do."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest
from records import recorded_hypervisor

from real_xen.coverage import RECORDS
from real_xen.recorded_uploads import first_uploads, recorded_uploads

if TYPE_CHECKING:
    from collections.abc import Iterator

    from real_xen.recorded_uploads import RecordedUpload
    from real_xen.upload_comparison import UploadBench


@pytest.fixture(scope="module", params=RECORDS)
def upload_bench(request: pytest.FixtureRequest) -> UploadBench:
    if os.environ.get("REAL_XEN") != "1":
        pytest.skip("the real hypervisor takes a minute: REAL_XEN=1 asks for it (so does scripts/real-xen)")
    from real_xen.upload_comparison import UploadBench  # noqa: PLC0415 - it needs the emulator unicorn

    return UploadBench(request.param, lambda text: print(text, file=sys.stderr))


def differences(bench: UploadBench, recorded: Iterator[RecordedUpload], release: str) -> tuple[int, list[str]]:
    """Upload all again; where Debian has a later build by now, with its build-id and without addresses."""
    build_id = recorded_hypervisor(release).build_id or b""
    same = build_id == bench.build_id
    count, found = 0, []
    for upload in recorded:
        count += 1
        wanted = upload if same else upload.for_build(build_id, bench.build_id)
        found += wanted.differences(bench.oracle.upload(upload.uploaded_as, wanted.data), same_build=same)
    return count, found


def test_recorded_payloads(upload_bench: UploadBench) -> None:
    release, _ = RECORDS[upload_bench.release]
    count, found = differences(upload_bench, recorded_uploads(release), release)
    assert not found
    assert count > 500


def test_first_uploads_of_recorded_sequences(upload_bench: UploadBench) -> None:
    _, release = RECORDS[upload_bench.release]
    count, found = differences(upload_bench, first_uploads(release), release)
    assert not found
    assert count > 50


def test_what_differs_is_noticed(upload_bench: UploadBench, monkeypatch: pytest.MonkeyPatch) -> None:
    release, _ = RECORDS[upload_bench.release]
    upload = next(upload for upload in recorded_uploads(release) if upload.verdict == "accepted")
    data = upload.data.replace(recorded_hypervisor(release).build_id or b"", upload_bench.build_id)
    real = upload_bench.oracle.upload("p", data)
    assert not upload_bench.try_payload("p", data).differences
    assert real.loaded is not None
    contents = real.loaded.contents or b""
    wrong = bytes([upload_bench._after_boot[0] ^ 1]) + upload_bench._after_boot[1:]
    act = upload_bench.oracle.act
    with monkeypatch.context() as patch:
        patch.setattr(upload_bench, "_after_boot", wrong)
        assert [difference.field for difference in upload_bench.try_payload("p", data).differences] == ["text"]
    with monkeypatch.context() as patch:
        patch.setattr(upload_bench.oracle, "act", lambda verb: act(verb)._replace(payload_rc=-5))
        (difference,) = upload_bench.try_payload("p", data).differences
        assert (difference.command, difference.field) == ("apply", "verdict")
    spoilt = {
        "verdict": real._replace(rc=-22),
        "log": real._replace(console=("livepatch: p: something",)),
        "key x": real._replace(x=None),
        "memory": real._replace(loaded=real.loaded._replace(contents=contents[:-1] + bytes([contents[-1] ^ 1]))),
        "permissions": real._replace(loaded=real.loaded._replace(permissions=("rwx", *real.loaded.permissions[1:]))),
    }
    for field, verdict in spoilt.items():
        monkeypatch.setattr(upload_bench.oracle, "upload", lambda _name, _data, verdict=verdict: verdict)
        assert [difference.field for difference in upload_bench.try_payload("p", data).differences] == [field]


def test_each_crash_is_the_first(upload_bench: UploadBench) -> None:
    release, _ = RECORDS[upload_bench.release]
    upload = next(upload for upload in recorded_uploads(release) if upload.verdict == "crash")
    data = upload.data.replace(recorded_hypervisor(release).build_id or b"", upload_bench.build_id)
    first, second, third = (upload_bench.oracle.upload(upload.uploaded_as, data) for _ in range(3))
    assert "page fault" in (first.crash or "")
    assert first == second == third


def test_an_upload_leaves_nothing_to_the_next(upload_bench: UploadBench) -> None:
    release, _ = RECORDS[upload_bench.release]
    upload = next(upload for upload in recorded_uploads(release) if upload.verdict == "accepted")
    data = upload.data.replace(recorded_hypervisor(release).build_id or b"", upload_bench.build_id)
    first, second = (upload_bench.oracle.upload(upload.uploaded_as, data) for _ in range(2))
    assert first.verdict == "accepted"
    assert first == second
