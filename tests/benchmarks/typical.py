"""Payloads of the usual size, ten patched functions with two hundred relocations, and the symbols that they need."""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from benchmarks.workload import build_id_note, object_file, plain_functions

from xsplice_loader.payload import elf

if TYPE_CHECKING:
    from xsplice_loader import Hypervisor

FUNCTIONS = 10
CALLS = 17
"""Relocations of one function; with two for its entry in the table and 10 in the constants, 200 in all."""
CONSTANTS = 10
CALL_SIZE = 5
FUNCTION_SIZE = CALLS * CALL_SIZE + 11
ENTRY_SIZE = 104
FUNCTION_ENTRY = struct.Struct("<QQQIIB71x")


class Typical(NamedTuple):
    """One payload, and the symbols of Xen that it needs."""

    data: bytes
    xen_symbols: dict[str, int]


def typical(number: int, hypervisor: Hypervisor) -> Typical:
    """Return the payload of a number; each patches other functions and calls others."""
    random = np.random.default_rng(number)
    plain = [known for known in plain_functions(hypervisor) if known[1] < hypervisor.text_end]
    patched = [plain[i] for i in random.permutation(len(plain))[:FUNCTIONS]]
    called = [plain[i] for i in random.permutation(len(plain))[:60]]
    own = [f"fix_{number}_{index}" for index in range(FUNCTIONS)]
    names = [*own, *dict.fromkeys(name for name, _ in (*called,))]
    strings = b"\0" + b"".join(name.encode() + b"\0" for name in names)
    offsets = np.cumsum([1] + [len(name) + 1 for name in names])[:-1]
    # A section symbol for the constants, then the payload's own functions, then Xen's.
    first_text = 1
    symbols = np.zeros(2 + len(names), elf.symbol_dtype(24))
    symbols["info"][1] = 3
    symbols["section"][1] = 2 * FUNCTIONS + 1
    symbols["name"][2:] = offsets
    symbols["info"][2:] = 0x12
    symbols["section"][2 : 2 + FUNCTIONS] = np.arange(FUNCTIONS) * 2 + first_text
    symbols["size"][2 : 2 + FUNCTIONS] = FUNCTION_SIZE
    table_index = 2 * FUNCTIONS + 9

    sections: list[tuple[str, int, int, bytes, int, int, int, int]] = [("", 0, 0, b"", 0, 0, 0, 0)]
    body = b"\xe8\0\0\0\0" * CALLS + b"\x48\x8d\x05\0\0\0\0\xc3".ljust(11, b"\x90")
    for index in range(FUNCTIONS):
        entries = np.zeros(CALLS, elf.rela_dtype(24))
        entries["offset"] = np.arange(CALLS) * CALL_SIZE + 1
        entries["type"] = 4
        entries["symbol"] = random.integers(2, len(symbols), CALLS)
        entries["addend"] = -4
        section = len(sections)
        sections += [
            (f".text.{own[index]}", 1, 6, body, 0, 0, 16, 0),
            (f".rela.text.{own[index]}", 4, 0x40, entries.tobytes(), table_index, section, 8, 24),
        ]
    constants = np.zeros(CONSTANTS, elf.rela_dtype(24))
    constants["offset"] = np.arange(CONSTANTS) * 8
    constants["type"] = 1
    constants["symbol"] = random.integers(2, len(symbols), CONSTANTS)
    table = b"".join(FUNCTION_ENTRY.pack(0, 0, address, FUNCTION_SIZE, 16, 2) for _, address in patched)
    fields = np.zeros(2 * FUNCTIONS, elf.rela_dtype(24))
    fields["offset"] = np.repeat(np.arange(FUNCTIONS) * ENTRY_SIZE, 2) + np.tile([0, 8], FUNCTIONS)
    fields["type"] = 1
    fields["symbol"] = np.stack((np.ones(FUNCTIONS), np.arange(FUNCTIONS) + 2), axis=1).reshape(-1)
    fields["addend"][::2] = np.arange(FUNCTIONS) * 32 + 8 * CONSTANTS
    texts = bytes(8 * CONSTANTS) + b"".join(name.encode()[:31].ljust(32, b"\0") for name, _ in patched)
    xen_id = hypervisor.build_id or b""
    own_id = hashlib.sha1(number.to_bytes(8, "big")).digest()
    here = len(sections)
    sections += [
        (".rodata", 1, 2, texts, 0, 0, 8, 0),
        (".rela.rodata", 4, 0x40, constants.tobytes(), table_index, here, 8, 24),
        (".livepatch.funcs", 1, 3, table, 0, 0, 8, 0),
        (".rela.livepatch.funcs", 4, 0x40, fields.tobytes(), table_index, here + 2, 8, 24),
        (".livepatch.depends", 7, 2, build_id_note(xen_id), 0, 0, 4, 0),
        (".livepatch.xen_depends", 7, 2, build_id_note(xen_id), 0, 0, 4, 0),
        (".note.gnu.build-id", 7, 2, build_id_note(own_id), 0, 0, 4, 0),
        (".comment", 1, 0, b"GCC\0", 0, 0, 1, 0),
        (".symtab", 2, 0, symbols.tobytes(), table_index + 1, 2, 8, 24),
        (".strtab", 3, 0, strings, 0, 0, 1, 0),
    ]
    assert sections[table_index][0] == ".symtab"
    return Typical(object_file(sections), dict(called))
