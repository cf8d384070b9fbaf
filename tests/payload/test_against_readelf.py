"""What is read of a payload, against what `readelf` says of it: sections, relocations, symbols."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from forge_readback import require
from records import RELEASES, Record, single_uploads

from xsplice_loader.findings import Findings
from xsplice_loader.forge import forge
from xsplice_loader.payload import ObjectFile, read
from xsplice_loader.releases import NEWEST

REFUSED_FOR_ITS_HEADER = "misaligned-section"
SAMPLES = [
    path for path in sorted((Path(__file__).parents[2] / "payloads").glob("*.s")) if path.stem != REFUSED_FOR_ITS_HEADER
]
FLAGS = dict(
    zip("WAXMSILOGTCE", (0x1, 0x2, 0x4, 0x10, 0x20, 0x40, 0x80, 0x100, 0x200, 0x400, 0x800, 1 << 31), strict=True)
)
TYPES = {0: "NULL", 1: "PROGBITS", 2: "SYMTAB", 3: "STRTAB", 4: "RELA", 7: "NOTE", 8: "NOBITS", 9: "REL", 17: "GROUP"}
SPECIAL = {"UND": 0, "ABS": 0xFFF1, "COM": 0xFFF2}
RELOCATIONS = {1: "R_X86_64_64", 2: "R_X86_64_PC32", 4: "R_X86_64_PLT32", 10: "R_X86_64_32", 11: "R_X86_64_32S"}
SECTION = re.compile(
    r"\s*\[\s*(?P<index>\d+)\] (?P<name>.*?)\s+(?P<type>[A-Z][A-Z_0-9]*)\s+(?P<address>[0-9a-f]{16}) "
    r"(?P<offset>[0-9a-f]{6,}) (?P<size>[0-9a-f]{6,}) (?P<entry>[0-9a-f]{2,})\s+(?P<flags>[A-Zlop]*)\s+"
    r"(?P<link>\d+)\s+(?P<info>\d+)\s+(?P<alignment>\d+)"
)
RELOCATION = re.compile(r"(?P<offset>[0-9a-f]{16})\s+(?P<info>[0-9a-f]{16}) (?P<type>R_X86_64_\w+)\s*(?P<rest>.*)")
SYMBOL = re.compile(
    r"\s*(?P<index>\d+): (?P<value>[0-9a-f]{16})\s+(?P<size>\S+) \S+\s+\S+\s+\S+\s+(?P<section>\S+)(?: (?P<name>.*))?"
)


def readelf(option: str, file: Path) -> list[str]:
    return subprocess.run(
        [require("readelf"), option, "-W", str(file)], check=True, capture_output=True, text=True
    ).stdout.splitlines()


def payloads() -> list[tuple[str, bytes]]:
    found = [(path.stem, forge(path.read_text(encoding="utf-8"))) for path in SAMPLES]
    return found + [(f"{record.release}-{record.name}", record.data) for record in well_formed()]


def well_formed() -> list[Record]:
    """Return recorded payloads whose headers and tables are whole."""
    return [
        record for release in RELEASES for record in single_uploads(release) if record.name.startswith(("ok", "apply"))
    ]


@pytest.mark.parametrize(("name", "data"), payloads(), ids=lambda value: value if isinstance(value, str) else "")
def test_readelf_reads_the_same(name: str, data: bytes, tmp_path: Path) -> None:
    payload = read(data, Findings(NEWEST))
    assert payload is not None
    file = tmp_path / "payload"
    file.write_bytes(data)
    check_sections(payload, [match for line in readelf("-S", file) if (match := SECTION.fullmatch(line.rstrip()))])
    check_relocations(payload, readelf("-r", file))
    check_symbols(payload, [match for line in readelf("-s", file) if (match := SYMBOL.fullmatch(line.rstrip()))])


def check_sections(payload: ObjectFile, rows: list[re.Match[str]]) -> None:
    assert len(rows) == payload.header.section_count
    for row in rows[1:]:
        section = payload.section(int(row["index"]))
        assert section.text_name == row["name"]
        assert TYPES[section.type] == row["type"]
        assert section.flags == sum(FLAGS[flag] for flag in row["flags"])
        assert (section.offset, section.size, section.address) == tuple(
            int(row[key], 16) for key in ("offset", "size", "address")
        )
        assert (section.link, section.info, section.alignment) == tuple(
            int(row[key]) for key in ("link", "info", "alignment")
        )
        assert section.entry_size == int(row["entry"], 16)


def check_relocations(payload: ObjectFile, lines: list[str]) -> None:
    rows: list[tuple[str, re.Match[str]]] = []
    section = ""
    for line in lines:
        if line.startswith("Relocation section"):
            section = line.split("'")[1]
        elif match := RELOCATION.match(line):
            rows.append((section, match))
    expected = [
        (part.text_name, int(entry["offset"]), int(entry["symbol"]), int(entry["type"]), int(entry["addend"]))
        for part in payload.sections
        if part.type == 4
        for entry in payload.relocation_entries(part)
    ]
    shown = []
    for name, row in rows:
        info = int(row["info"], 16)
        rest = row["rest"].replace(" ", "")
        sign, digits = re.fullmatch(r".*?([+-]?)([0-9a-f]+)", rest).groups()  # type: ignore[union-attr]
        shown.append(
            (name, int(row["offset"], 16), info >> 32, info & 0xFFFFFFFF, int(digits, 16) * (-1 if sign == "-" else 1))
        )
        assert RELOCATIONS.get(info & 0xFFFFFFFF, row["type"]) == row["type"]
    assert shown == expected


def check_symbols(payload: ObjectFile, rows: list[re.Match[str]]) -> None:
    table = payload.symbols.table
    assert len(rows) == len(table)
    for row in rows:
        index = int(row["index"])
        entry = table[index]
        assert int(entry["value"]) == int(row["value"], 16)
        assert int(entry["size"]) == int(row["size"], 0)
        assert int(entry["section"]) == (SPECIAL[row["section"]] if row["section"] in SPECIAL else int(row["section"]))
        is_section = int(entry["info"]) & 0xF == 3
        if not is_section:
            assert payload.symbol_name(index) == (row["name"] or "")
