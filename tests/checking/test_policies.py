"""Policies against the linkers that they speak for, at the edges of every field."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from checking.checks import check, check_json
from known_hypervisors import missing

from xsplice_loader.checking.policies import POLICIES
from xsplice_loader.cli.check import POLICIES as OFFERED

if TYPE_CHECKING:
    from pathlib import Path

LINKERS = {"bfd": "ld.bfd", "lld": "ld.lld", "mold": "mold"}
# Type, and how an assembler is made to emit it.
DIRECTIVES = {
    "R_X86_64_8": ".byte target",
    "R_X86_64_16": ".short target",
    "R_X86_64_32": ".long target",
    "R_X86_64_32S": "movq $target, %rax",
    "R_X86_64_64": ".quad target",
    "R_X86_64_PC8": ".byte target - .",
    "R_X86_64_PC16": ".short target - .",
    "R_X86_64_PC32": ".long target - .",
    "R_X86_64_PLT32": "call target",
}
EDGES = sorted(
    {sign * (1 << bits) + step for bits in (7, 8, 15, 16, 31, 32) for sign in (-1, 1) for step in (-1, 0)} | {0}
)
BASE = 0x10_0000_0000
SCRIPT = "SECTIONS {{ .text {base:#x} : {{ *(.text) }} }}\ntarget = {target:#x};\n"


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        missing(f"{name} is not installed")
    return found


@pytest.fixture(scope="module", params=DIRECTIVES)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, int, int]:
    """Return a type, an object with one relocation of it, where its field is, and its addend."""
    kind: str = request.param
    path = tmp_path_factory.mktemp("objects") / "case.o"
    source = f".globl _start\n_start:\n{DIRECTIVES[kind]}\n"
    subprocess.run([tool("as"), "-o", path, "-"], input=source, text=True, check=True)
    listed = subprocess.run([tool("readelf"), "-rW", path], capture_output=True, text=True, check=True).stdout
    offset, _, name, _, *rest = next(line.split() for line in listed.splitlines() if "R_X86_64" in line)
    assert name == kind
    sign, addend = rest[1:3]
    return kind, path, int(offset, 16), int(addend, 16) * (1 if sign == "+" else -1)


@pytest.mark.parametrize("policy", LINKERS)
def test_accept_sets_are_those_of_the_linker(case: tuple[str, Path, int, int], policy: str, tmp_path: Path) -> None:
    kind, path, offset, addend = case
    linker = tool(LINKERS[policy])
    relative = "PC" in kind or "PLT" in kind
    out = tmp_path / "out"

    def link(target: int) -> subprocess.CompletedProcess[str]:
        if policy == "mold":
            # It reads no script; where it puts the text does not depend on what symbols are worth.
            where = ["-static", "--defsym", f"target={target:#x}"]
        else:
            script = tmp_path / "case.lds"
            script.write_text(SCRIPT.format(base=BASE, target=target))
            where = ["-T", str(script)]
        words: list[str | Path] = [linker, *where, "-e", "_start", "-o", out, path]
        return subprocess.run(words, capture_output=True, text=True, check=False)

    base = BASE
    if policy == "mold":
        plain = path.with_name("plain.o")
        subprocess.run([tool("objcopy"), "--remove-section=.rela.text", path, plain], check=True)
        subprocess.run([linker, "-static", "-e", "_start", "-o", out, plain], check=True)
        listed = subprocess.run([tool("nm"), out], capture_output=True, text=True, check=True).stdout
        base = next(int(line.split()[0], 16) for line in listed.splitlines() if line.endswith(" _start"))
    for value in EDGES:
        target = (value - addend + (base + offset if relative else 0)) % 2**64
        done = link(target)
        accepted = POLICIES[policy].accepts(kind, value)
        assert (done.returncode == 0) is accepted, (kind, hex(value), done.stderr)


def test_the_loaders_apply_fewer_types() -> None:
    assert {kind for kind in DIRECTIVES if POLICIES["xen"].accepts(kind, 0)} == {
        "R_X86_64_64",
        "R_X86_64_PC32",
        "R_X86_64_PLT32",
    }
    # field-survey A2: computed, cut to four bytes and written.
    assert POLICIES["linux"].accepts("R_X86_64_PC32", 1 << 40)
    assert not POLICIES["linux"].accepts("R_X86_64_32S", 1 << 31)
    assert not POLICIES["linux"].accepts("R_X86_64_8", 0)


def test_a_policy_stands_in_the_place_of_xens_word_on_relocations(samples: Path) -> None:
    far = samples / "far-data.livepatch"
    assert check("--policy", "linux", far).exit_code == 0
    (cell,) = check_json("--policy", "bfd", far, status=1)["cells"]
    assert (cell["verdict"], cell["errno"], cell["rule"], cell["xen_message"]) == ("refused", None, "XSP302", None)
    # What is no relocation stays Xen's.
    assert check_json("--policy", "linux", samples / "no-depends.livepatch", status=1)["cells"][0]["rule"] == "XSP100"


def test_the_command_offers_all_of_them() -> None:
    # It keeps the names by itself: --help is not to wait for what knows the rest.
    assert tuple(POLICIES) == OFFERED


def test_who_would_accept_what(samples: Path) -> None:
    (cell,) = check_json("--compare-policies", samples / "far-data.livepatch")["cells"]
    (row,) = cell["policies"]
    assert (row["symbol"], row["type"], row["accepted_by"]) == ("direct_map", "R_X86_64_PC32", ["linux"])
    text = check("--compare-policies", samples / "far-data.livepatch").stdout
    assert "who would accept" in text
    assert "all of them" in check("--compare-policies", samples / "hello.livepatch").stdout
