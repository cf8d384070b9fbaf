"""Examples for the rules on a file's form: upload, header, sections, names, symbols."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.rules import header, sections, upload
from xsplice_loader.teaching.examples.recipe import Recipe, payload

if TYPE_CHECKING:
    from xsplice_loader.rules import Rule


def _spoilt(shows: str, *damages: str, body: str = "") -> Recipe:
    return Recipe(shows=shows, source=payload(body, *damages))


EXAMPLES: dict[Rule, Recipe] = {
    upload.NAME_LENGTH: Recipe(shows="Its name has 128 characters.", source=payload(), name="n" * 128),
    upload.EMPTY_FILE: _spoilt("All of the file is cut off.", "truncate 0"),
    upload.TOO_LARGE: _spoilt(
        "It carries 2 MiB of notes that nobody will load.",
        body='        .section .comment, "", @progbits\n        .zero 0x200000\n',
    ),
    upload.NAME_TAKEN: Recipe(
        shows="A payload of that name is there already.", source=payload(), below=(("example", payload()),)
    ),
    header.SHORTER_THAN_HEADER: _spoilt("One byte less than a header takes.", "truncate 63"),
    header.NOT_ELF: _spoilt("The magic bytes are gone.", "header ei_mag 0"),
    header.NOT_RELOCATABLE: _spoilt("It says that it is an executable (ET_EXEC is 2).", "header type 2"),
    header.WRONG_MACHINE: _spoilt("It is for AArch64, machine 183.", "header machine 183"),
    header.NO_NAME_TABLE: _spoilt("No section holds the names.", "header shstrndx 0"),
    header.TOO_MANY_SECTIONS: _spoilt("It claims to have 1024 sections.", "header shnum 1024"),
    header.NAME_TABLE_PAST_END: _spoilt("The section of names is one that there is not.", "header shstrndx 999"),
    header.TABLE_OUTSIDE_FILE: _spoilt("The section table is said to stand at 256 MiB.", "header shoff 0x10000000"),
    header.SMALL_SECTION_HEADERS: _spoilt("A section header is one byte short.", "header shentsize 63"),
    header.TABLE_TRUNCATED: _spoilt("The file's last byte is lost, as in a broken transfer.", "truncate -1"),
    sections.DATA_IN_HEADER: _spoilt("The code begins at offset 0, in the ELF header.", "section .text offset 0"),
    sections.DATA_PAST_END: _spoilt("The code begins behind the end of the file.", "section .text offset 0x100000"),
    sections.ODD_ALIGNMENT: _spoilt("The code wants to stand at a multiple of 3.", "section .text addralign 3"),
    sections.MISALIGNED_ADDRESS: _spoilt("The code is said to stand at address 1.", "section .text addr 1"),
    sections.LARGE_NOBITS: _spoilt(
        "It asks for 2 MiB and one byte of zeros.",
        body='        .section .bss.large, "aw", @nobits\n        .zero 0x200001\n',
    ),
    sections.SECOND_SYMBOL_TABLE: _spoilt(
        "A section of texts says it is a symbol table.", "section .rodata.str type 2"
    ),
    sections.STRING_TABLE_PAST_END: _spoilt("The symbols' names are in section 99.", "section .symtab link 99"),
    sections.NO_SYMBOL_TABLE: _spoilt("The symbol table says that it is something else.", "section .symtab type 1"),
    sections.SYMBOL_TABLE_SIZE: _spoilt("A symbol is one byte short.", "section .symtab entsize 23"),
    sections.STRING_TABLE_FORM: _spoilt("The symbols' names do not begin with NUL.", "bytes .strtab 0 41"),
    sections.SYMBOL_TABLE_WITHOUT_STRINGS: _spoilt("The symbols' names are in section 0.", "section .symtab link 0"),
    sections.NAME_TABLE_FORM: _spoilt("The sections' names do not begin with NUL.", "bytes .shstrtab 0 41"),
    sections.SECTION_NAME_PAST_END: _spoilt("A section's name lies far outside.", "section .text name 0x7fffffff"),
    sections.SYMBOL_NAME_PAST_END: _spoilt("A symbol's name lies far outside.", "symbol replacement name 0x7fffffff"),
    sections.WILD_SIZE: _spoilt("Offset and size of the code add up to less than either.", "section .text size -1"),
    sections.UPLOAD_OVERRUN: _spoilt(
        "Entry 1 of the symbol table is said to be 2^62 bytes after entry 0.",
        "section .symtab size -4",
        "section .symtab entsize 0x3fffffffffffffff",
    ),
    sections.TOO_MANY_SYMBOLS: _spoilt(
        "A symbol table of almost 2^64 bytes claims 2863311525 symbols, after 32 bits.",
        "section .symtab size -136",
    ),
}
WITHOUT: dict[Rule, str] = {
    upload.UNREADABLE: "it is about a file that cannot be read, so there is nothing to load",
}
