"""Payloads whose sections wrap, overlap, or are left in the upload buffer, each for one recorded release.

What Xen answers was seen on Debian's hypervisors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from changed_files import ChangedFile
from records import recorded_hypervisor

from xsplice_loader.forge import forge

if TYPE_CHECKING:
    from collections.abc import Callable

ANCIENT, OLD, NEW = "4.14.6", "4.17.7", "4.20.4"
SOURCE = """
        .text
        .balign 16
        .type   fresh_one, @function
fresh_one:
        xor     %eax, %eax
        call    strlen
        call    memcpy
        ret
        .size   fresh_one, . - fresh_one
        .section .livepatch.hooks.load, "a", @progbits
        .quad   fresh_one
        .section .comment, "", @progbits
        .asciz  "a comment"
        {body}
        .livepatch_depends {build_id}
        .livepatch_xen_depends {build_id}
        .build_id a1b2
"""
# Without relocations, and with unused symbols.
PLAIN = """
        .text
        ret
        .section .livepatch.hooks.load, "a", @progbits
        .quad   0
        {body}
        .livepatch_depends {build_id}
        .livepatch_xen_depends {build_id}
        .build_id a1b2
"""
VALUE = 0x1122334455667788
TABLES = """
        .text
spare:  .zero   63, 0x90
        .section .one, "", @progbits
        .zero   24
        .section .two, "", @progbits
        .zero   48
        .section .text
"""
EXCEPTIONS = """
        .section .ex_table, "", @progbits
        .long   16, 4, -400, 8
"""
METADATA = """
        .section .modinfo, "", @progbits
        .asciz  "a=b"
"""


class Sibling(NamedTuple):
    """One payload, and the hypervisor's answer."""

    name: str
    release: str
    change: Callable[[ChangedFile], object]
    verdict: str
    errno: int | None = None
    log: str | None = None
    body: str = ""
    source: str = SOURCE
    image: tuple[int, bytes] | None = None
    """Bytes of the loaded payload, by their distance from its base."""

    def data(self) -> bytes:
        """Return the payload."""
        build_id = (recorded_hypervisor(self.release).build_id or b"").hex()
        file = ChangedFile(forge(self.source.format(body=self.body, build_id=build_id)))
        self.change(file)
        return bytes(file.data)


def _after_pages(file: ChangedFile, name: str, **fields: int) -> ChangedFile:
    return file.set(name, type=8, flags=0, offset=len(file.data) + 8192, **fields)


def _name_at_page_end(file: ChangedFile, name: str, text: bytes) -> None:
    """Let a section's name be the last bytes before the upload's end, of a name table whose size wraps."""
    at = file.append(text, to_page_end=True)
    file.set(name, name=at - file.section(".shstrtab")["offset"]).wrap(".shstrtab", 81)


def _symbol_name_at_page_end(file: ChangedFile, index: int, text: bytes) -> None:
    at = file.append(text, to_page_end=True)
    file.put(file.symbol(index), (at - file.section(".strtab")["offset"]).to_bytes(4, "little"))
    file.wrap(".strtab", 81)


