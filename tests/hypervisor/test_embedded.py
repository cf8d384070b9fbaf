"""Xen's embedded symbol table in each of its forms, made here by an independent producer (spec/03 §7)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from xsplice_loader.hypervisor import Hypervisor, HypervisorFileError

if TYPE_CHECKING:
    from pathlib import Path

BASE = 0xFFFF82D040000000
TEXT = 0x200000


@dataclass(frozen=True)
class Entry:
    """A symbol; with an empty name, the end of the one before (4.21+)."""

    offset: int
    text: str = ""


def produce(entries: list[Entry], *, form: str, sort: bool = True, order: list[int] | None = None) -> bytes:
    """Write the table for `form` 4.20, 4.21 or 4.22, at an address that is a multiple of 16."""
    texts = [entry.text.encode() for entry in entries]
    used = set(b"".join(texts)) | set(b"0123456789")
    tokens = [bytes([code]) if code in used else b"" for code in range(256)]
    pairs = iter([b"sy", b"_of", b"common/"])
    for code in range(255, -1, -1):
        if code not in used and (token := next(pairs, None)):
            tokens[code] = token
    stream, stream_offsets = b"", []
    for text in texts:
        stream_offsets.append(len(stream))
        codes: list[int] = []
        at = 0
        while at < len(text):
            best = max((t for t in tokens if t and text.startswith(t, at)), key=len)
            codes.append(tokens.index(best))
            at += len(best)
        stream += bytes([len(codes), *codes])
    named = [index for index, entry in enumerate(entries) if entry.text]
    by_name = order or sorted(named, key=lambda i: (texts[i][1:], texts[i][:1]))
    token_starts = [sum(len(t) + 1 for t in tokens[:code]) for code in range(256)]

    old = form == "4.20"
    items = [
        (4, struct.pack(f"<{len(entries)}I", *(entry.offset for entry in entries))),
        (4, struct.pack("<I", len(entries))),
        (1, stream),
        (4, struct.pack(f"<{-(-len(entries) // 256)}I", *stream_offsets[::256])),
        (1, b"".join(token + b"\0" for token in tokens)),
        (2 if form == "4.22" else 4, struct.pack("<256H", *token_starts)),
    ]
    if sort and not old:
        items.append((4, struct.pack("<I", len(named))))
    if sort:
        items.append((4, b"".join(struct.pack("<II", stream_offsets[i], i) for i in by_name)))
    table = b""
    for alignment, item in items:
        table += bytes(-len(table) % (alignment if form == "4.22" else max(alignment, 4))) + item
    return table


def write_image(path: Path, table: bytes, before: bytes = b"", *, note_offset: int | None = None) -> Path:
    """Write an ELF64 executable of one segment at +2 MiB: 4 KiB of nothing, `before`, and the table.

    `note_offset`: where a further program header says that 36 bytes of notes are.
    """
    notes = b"" if note_offset is None else struct.pack("<IIQQQQQQ", 4, 4, note_offset, 0, 0, 36, 36, 4)
    data = bytes(4096) + before + bytes(-len(before) % 16) + table + bytes(64)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01".ljust(16, b"\0"), 2, 62, 1, 0, 64, 0, 0, 64, 56, 1 + bool(notes), 0, 0, 0,
    )  # fmt: skip
    load = struct.pack("<IIQQQQQQ", 1, 5, 120 + len(notes), BASE + TEXT, TEXT, len(data), len(data), 1)
    path.write_bytes(header + load + notes + data)
    return path


def entries_of(count: int) -> list[Entry]:
    marks = [Entry(TEXT, "T_stext"), Entry(TEXT, "T_start")]
    body = [Entry(TEXT + 16 * i, f"tcommon/sym_{i % 7}.c#symbol_of_{i:05}") for i in range(1, count)]
    last = TEXT + 16 * count
    return [
        *marks,
        *body,
        Entry(last, "T_etext"),
        Entry(last + 4096, "B_end"),
        Entry(last + 8192, "B__2M_rwdata_end"),
    ]


@pytest.mark.parametrize("form", ["4.20", "4.21", "4.22"])
@pytest.mark.parametrize("count", [1, 250, 251, 252, 253, 600, 7000])
def test_names_and_addresses(form: str, count: int, tmp_path: Path) -> None:
    entries = entries_of(count)
    symbols = Hypervisor.open(write_image(tmp_path / "xen", produce(entries, form=form))).symbols
    assert list(symbols) == [(e.text[1:].encode(), BASE + e.offset, e.text[0]) for e in entries]
    assert all(symbols.address_of(e.text[1:].encode()) == BASE + e.offset for e in entries)
    assert symbols.symbol_at(BASE + TEXT + 3) == (b"_stext", 3)


@pytest.mark.parametrize("form", ["4.20", "4.21"])
def test_decoys_before_the_table(form: str, tmp_path: Path) -> None:
    digits = b"".join(b"%d\0" % digit for digit in range(10))
    decoy = digits + bytes(60) + b"a\0" * 50 + digits + b"x\0" * 300
    entries = entries_of(300)
    image = write_image(tmp_path / "xen", produce(entries, form=form), before=decoy)
    assert len(Hypervisor.open(image).symbols) == len(entries)


def test_ends(tmp_path: Path) -> None:
    entries = entries_of(300)
    gap = TEXT + 16 * 300 + 512
    entries[-2:-2] = [Entry(gap - 256), Entry(gap, "tc.c#after_the_gap"), Entry(gap + 32)]
    symbols = Hypervisor.open(write_image(tmp_path / "xen", produce(entries, form="4.21"))).symbols
    assert len(symbols) == len(entries) - 2
    assert b"" not in symbols.names
    assert symbols.symbol_at(BASE + gap - 257) == (b"_etext", 255)
    assert symbols.symbol_at(BASE + gap - 256) is None
    assert symbols.symbol_at(BASE + gap - 1) is None
    assert symbols.symbol_at(BASE + gap + 31) == (b"c.c#after_the_gap", 31)
    assert symbols.symbol_at(BASE + gap + 32) is None
    assert symbols.address_of(b"c.c#after_the_gap") == BASE + gap


def duplicated() -> list[Entry]:
    return [
        Entry(TEXT, "T_stext"),
        Entry(TEXT + 16, "tdup"),
        Entry(TEXT + 32, "tdup"),
        Entry(TEXT + 48, "Tdup"),
        Entry(TEXT + 64, "B_end"),
        Entry(TEXT + 4096, "B__2M_rwdata_end"),
    ]


def test_bisection_decides_among_equal_names(tmp_path: Path) -> None:
    # By name: __2M_rwdata_end, _end, _stext, dup T, dup t, dup t. Bisecting 0..6 looks at 3: the T one.
    image = write_image(tmp_path / "xen", produce(duplicated(), form="4.20"))
    assert Hypervisor.open(image).symbols.address_of(b"dup") == BASE + TEXT + 48
    # Another order of equal names is as good to Xen, and gives another address.
    image = write_image(tmp_path / "xen", produce(duplicated(), form="4.20", order=[5, 4, 0, 2, 3, 1]))
    assert Hypervisor.open(image).symbols.address_of(b"dup") == BASE + TEXT + 32
    # Two names more before them: 0..8 looks at 4, and of the names at 5, 6, 7 then at 6, the middle one.
    entries = [Entry(TEXT, "TAA"), Entry(TEXT, "TAB"), *duplicated()]
    image = write_image(tmp_path / "xen", produce(entries, form="4.20", order=[0, 1, 7, 6, 2, 5, 3, 4]))
    assert Hypervisor.open(image).symbols.address_of(b"dup") == BASE + TEXT + 16


def test_without_name_order_the_lowest_address_wins(tmp_path: Path) -> None:
    for form in ("4.20", "4.21"):
        image = write_image(tmp_path / "xen", produce(duplicated(), form=form, sort=False))
        assert Hypervisor.open(image).symbols.address_of(b"dup") == BASE + TEXT + 16


def test_damaged_tables_are_no_tables(tmp_path: Path) -> None:
    table = produce(entries_of(600), form="4.20")
    for position in (4, 4 * 605, 4 * 605 + 4, table.index(b"0\0001\000")):
        damaged = bytearray(table)
        damaged[position : position + 4] = b"\xff\xff\xff\xff"
        with pytest.raises(HypervisorFileError, match="symbol table"):
            Hypervisor.open(write_image(tmp_path / "xen", bytes(damaged)))


def test_unknown_code_is_assumed(tmp_path: Path) -> None:
    hypervisor = Hypervisor.open(write_image(tmp_path / "xen", produce(entries_of(300), form="4.20")))
    assert hypervisor.build_id is None
    # The newest release's default build: no Hyper-V, 256 processors (spec/02 §8.2).
    assert hypervisor.arena_end == 0xFFFF82D07FEFF000
    # Its release and the end of the range for payloads; that it has no build-id is a fact.
    assert len(hypervisor.assumptions) == 2
    older = Hypervisor.open(tmp_path / "xen", "4.13.0")
    assert older.arena_start == 0xFFFF82D040400000
    assert older.arena_end == 0xFFFF82D07FF00000


@pytest.mark.parametrize("asked", ["headers say nothing", "headers lead elsewhere"])
def test_the_build_id_is_where_xen_reads_it(asked: str, tmp_path: Path) -> None:
    note = struct.pack("<III", 4, 20, 3) + b"GNU\0" + bytes(range(20))
    entries = [
        *entries_of(3),
        Entry(TEXT + 4096, "R__note_gnu_build_id_start"),
        Entry(TEXT + 4096 + len(note), "R__note_gnu_build_id_end"),
    ]
    table = produce(sorted(entries, key=lambda entry: entry.offset), form="4.20")
    path = write_image(tmp_path / "xen", table, before=note, note_offset=120 if "elsewhere" in asked else None)
    assert Hypervisor.open(path).build_id == bytes(range(20))
    found = Hypervisor.find(bytes(range(20)), [tmp_path])
    assert found is not None
    assert found.build_id == bytes(range(20))
