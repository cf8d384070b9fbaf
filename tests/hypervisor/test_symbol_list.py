"""Symbol lists in the forms of Xen's map files and of nm."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest

from xsplice_loader.hypervisor import Hypervisor, HypervisorFileError

if TYPE_CHECKING:
    from pathlib import Path

MAP = b"""\
0xffff82d040000000 T __image_base__
0xffff82d040200000 T _stext
0xffff82d040200000 T start
0xffff82d040200100 t common/vmap.c#vm_alloc
0xffff82d040300000 T _etext
0xffff82d0405a6140 B _end
0xffff82d0405a7000 B __2M_rwdata_end
"""

BSD = b"""\
                 U undefined
ffff82d040200000 T _stext
ffff82d040200000 T start
ffff82d040200100 t vm_alloc
ffff82d040300000 T _etext
ffff82d0405a6140 B _end
ffff82d0405a7000 B __2M_rwdata_end
0000000000000100 A an_absolute_one
"""

SYSTEM_V = b"""

Symbols from xen-syms:

Name                  Value           Class        Type         Size             Line  Section

vmap.c              |0000000000000000|   a  |              FILE|                |     |*ABS*
vm_alloc            |ffff82d040200100|   t  |              FUNC|0000000000000010|     |.text
undefined           |                |   U  |            NOTYPE|                |     |*UND*
_stext              |ffff82d040200000|   T  |            NOTYPE|                |     |.text
_etext              |ffff82d040300000|   T  |            NOTYPE|                |     |.text
_end                |ffff82d0405a6140|   B  |            NOTYPE|                |     |.bss
__2M_rwdata_end     |ffff82d0405a7000|   B  |            NOTYPE|                |     |.bss
"""


def opened(tmp_path: Path, content: bytes, release: str | None = None) -> Hypervisor:
    path = tmp_path / "list"
    path.write_bytes(content)
    return Hypervisor.open(path, release)


@pytest.mark.parametrize(
    ("content", "local"),
    [
        (MAP, b"common/vmap.c#vm_alloc"),
        (gzip.compress(MAP), b"common/vmap.c#vm_alloc"),
        (MAP.replace(b"\n", b"\r\n"), b"common/vmap.c#vm_alloc"),
        (BSD, b"vm_alloc"),
        (SYSTEM_V, b"vmap.c#vm_alloc"),
    ],
    ids=["map", "map.gz", "map with CRLF", "nm", "nm --format=sysv"],
)
def test_forms(content: bytes, local: bytes, tmp_path: Path) -> None:
    hypervisor = opened(tmp_path, content, "4.17.7")
    assert hypervisor.symbols.address_of(local) == 0xFFFF82D040200100
    assert hypervisor.symbols.address_of(b"_stext") == 0xFFFF82D040200000
    assert hypervisor.symbols.address_of(b"undefined") is None
    assert b"an_absolute_one" not in hypervisor.symbols
    assert (hypervisor.text_start, hypervisor.text_end) == (0xFFFF82D040200000, 0xFFFF82D040300000)
    assert (hypervisor.arena_start, hypervisor.arena_end) == (0xFFFF82D0405A7000, 0xFFFF82D07FEFF000)


def test_what_a_list_lacks_is_said(tmp_path: Path) -> None:
    hypervisor = opened(tmp_path, BSD)
    said = " ".join(hypervisor.assumptions)
    for thing in ("old bytes", "build-id", "release", "which file", "end at 0xffff82d07feff000"):
        assert thing in said
    assert hypervisor.build_id is None
    assert hypervisor.at_run_time.as_linked(0xFFFF82D040200000, 1) is None
    assert "release" not in " ".join(opened(tmp_path, MAP, "4.17.7").assumptions)


def test_release_decides_where_the_range_starts(tmp_path: Path) -> None:
    # Up to 4.16 it is _end rounded up to 2 MiB (spec/02 §8.2).
    assert opened(tmp_path, MAP, "4.16.0").arena_start == 0xFFFF82D040600000
    without_end = b"".join(line for line in MAP.splitlines(keepends=True) if b"end" not in line)
    hypervisor = opened(tmp_path, without_end)
    assert hypervisor.arena_start == 0xFFFF82D040400000
    assert any("_end is missing" in sentence for sentence in hypervisor.assumptions)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (MAP + b"not a line\n", "line 8"),
        (MAP.replace(b"ffff82d040", b"ffffffff81"), "no Xen"),
        (b"                 U undefined\n", "without a single address"),
        (b"#!/bin/sh\n", "no hypervisor"),
    ],
    ids=["bad line", "Linux", "only undefined", "script"],
)
def test_other_text_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(HypervisorFileError, match=message):
        opened(tmp_path, content)