def _name_in_value(file: ChangedFile, of: str) -> None:
    """Make the symbol table its own string table, and let an undefined symbol's name be the value of another one."""
    table = file.section(".symtab")
    unknown, other = file.undefined(), file.symbol_named(of)
    for index in range(table["size"] // 24):
        file.put(file.symbol(index), bytes(4))
    file.put(file.symbol(other) + 16, bytes(8))
    file.put(file.symbol(unknown), (24 * other + 10).to_bytes(4, "little"))
    file.set(".strtab", offset=table["offset"], size=table["size"])


def _loaded_relocations(file: ChangedFile, symbol: int = VALUE) -> ChangedFile:
    """Let `.one` relocate `.two`, which is loaded and relocates the code, against an absolute symbol."""
    spare = file.symbol_named("spare")
    file.put(file.symbol(spare) + 6, b"\xf1\xff" + symbol.to_bytes(8, "little"))
    tables = {"type": 4, "entsize": 24, "link": file.names[".symtab"]}
    file.set(".one", info=file.names[".two"], **tables).set(
        ".two", flags=2, size=24, info=file.names[".text"], **tables
    )
    # The field of `.two` moves from 0 to 8.
    file.relocation(".two", 0, 0, spare, 0)
    return file.relocation(".one", 0, 0, spare, 8 - symbol)


def _relocates_itself(file: ChangedFile) -> None:
    """Let the first entry of `.two` change the second, which changes its own addend."""
    _loaded_relocations(file)
    spare = file.symbol_named("spare")
    file.set(".one", type=1).set(".two", size=48, info=file.names[".two"])
    file.relocation(".two", 0, 24, spare, 40 - VALUE).relocation(".two", 1, 0, spare, 1)


def _long_section_name(file: ChangedFile, name: bytes) -> None:
    """Refuse a relocation section for its sh_link, and with it print its name."""
    old = file.section(".shstrtab")
    names = bytes(file.data[old["offset"] : old["offset"] + old["size"]])
    file.set(".shstrtab", offset=file.append(names + name + b"\0"), size=len(names) + len(name) + 1)
    file.set(".rela.text", name=len(names), link=0)


SIBLINGS = (
    # A size that wraps: what it does depends on who reads the section.
    Sibling("comment", OLD, lambda f: f.wrap(".comment", 64), "accepted"),
    Sibling("comment-new", NEW, lambda f: f.wrap(".comment", 64), "accepted"),
    Sibling("strings-end-before-file", OLD, lambda f: f.wrap(".strtab", 0), "crash"),
    Sibling("names-end-before-file", NEW, lambda f: f.wrap(".shstrtab", 0), "crash"),
    Sibling(
        "strings-end-in-code", OLD, lambda f: f.wrap(".strtab", 65), "refused", 22, "String table section is corrupted"
    ),
    Sibling(
        "names-end-in-code", OLD, lambda f: f.wrap(".shstrtab", 65), "refused", 22, "Section string table is corrupted"
    ),
    Sibling("strings-end-in-zero", OLD, lambda f: f.put(80, b"\0").wrap(".strtab", 81), "accepted"),
    Sibling("names-end-in-zero", ANCIENT, lambda f: f.put(80, b"\0").wrap(".shstrtab", 81), "accepted"),
    Sibling(
        "symbols", OLD, lambda f: f.set(".symtab", size=-136), "refused", 12, "Could not allocate memory for symbols"
    ),
    Sibling("one-symbol", OLD, lambda f: f.set(".symtab", size=-136, entsize=-136), "accepted", source=PLAIN),
    Sibling(
        "five-symbols", NEW, lambda f: f.set(".symtab", size=-136, entsize=(2**64 - 136) // 5), "crash", source=PLAIN
    ),
    Sibling("relocations", OLD, lambda f: f.set(".rela.text", size=-40), "refused", 95, "Encountered STN_UNDEF"),
    Sibling(
        "relocations-no-target", NEW, lambda f: f.set(".rela.text", size=-40, info=f.names[".comment"]), "accepted"
    ),
    Sibling("code", OLD, lambda f: f.wrap(".text", 0), "crash"),
    Sibling(
        "xen-depends",
        NEW,
        lambda f: f.set(".livepatch.xen_depends", flags=0).wrap(".livepatch.xen_depends", 64),
        "accepted",
    ),
    Sibling("metadata", NEW, lambda f: f.put(80, b"\0").wrap(".modinfo", 81), "crash", body=METADATA),
    Sibling("metadata-of-4-gib", NEW, lambda f: f.set(".modinfo", type=8, size=2**32 + 4), "accepted", body=METADATA),
    # Strings that run off the pages.
    Sibling(
        "section-name-off", OLD, lambda f: _name_at_page_end(f.put(80, b"\0"), ".comment", b".livepatch.hoo"), "crash"
    ),
    Sibling(
        "section-name-at-end",
        OLD,
        lambda f: _name_at_page_end(f.put(80, b"\0"), ".comment", b".livepatch.zzz"),
        "accepted",
    ),
    Sibling(
        "section-name-after-end",
        NEW,
        lambda f: f.put(80, b"\0").set(".comment", name=0x100000).wrap(".shstrtab", 81),
        "crash",
    ),
    Sibling(
        "symbol-name-off", OLD, lambda f: _symbol_name_at_page_end(f.put(80, b"\0"), f.undefined(), b"no_such"), "crash"
    ),
    Sibling("own-symbol-name-off", NEW, lambda f: _symbol_name_at_page_end(f.put(80, b"\0"), 2, b"fresh_two"), "crash"),
    # Sections that are read where they were uploaded.
    Sibling("metadata-after-pages", NEW, lambda f: _after_pages(f, ".modinfo"), "crash", body=METADATA),
    Sibling(
        "metadata-in-zeros",
        NEW,
        lambda f: f.set(".modinfo", type=8, offset=len(f.data), size=4),
        "accepted",
        body=METADATA,
    ),
    Sibling("metadata-old", OLD, lambda f: _after_pages(f, ".modinfo"), "crash", body=METADATA),
    Sibling("exceptions-after-pages", NEW, lambda f: _after_pages(f, ".ex_table"), "crash", body=EXCEPTIONS),
    Sibling("one-exception-after-pages", NEW, lambda f: _after_pages(f, ".ex_table", size=8), "crash", body=EXCEPTIONS),
    Sibling("exceptions-nobits", NEW, lambda f: f.set(".ex_table", type=8), "accepted", body=EXCEPTIONS),
    Sibling("xen-depends-after-pages", NEW, lambda f: _after_pages(f, ".livepatch.xen_depends"), "crash"),
    Sibling("xen-depends-nobits", NEW, lambda f: f.set(".livepatch.xen_depends", type=8, flags=0), "accepted"),
    Sibling("xen-depends-nobits-loaded", NEW, lambda f: f.set(".livepatch.xen_depends", type=8), "accepted"),
    Sibling("depends-after-pages", NEW, lambda f: _after_pages(f, ".livepatch.depends"), "crash"),
    Sibling("build-id-nobits", NEW, lambda f: f.set(".note.gnu.build-id", type=8, flags=0), "accepted"),
    # What shares bytes with the symbol table is read as changed.
    Sibling(
        "name-in-value",
        OLD,
        lambda f: _name_in_value(f, "fresh_one"),
        "refused",
        2,
        "Unknown symbol: [@\u0402\\xff\\xff",
    ),
    Sibling("name-in-later-value", OLD, lambda f: _name_in_value(f, "memcpy"), "refused", 2, "Unknown symbol: "),
    # Loaded relocation sections.
    Sibling(
        "loaded-relocations",
        NEW,
        _loaded_relocations,
        "accepted",
        body=TABLES,
        source=PLAIN,
        image=(1, b"\x90" * 7 + VALUE.to_bytes(8, "little")),
    ),
    Sibling(
        "loaded-relocations-old",
        OLD,
        _loaded_relocations,
        "accepted",
        body=TABLES,
        source=PLAIN,
        image=(0, VALUE.to_bytes(8, "little") + b"\x90" * 8),
    ),
    Sibling("relocates-itself", NEW, _relocates_itself, "accepted", body=TABLES, source=PLAIN),
    # Log lines are cut as raw bytes.
    Sibling(
        "cut-in-a-character",
        OLD,
        lambda f: _long_section_name(f, b"x" + "x\u00e9".encode() * 400),
        "refused",
        22,
        "Relative link of x" + "x\u00e9" * 323 + r"x\xc3",
    ),
    Sibling(
        "cut-bytes",
        NEW,
        lambda f: _long_section_name(f, b"\xff" * 2000),
        "refused",
        22,
        "Relative link of " + r"\xff" * (1020 - len("livepatch: cut-bytes: Relative link of ")),
    ),
)
