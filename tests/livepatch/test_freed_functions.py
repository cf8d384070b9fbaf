"""A patched function that is freed after boot: the crash says so, at upload or at apply."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from xsplice_loader import Host, Hypervisor
from xsplice_loader.forge import forge

if TYPE_CHECKING:
    from known_hypervisors import Package

SOURCE = """
        .text
        .balign 16
        .type replacement, @function
replacement:
        ret
        .size replacement, . - replacement
        .livepatch_func "init_IRQ", replacement, 64
        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id a1
"""


@pytest.mark.parametrize(("release", "crashes_at"), [("4.17.7", "upload"), ("4.14.0", "apply")])
def test_it_is_named(package: Package, release: str, crashes_at: str) -> None:
    # From 4.14.5 on the old bytes are read at upload, to look for ENDBR64.
    xen = Hypervisor.open(package.xen_syms)
    host = Host(xen, release=release)
    result = host.upload("a", forge(SOURCE, xen_build_id=xen.build_id))
    assert (result.verdict == "crash") is (crashes_at == "upload")
    findings = result.findings
    if crashes_at == "apply":
        applied = host.apply("a")
        assert applied.crash is not None
        findings = applied.findings
    (finding,) = [finding for finding in findings if finding.severity == "error"]
    assert "init_IRQ in .init.text, freed after boot" in finding.message
