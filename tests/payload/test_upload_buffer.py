"""Xen reads its copy of the file, as changed so far and up to its last page. Answers are those of the real ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from records import recorded_hypervisor
from upload_siblings import SIBLINGS, Sibling

from xsplice_loader import Host, load
from xsplice_loader.payload import PayloadFile

DATA = Path(__file__).parent.parent / "data" / "upload-buffer"
# Of 1,023 bytes three are the level, which is not seen where a line begins.
LATIN1 = "Unknown symbol: " + r"\x90" * (1020 - len("livepatch: E-min-unknown-symbol-latin1: Unknown symbol: "))
CHANGED_NAME = "Relative link of Ђ\\xff\\xff is incorrect (208, expected=13)"
RECORDED = [
    ("A-min-comment-size-wraps", "4.17.7", "accepted", None, None),
    ("B-shstrtab-overlaps-symtab-4.14", "4.14.6", "refused", 22, CHANGED_NAME),
    ("C-min-name-runs-off-the-pages", "4.17.7", "crash", None, None),
    ("D-modinfo-nobits-noalloc-4.20", "4.20.4", "refused", 22, "Incorrect metadata format detected"),
    ("E-min-unknown-symbol-latin1", "4.17.7", "refused", 2, LATIN1),
    ("F-reloc-of-alloc-rela-4.20", "4.20.4", "accepted", None, None),
    ("symbols-sorted-4.20", "4.20.4", "refused", 17, "duplicate new symbol: printk"),
]


@pytest.mark.parametrize(("name", "release", "verdict", "errno", "log"), RECORDED, ids=lambda value: str(value)[:40])
def test_recorded(name: str, release: str, verdict: str, errno: int | None, log: str | None) -> None:
    result = load((DATA / f"{name}.livepatch").read_bytes(), recorded_hypervisor(release), name=name)
    assert (result.verdict, result.errno, result.xen_message) == (verdict, errno, log)


def test_a_loaded_relocation_section_is_read_where_it_was_loaded() -> None:
    result = load((DATA / "F-reloc-of-alloc-rela-4.20.livepatch").read_bytes(), recorded_hypervisor("4.20.4"))
    assert result.image is not None
    # As the running hypervisor had it.
    assert result.image[:16].hex() == "90" * 8 + "9077665544332211"


def test_functions_are_found_before_a_table_changes_the_names_of_sections() -> None:
    host = Host(recorded_hypervisor("4.20.4"), nops="k8")
    host.upload("p", (DATA / "section-names-sorted-4.20.livepatch").read_bytes()).raise_for_verdict()
    # As the running hypervisor printed it.
    assert "    hvm_set_cr0 patch ffff82d0402c1a00(16) with ffff82d0405b5000 (10)" in host.dump()


@pytest.mark.parametrize("sibling", SIBLINGS, ids=lambda sibling: sibling.name)
def test_sibling(sibling: Sibling) -> None:
    result = load(sibling.data(), recorded_hypervisor(sibling.release), name=sibling.name)
    assert (result.verdict, result.errno) == (sibling.verdict, sibling.errno), result.findings
    if sibling.log is not None:
        assert result.xen_message == sibling.log
    if sibling.image is not None:
        offset, contents = sibling.image
        assert (result.image or b"")[offset : offset + len(contents)] == contents


@pytest.mark.parametrize("release", ["4.7.5", "4.12.0"])
def test_a_name_without_end_is_followed_only_by_what_prints_it(release: str) -> None:
    """Up to 4.12 a release build prints no such line, and a search ends at the first difference."""
    (sibling,) = (sibling for sibling in SIBLINGS if sibling.name == "symbol-name-off")
    result = load(sibling.data(), recorded_hypervisor(sibling.release), release=release)
    assert (result.verdict, result.errno, result.stage) == ("refused", 2, "resolution")


def test_what_one_host_changes_another_does_not_see() -> None:
    """A file is parsed once for many hosts."""
    file = PayloadFile((DATA / "B-shstrtab-overlaps-symtab-4.14.livepatch").read_bytes())
    hypervisor = recorded_hypervisor("4.14.6")
    first = Host(hypervisor).upload("first", file)
    second = Host(hypervisor).upload("second", file)
    assert first.xen_message == second.xen_message == CHANGED_NAME
    assert first.placement == second.placement
