"""Cells: the recorded hypervisors are the judge of verdicts, and the loader itself of what is asked beyond one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from checking.checks import HYPERVISORS, cells_of, check, check_json
from records import DATA, RELEASES, single_uploads

from xsplice_loader import Host, Hypervisor, load
from xsplice_loader.forge import forge

if TYPE_CHECKING:
    from pathlib import Path

PAGE = 4096
MODEL = Hypervisor.model()
WIDE = "0xffff82cfa0000000-0xffff82d0e0000000"
"""Five GiB around Xen's image: more than 32 bits reach."""


@pytest.mark.parametrize("release", RELEASES)
def test_verdicts_are_those_of_the_real_hypervisor(release: str) -> None:
    records = {record.payload.name: record for record in single_uploads(release) if record.fields["died"] is None}
    files = [record.payload for record in records.values()]
    cells = {
        cell["payload"].rpartition("/")[2]: cell
        for cell in check_json("-x", HYPERVISORS[release], "--nops", "k8", *files)["cells"]
    }
    assert set(cells) == set(records)
    for name, record in records.items():
        cell = cells[name]
        assert cell["verdict"] == record.verdict, name
        assert (cell["errno"] or {}).get("number") == record.errno, name
        if record.verdict == "refused":
            assert cell["xen_message"] == record.log, name


def test_every_payload_is_checked_on_every_hypervisor(tmp_path: Path) -> None:
    folder = tmp_path / "builds"
    folder.mkdir()
    for release, path in HYPERVISORS.items():
        (folder / f"xen-{release}.gz").write_bytes(path.read_bytes())
    (folder / "vmlinuz").write_bytes(b"MZ" + bytes(5000))
    own = [next((DATA / f"real-xen-{release}" / "payloads").glob("ok-plain*")) for release in RELEASES]
    for number, path in enumerate(own):
        (tmp_path / f"p{number}.livepatch").write_bytes(path.read_bytes())
    document = check_json("-x", folder, tmp_path / "p*.livepatch", status=1)
    assert [hypervisor["release"] for hypervisor in document["hypervisors"]] == ["4.14.6", "4.17.7", "4.20.4-pre"]
    verdicts = [cell["verdict"] for cell in document["cells"]]
    assert verdicts == ["accepted" if row == column else "refused" for column in range(3) for row in range(3)]
    matched = check_json("-x", folder, "--match-build-id", tmp_path / "p*.livepatch", status=0)
    assert [cell["verdict"] for cell in matched["cells"]] == ["accepted"] * 3
    assert [cell["hypervisor"].rpartition("/")[2] for cell in matched["cells"]] == [
        f"xen-{release}.gz" for release in RELEASES
    ]
    assert "none of the 1 hypervisors" in check("-x", HYPERVISORS["4.17.7"], "--match-build-id", own[0]).stdout


def test_window_edges_of_every_sample(samples: Path) -> None:
    document = check_json("--window", samples)
    measured = 0
    for cell in document["cells"]:
        name, window = cell["payload"], cell.get("window")
        if cell["verdict"] != "accepted" or window is None:
            continue
        lowest, highest = int(window["lowest"], 16), int(window["highest"], 16)
        for base in {lowest, highest}:
            assert _fits(name, base), (name, hex(base))
        # Where nothing is tight, the window ends where addresses do.
        for base, side in ((lowest - PAGE, "below"), (highest + PAGE, "above")):
            if any(edge.startswith(side) for edge in window["tightest"]):
                assert not _fits(name, base), (name, hex(base))
                measured += 1
    assert measured > 20


def _fits(file: str, base: int) -> bool:
    model = MODEL.assume() if file.endswith("wrong-xen.livepatch") else MODEL
    result = load(file, model, place=base)
    wraps = {"XSP204", "XSP192"} & {finding.rule for finding in result.findings}
    assert result.accepted or result.errno_name == "EOVERFLOW", result.findings
    return result.accepted and not wraps


def test_any_placement_is_a_proof_for_all_addresses(samples: Path) -> None:
    hello = samples / "hello.livepatch"
    assert check_json("--any-placement", hello, status=0)["cells"][0]["verdict"] == "accepted"
    (cell,) = check_json("--any-placement", "--arena", WIDE, hello, status=1)["cells"]
    # Already the first page of that range is too far away.
    assert (cell["verdict"], cell["errno"]["name"], cell["rule"]) == ("refused", "EOVERFLOW", "XSP089")
    start, end = (int(text, 16) for text in WIDE.split("-"))
    assert {load(str(hello), MODEL, place=base).accepted for base in (start, MODEL.arena_start, end - 2**20)} == {
        True,
        False,
    }


def test_what_lies_apart_leaves_no_address(samples: Path) -> None:
    """Near enough to the directmap is too far from the function to patch: each alone could be satisfied."""
    (cell,) = check_json("--any-placement", "--window", samples / "far-data.livepatch", status=1)["cells"]
    (finding,) = (finding for finding in cell["findings"] if finding["rule"] == "XSP300")
    assert cell["window"]["lowest"] is None
    assert finding["message"].endswith("leave no room between them")
    assert "direct_map" in finding["hint"]
    assert "xen_extra_version" in finding["hint"]


