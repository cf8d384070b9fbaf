"""The Python names of the contract, and the rules on what a callback may answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from records import DATA, recorded_hypervisor, single_uploads

import xsplice_loader
from xsplice_loader import Host, Hypervisor, LoadError, UnknownReleaseError, UnknownVmapError, load
from xsplice_loader.forge import forge

SAMPLES = Path(__file__).parents[1] / "payloads"
HELLO = forge((SAMPLES / "hello.s").read_text())
MODEL = Hypervisor.model()


def test_public_names() -> None:
    assert all(hasattr(xsplice_loader, name) for name in xsplice_loader.__all__)
    with pytest.raises(AttributeError):
        _ = xsplice_loader.nothing_of_the_kind


def test_load_takes_a_path_or_bytes(tmp_path: Path) -> None:
    path = tmp_path / "hello.livepatch"
    path.write_bytes(HELLO)
    by_path, by_bytes = load(path, MODEL), load(HELLO, MODEL)
    assert by_path.accepted
    assert by_bytes.accepted
    assert by_path.image == by_bytes.image
    assert (by_path.name, by_path.file) == ("hello", str(path))
    by_path.raise_for_verdict()


def test_a_bad_payload_is_a_result() -> None:
    result = load(b"MZ" + bytes(100), MODEL)
    assert (result.verdict, result.errno, result.errno_name, result.image) == ("refused", 22, "EINVAL", None)
    with pytest.raises(LoadError, match="7f 45 4c 46") as caught:
        result.raise_for_verdict()
    assert caught.value.errno == 22


def test_a_missing_file_is_a_result(tmp_path: Path) -> None:
    result = load(tmp_path / "missing", MODEL)
    assert result.verdict is None
    with pytest.raises(LoadError):
        result.raise_for_verdict()


def test_the_model_is_chosen_by_its_build_id() -> None:
    assert load(HELLO).accepted
    assert not load(HELLO).findings


def test_a_payload_for_an_unknown_hypervisor_is_checked_all_the_same() -> None:
    record = next(record for record in single_uploads("4.17.7") if record.name == "ok-calls-xen")
    result = load(record.data)
    assert result.verdict == "accepted"
    assert {finding.severity for finding in result.findings} == {"warning"}
    far = load(record.data, vmap="default")
    assert far.errno_name == "EOVERFLOW"
    unknown = next(record for record in single_uploads("4.17.7") if record.name == "bad-unknown-symbol")
    assumed = load(unknown.data)
    assert assumed.verdict == "accepted"
    assert [finding.symbol for finding in assumed.findings if finding.symbol] == ["no_such_function"]


def test_wrong_arguments() -> None:
    with pytest.raises(UnknownReleaseError):
        load(HELLO, MODEL, release="4.17")
    with pytest.raises(UnknownVmapError):
        load(HELLO, MODEL, vmap="nowhere")


@pytest.mark.parametrize(
    "answer",
    [
        None,
        0xFFFF82D050000001,
        MODEL.text_start,
        MODEL.image_end - 4096,
        2**64 - 4096,
        2**64,
        -4096,
        0x1000,
        0x0000_8000_0000_0000,
        0xFFFF830000000000,  # the directmap
        0xFFFF82D07FF00000,  # the stubs at the top of Xen's range
        1.5,
        "0xffff82d050000000",
    ],
)
def test_a_callback_that_answers_badly_is_enomem(answer: Any) -> None:
    result = load(HELLO, MODEL, vmap=lambda _mfns, _pages: answer)
    assert (result.errno_name, result.stage, result.regions) == ("ENOMEM", "placement", None)


def test_a_callback_gets_frames_and_their_number() -> None:
    asked: list[tuple[int, int]] = []

    def callback(mfns: object, pages: int) -> int:
        asked.append((len(set(mfns)), pages))  # type: ignore[call-overload]
        return 0xFFFF82D050000000

    assert load(HELLO, MODEL, vmap=callback).accepted
    assert asked == [(3, 3)]


def test_an_address_is_not_given_twice() -> None:
    host = Host(MODEL, vmap=lambda _mfns, _pages: 0xFFFF82D050000000)
    assert host.upload("one", HELLO).accepted
    second = host.upload("two", HELLO)
    assert second.errno_name == "ENOMEM"


def test_a_callback_is_asked_only_when_xen_would_ask() -> None:
    asked: list[int] = []

    def callback(_mfns: object, pages: int) -> int:
        asked.append(pages)
        return 0xFFFF82D050000000

    stranger = forge((SAMPLES / "wrong-xen.s").read_text())
    host = Host(MODEL, release="4.20.3", vmap=callback)
    assert host.upload("stranger", stranger).stage == "build-id"
    assert not asked
    assert host.upload("hello", HELLO).accepted
    assert asked == [3]


def test_what_a_callback_raises_is_the_callers_and_nothing_is_lost() -> None:
    def fails(_mfns: object, _pages: int) -> int:
        raise RuntimeError("no idea")

    host = Host(MODEL, vmap=fails)
    before = host.state.virtual.heap.free_frames
    with pytest.raises(RuntimeError, match="no idea"):
        host.upload("hello", HELLO)
    assert host.state.virtual.heap.free_frames == before


@pytest.mark.parametrize("vmap", ["xen", "callback", "slots", "tree", "loader"])
def test_every_design_near_the_text_serves(vmap: str) -> None:
    result = load(HELLO, MODEL, vmap=vmap)
    assert result.accepted
    # What was wrong with a draft is a note, never a verdict.
    assert {finding.severity for finding in result.findings} <= {"note"}
    assert bool(result.findings) == (vmap in ("callback", "slots", "loader"))


def test_refused_payloads_leave_the_host_as_it_was() -> None:
    for release in ("4.14.6", "4.17.7", "4.20.3"):
        host = Host(recorded_hypervisor(release))
        records = {record.name: record for record in single_uploads(release)}
        for record in records.values():
            if record.verdict == "refused":
                host.upload(record.name, record.data)
        assert host.payloads == ()
        good = records["ok-plain"]
        assert good.placed is not None
        result = host.upload("good", good.data)
        assert result.regions is not None
        # The address that the real one gave on a host where nothing was refused before.
        assert result.regions[0].address == int(good.placed["text_addr"], 16)


def test_a_name_is_127_bytes_at_most() -> None:
    host = Host(MODEL)
    assert host.upload("n" * 128, HELLO).errno_name == "EINVAL"
    assert host.upload("n" * 127, HELLO).accepted


def test_a_hypervisor_is_found_by_its_build_id() -> None:
    known = recorded_hypervisor("4.17.7")
    assert known.build_id is not None
    found = Hypervisor.find(known.build_id, [DATA / "real-xen-4.14.6", DATA / "real-xen-4.17.7"])
    assert found is not None
    assert found.build_id == known.build_id
    assert Hypervisor.find(bytes(20), [DATA / "real-xen-4.17.7"]) is None
