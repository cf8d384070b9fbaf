"""Rules on placement, symbol resolution and relocation (`spec/01 §9` to `§11`, `spec/03 §3`)."""

from __future__ import annotations

from functools import partial

from xsplice_loader.rules.rule import Rule

_placement = partial(Rule, stage="placement")
_resolution = partial(Rule, stage="resolution")
_relocation = partial(Rule, stage="relocation")

WRITABLE_AND_EXECUTABLE = _placement(
    "XSP060",
    "no section is both writable and executable",
    "Payload memory is either code, data or constants; nothing may be written and then run.",
    "spec/01 9.2",
    errno="EOPNOTSUPP",
)
NO_MEMORY = _placement(
    "XSP061",
    "a free range is found for the payload, and pages to fill it",
    "Text, data and constants of a payload form one range of addresses next to Xen's own text, with a guard "
    "page before it.",
    "spec/01 9.3",
    errno="ENOMEM",
    words="Could not allocate memory for payload",
)
COPY_PAST_RANGE = _placement(
    "XSP062",
    "every section stays within the payload's range",
    "With sh_addralign 0 or a wrapping size, Xen's cursor starts again while the copying goes on: the bytes spill "
    "over the next region and then into unmapped memory.",
    "spec/07 10",
    crash=True,
)
ALIGNMENT_ZERO = _placement(
    "XSP063",
    "sh_addralign is not 0 for a loaded section",
    "Rounding up to 0 yields 0: the section lands on top of what was placed before it in its region, and the "
    "region's size starts again from there.",
    "spec/02 §3",
    severity="warning",
)
ALIGNMENT_BEYOND_PAGE = _placement(
    "XSP064",
    "sh_addralign is at most a page",
    "A region starts on a page boundary, whatever its sections ask for; a larger alignment holds within the region "
    "only.",
    "spec/02 §3",
    severity="warning",
)

COMMON_SYMBOL = _resolution(
    "XSP070",
    "no symbol is in COMMON",
    "A common symbol is storage that a linker would still have to allocate; compile with -fno-common.",
    "spec/01 10.1",
    errno="EINVAL",
    words="Unexpected common symbol: {name}",
)
UNKNOWN_SYMBOL = _resolution(
    "XSP071",
    "every undefined symbol is known to Xen or to a loaded payload",
    "Names must match exactly, weak or not, used or not. A static function or variable of Xen is known as "
    "file.c#name only.",
    "spec/01 10.2",
    errno="ENOENT",
    words="Unknown symbol: {name}",
)
RESERVED_SECTION_INDEX = _resolution(
    "XSP072",
    "no symbol uses a reserved section index other than ABS and COMMON",
    "Indices from 0xff00 on are reserved; extended numbering (SHN_XINDEX) is not understood by Xen.",
    "spec/01 10.4",
    errno="EOPNOTSUPP",
    words="Out of bounds symbol section {index:#x}",
)
SECTION_INDEX_PAST_END = _resolution(
    "XSP073",
    "every symbol's section exists",
    "st_shndx is an index into the section table.",
    "spec/01 10.5",
    errno="EINVAL",
    words="Out of bounds symbol section {index:#x}",
)

