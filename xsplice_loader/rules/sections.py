"""Rules on section headers, section names and the symbol table (`spec/01 §5` to `§7`)."""

from __future__ import annotations

from functools import partial

from xsplice_loader.rules.rule import Rule

_section = partial(Rule, stage="sections")
_name = partial(Rule, stage="names")
_symbol = partial(Rule, stage="symbols")

DATA_IN_HEADER = _section(
    "XSP030",
    "no section begins inside the ELF header",
    "The test is made for every section, also for those that hold no bytes in the file: a NOBITS section with "
    "sh_offset 0 fails too.",
    "spec/01 5.1",
    errno="EINVAL",
    words="Section [{index}] data at ELF header of payload",
)
DATA_PAST_END = _section(
    "XSP031",
    "a section's bytes lie within the file",
    "What is not in the file cannot be copied.",
    "spec/01 5.2",
    errno="EINVAL",
    words="Section [{index}] data is past end of payload",
)
ODD_ALIGNMENT = _section(
    "XSP032",
    "sh_addralign is 0 or a power of two",
    "Rounding up to an alignment is done with a bit mask, which is only right for powers of two.",
    "spec/01 5.3",
    errno="EOPNOTSUPP",
    words="Section [{index}] alignment ({alignment}) is not supported",
    switch="checks_alignment",
)
MISALIGNED_ADDRESS = _section(
    "XSP033",
    "sh_addr is a multiple of sh_addralign",
    "In a payload sh_addr is normally 0, which is a multiple of everything.",
    "spec/01 5.4",
    errno="EINVAL",
    words="Section [{index}] addr ({address}) is not aligned properly ({alignment})",
    switch="checks_alignment",
)
LARGE_NOBITS = _section(
    "XSP034",
    "a NOBITS section has at most 2 MiB",
    "Zero-filled sections take no room in the file, so the limit on the file does not hold them.",
    "spec/01 5.5",
    errno="EINVAL",
    switch="limits_nobits",
)
SECOND_SYMBOL_TABLE = _section(
    "XSP035",
    "there is one symbol table",
    "Relocations name symbols by their index; with two tables the index would be ambiguous.",
    "spec/01 5.6",
    errno="EOPNOTSUPP",
    words="Unsupported multiple symbol tables",
)
STRING_TABLE_PAST_END = _section(
    "XSP036",
    "the symbol table's sh_link lies within the section table",
    "It names the section that holds the symbols' names.",
    "spec/01 5.7",
    errno="EINVAL",
    words="Symbol table idx ({link}) to strtab past end ({count})",
)
NO_SYMBOL_TABLE = _section(
    "XSP037",
    "there is a symbol table",
    "Without symbols no relocation can be resolved; a stripped object is no payload.",
    "spec/01 5.8",
    errno="EINVAL",
    words="No symbol table found",
)
SYMBOL_TABLE_SIZE = _section(
    "XSP038",
    "the symbol table is a whole number of entries of at least 24 bytes",
    "sh_entsize is the stride of the table.",
    "spec/01 5.9",
    errno="EINVAL",
    words="Symbol table header is corrupted",
)
STRING_TABLE_FORM = _section(
    "XSP039",
    "the symbols' string table is of type STRTAB and begins and ends with NUL",
    "The first NUL makes name 0 the empty name, the last one ends every name.",
    "spec/01 5.10",
    errno="EINVAL",
    words="String table section is corrupted",
)
SYMBOL_TABLE_WITHOUT_STRINGS = _section(
    "XSP040",
    "the symbol table's sh_link is not 0",
    "Xen never fills its record of section 0, and follows the NULL pointer that stands there.",
    "spec/01 §5, hazards",
    crash=True,
)
NAME_TABLE_FORM = _name(
    "XSP041",
    "the section name table is of type STRTAB and begins and ends with NUL",
    "The first NUL makes name 0 the empty name, the last one ends every name.",
    "spec/01 6.1",
    errno="EINVAL",
    words="Section string table is corrupted",
)
SECTION_NAME_PAST_END = _name(
    "XSP042",
    "every section's name lies within the name table",
    "sh_name is an offset into it.",
    "spec/01 6.2",
    errno="EINVAL",
    words="Section {index} name is not within .shstrtab",
)
SYMBOL_NAME_PAST_END = _symbol(
    "XSP043",
    "every symbol's name lies within the string table",
    "st_name is an offset into it.",
    "spec/01 7.1",
    errno="EINVAL",
    words="Symbol [{index}] name is not within .strtab",
)
WILD_SIZE = _section(
    "XSP044",
    "sh_offset + sh_size does not wrap around 2^64",
    "Xen's test adds the two in 64 bits and does not see the wrap. A section that it does not read does no harm; where "
    "it reads one, it reads far outside the file.",
    "xen/common/livepatch_elf.c: elf_resolve_sections",
    severity="warning",
)
UPLOAD_OVERRUN = _section(
    "XSP045",
    "what Xen reads of the file is within the pages of its copy",
    "Xen copies the file into whole pages, and follows offsets and strings in them. The page after the last one is not "
    "mapped: reading there is a page fault.",
    "xen/common/livepatch.c: livepatch_upload",
    crash=True,
)
TOO_MANY_SYMBOLS = _symbol(
    "XSP046",
    "Xen can allocate a record for each symbol",
    "Xen keeps a record of its own for each symbol. The number of symbols is taken from the size of their table, which "
    "can only be too large where the test of that size does not see that it wraps.",
    "xen/common/livepatch_elf.c: elf_get_sym",
    errno="ENOMEM",
    words="Could not allocate memory for symbols",
)

ALL = (
    DATA_IN_HEADER,
    DATA_PAST_END,
    ODD_ALIGNMENT,
    MISALIGNED_ADDRESS,
    LARGE_NOBITS,
    SECOND_SYMBOL_TABLE,
    STRING_TABLE_PAST_END,
    NO_SYMBOL_TABLE,
    SYMBOL_TABLE_SIZE,
    STRING_TABLE_FORM,
    SYMBOL_TABLE_WITHOUT_STRINGS,
    NAME_TABLE_FORM,
    SECTION_NAME_PAST_END,
    SYMBOL_NAME_PAST_END,
    WILD_SIZE,
    UPLOAD_OVERRUN,
    TOO_MANY_SYMBOLS,
)
