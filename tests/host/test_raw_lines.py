r"""Lines with bytes that are not UTF-8 are cut as Xen cuts them, and only then shown with `\xNN`.

The real one agrees (tests/real_xen/cases/bytes-in-lines.s): 400 bytes of a name fit a line, 1600 characters do not.
"""

from __future__ import annotations

from pathlib import Path

from xsplice_loader import Host, Hypervisor
from xsplice_loader.forge import forge
from xsplice_loader.host.dump import dump

SOURCE = Path(__file__).parent.parent / "real_xen" / "cases" / "bytes-in-lines.s"
NAME = r"\xe9" * 400


def test_a_line_is_cut_by_the_bytes_that_xen_prints() -> None:
    host = Host(Hypervisor.model(), release="4.17.7")
    source = SOURCE.read_text().replace("hvm_gsi_assert", "xen_extra_version")
    assert host.upload("bytes", forge(source)).accepted
    lines = list(dump(host.state))
    assert any(line.startswith(f"    {NAME} patch ") for line in lines)
    assert r"livepatch:   author=\xe9\xffé" in lines
    applied = host.apply("bytes")
    assert applied.rc == -22
    assert any(
        (line or "").startswith(f"livepatch: {NAME}: expectation failed: expected:0102030405, ") for line in applied.log
    )
    assert host.list()[0].metadata == (r"author=\xe9\xffé",)