def test_an_arena_that_begins_well_and_ends_too_far(samples: Path) -> None:
    arena = "0xffff82d050000000-0xffff82d0f0000000"
    assert check("--arena", arena, samples / "hello.livepatch").exit_code == 0
    (cell,) = check_json("--any-placement", "--arena", arena, samples / "hello.livepatch", status=1)["cells"]
    assert (cell["verdict"], cell["errno"]["name"], cell["rule"]) == ("refused", "EOVERFLOW", "XSP300")


def test_symbols_that_cannot_be_looked_up_are_errors(tmp_path: Path) -> None:
    source = """
        .text
        .globl replacement
        .type replacement, @function
replacement:
        call    a_function_that_only_that_build_has
        ret
        .size replacement, . - replacement
        .livepatch_func "xen_extra_version", replacement, 16
        .livepatch_depends 0123456789abcdef
        .livepatch_xen_depends 0123456789abcdef
        .build_id sha1
"""
    path = tmp_path / "fix.livepatch"
    path.write_bytes(forge(source))
    (cell,) = check_json(path, status=1)["cells"]
    assert (cell["verdict"], cell["errno"]["name"], cell["rule"]) == ("refused", "ENOENT", "XSP201")
    assert check_json("--allow-assumed", path, status=0)["cells"][0]["verdict"] == "accepted"
    (cell,) = check_json("--require-hypervisor", path, status=2)["cells"]
    assert (cell["verdict"], cell["findings"][0]["rule"]) == (None, "XSP305")


def test_what_cannot_be_read_stands_in_its_cell(samples: Path, tmp_path: Path) -> None:
    broken = tmp_path / "xen-syms"
    broken.write_bytes(b"\x7fELF" + bytes(3))
    words = ("-x", HYPERVISORS["4.17.7"], "-x", broken, samples / "hello.livepatch", tmp_path / "missing.livepatch")
    cells = cells_of(check_json(*words, status=1))
    assert {key[0]: cell["findings"][0]["rule"] for key, cell in cells.items() if key[1] == str(broken)} == {
        "hello.livepatch": "XSP303",
        "missing.livepatch": "XSP303",
    }
    assert cells["missing.livepatch", str(HYPERVISORS["4.17.7"])]["verdict"] is None
    assert cells["missing.livepatch", str(HYPERVISORS["4.17.7"])]["findings"][0]["rule"] == "XSP005"
    # Nothing could be checked at all.
    assert check("-x", broken, samples / "hello.livepatch").exit_code == 2
    assert check(tmp_path / "missing.livepatch").exit_code == 2


def test_a_stack_finds_its_order(samples: Path) -> None:
    top, base = samples / "stack-top.livepatch", samples / "stack-base.livepatch"
    assert check_json(top, status=1)["cells"][0]["errno"]["name"] == "ENOENT"
    document = check_json("--stack", top, base, status=0)
    assert [cell["payload"] for cell in document["cells"]] == [str(base), str(top)]


def test_a_stack_that_does_not_hold_together(samples: Path) -> None:
    files = [samples / f"{name}.livepatch" for name in ("stack-base", "cumulative")]
    cells = check_json("--stack", *files, status=1)["cells"]
    assert [(cell["verdict"], cell["errno"]) for cell in cells] == [
        ("accepted", None),
        ("refused", {"number": 22, "name": "EINVAL"}),
    ]


def test_nothing_stands_on_a_machine_that_died(samples: Path) -> None:
    files = [samples / f"{name}.livepatch" for name in ("short-nop", "stack-base", "stack-top")]
    cells = check_json("--stack", *files, status=1)["cells"]
    assert [cell["verdict"] for cell in cells] == ["crash", None, None]
    assert "did not survive" in cells[2]["findings"][0]["message"]


def test_a_stack_is_not_read_from_a_pipe(samples: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("-", tmp_path / "pipe"):
        refused = check("--stack", name, samples / "stack-base.livepatch")
        assert (refused.exit_code, refused.stdout) == (2, "")
        assert "read once" in refused.stderr


def test_a_short_range_gives_addresses_behind_its_end(samples: Path) -> None:
    """Xen's bitmap begins with all the pages that its first page can count (`spec/02 §6.2`)."""
    files = [samples / f"{name}.livepatch" for name in ("hello", "two-functions", "metadata")]
    highest = int(check_json("--window", files[0])["cells"][0]["window"]["highest"], 16)
    start, end = highest - 6 * PAGE, highest + 4 * PAGE
    host = Host(MODEL, arena=(start, end))
    results = [host.upload(file.stem, file.read_bytes()) for file in files]
    # The first lands inside and fits, a later one does neither.
    assert (results[0].verdict, results[-1].errno_name) == ("accepted", "EOVERFLOW")
    (cell,) = check_json("--any-placement", "--arena", f"{start:#x}-{end:#x}", files[0], status=1)["cells"]
    assert cell["rule"] == "XSP300"