RELOCATION_SECTION_ZERO = _relocation(
    "XSP080",
    "a relocation section's sh_info is not 0",
    "Xen never fills its record of section 0, and follows the NULL pointer that stands there.",
    "spec/01 §11, hazard",
    crash=True,
)
WRONG_SYMBOL_TABLE_LINK = _relocation(
    "XSP081",
    "a relocation section's sh_link names the symbol table",
    "Its entries are indices into that table.",
    "spec/01 11.3",
    errno="EINVAL",
    words="Relative link of {name} is incorrect ({link}, expected={expected})",
)
RELOCATION_TABLE_SIZE = _relocation(
    "XSP082",
    "a relocation section is a whole number of entries of at least 24 bytes (16 for REL)",
    "sh_entsize is the stride of the table.",
    "spec/01 11.5",
    errno="EINVAL",
    words="Section relative header is corrupted",
)
REL_UNSUPPORTED = _relocation(
    "XSP083",
    "relocations carry their addends (RELA, not REL)",
    "x86-64 uses SHT_RELA only; SHT_REL is what 32-bit x86 has.",
    "spec/03 §3",
    errno="EOPNOTSUPP",
    words="SHT_REL relocation unsupported",
)
SYMBOL_ZERO = _relocation(
    "XSP084",
    "a relocation names a symbol",
    "Symbol 0 is the null symbol. Assemblers use it when they fold an absolute symbol into the addend.",
    "spec/03 3.1",
    errno="EOPNOTSUPP",
    words="Encountered STN_UNDEF",
    switch="checks_symbol_zero",
)
SYMBOL_PAST_END = _relocation(
    "XSP085",
    "a relocation's symbol exists",
    "The upper half of r_info is an index into the symbol table.",
    "spec/03 3.2",
    errno="EINVAL",
    words="Relative relocation wants symbol@{index} which is past end",
)
IGNORED_SYMBOL = _relocation(
    "XSP086",
    "a relocation's symbol was given an address",
    "A section without SHF_ALLOC is not loaded, so nothing can point into it.",
    "spec/03 3.4",
    errno="EINVAL",
    words="Relocation against ignored symbol {name} cannot be resolved",
    switch="refuses_ignored_symbols",
)
UNHANDLED_TYPE = _relocation(
    "XSP087",
    "a relocation's type is NONE, 64, PC32 or PLT32",
    "Xen's loader knows four of the psABI's types. The others come from code that was compiled for another code model.",
    "spec/03 §3",
    errno="EOPNOTSUPP",
    words="Unhandled relocation {number}",
)
OFFSET_PAST_END = _relocation(
    "XSP088",
    "a relocation's field lies within its section",
    "r_offset is where the value goes; all of its 4 or 8 bytes must be in the section.",
    "spec/03 §3",
    errno="EINVAL",
    words="Relative relocation offset is past {section} section",
)
OVERFLOW = _relocation(
    "XSP089",
    "S + A - P fits a signed 32-bit field",
    "x86-64 code reaches 2 GiB back and 2 GiB forth. A displacement that does not fit loses its upper half, and the "
    "instruction leads somewhere else entirely.",
    "spec/03 §3, §6",
    errno="EOVERFLOW",
    words="Overflow in relocation {index} in {relocations} for {section}",
)
UNFILLED_SYMBOL_SLOT = _relocation(
    "XSP090",
    "no relocation names symbol 0 or the one past the last",
    "Before the fix of 2017 Xen used the slot without having filled it: a NULL pointer, or whatever stood there.",
    "spec/03 §3",
    crash=True,
)
MEANINGLESS_VALUE = _relocation(
    "XSP091",
    "a relocation's symbol has an address",
    "A section without SHF_ALLOC, and in some releases an empty one, is given no address; its symbols keep their "
    "raw value, an offset near 0. A pointer made of it leads nowhere.",
    "spec/02 §1",
    severity="warning",
)

ALL = (
    WRITABLE_AND_EXECUTABLE,
    NO_MEMORY,
    COPY_PAST_RANGE,
    ALIGNMENT_ZERO,
    ALIGNMENT_BEYOND_PAGE,
    COMMON_SYMBOL,
    UNKNOWN_SYMBOL,
    RESERVED_SECTION_INDEX,
    SECTION_INDEX_PAST_END,
    RELOCATION_SECTION_ZERO,
    WRONG_SYMBOL_TABLE_LINK,
    RELOCATION_TABLE_SIZE,
    REL_UNSUPPORTED,
    SYMBOL_ZERO,
    SYMBOL_PAST_END,
    IGNORED_SYMBOL,
    UNHANDLED_TYPE,
    OFFSET_PAST_END,
    OVERFLOW,
    UNFILLED_SYMBOL_SLOT,
    MEANINGLESS_VALUE,
)
