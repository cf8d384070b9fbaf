"""Rules on the ELF header (`spec/01 §4`)."""

from __future__ import annotations

from functools import partial

from xsplice_loader.rules.rule import Rule

_rule = partial(Rule, stage="header")

SHORTER_THAN_HEADER = _rule(
    "XSP010",
    "the file holds a whole ELF header",
    "An ELF64 header takes 64 bytes; everything else is found through it.",
    "spec/01 4.1",
    errno="EINVAL",
    words="Section header is bigger than payload",
)
NOT_ELF = _rule(
    "XSP011",
    "the file begins with 7f 45 4c 46",
    "The four magic bytes tell an ELF file from anything else.",
    "spec/01 4.2",
    errno="EINVAL",
    words="Not an ELF payload",
)
NOT_RELOCATABLE = _rule(
    "XSP012",
    "the file is a relocatable ELF object without program headers",
    "A payload is what `ld -r` makes (ET_REL): sections that have no addresses yet. An executable or a shared "
    "object was already laid out for addresses that are not Xen's.",
    "spec/01 4.3",
    errno="EOPNOTSUPP",
    words="Invalid ELF payload",
)
WRONG_MACHINE = _rule(
    "XSP013",
    "the file is for x86-64, 64 bits, little endian",
    "Code for another machine cannot run here, and its relocations mean something else.",
    "spec/01 4.4",
    errno="EOPNOTSUPP",
    words="Unsupported ELF Machine type",
)
NO_NAME_TABLE = _rule(
    "XSP014",
    "e_shstrndx names the section that holds section names",
    "Special sections are found by name only.",
    "spec/01 4.6",
    errno="EINVAL",
    words="Section name idx is undefined",
)
TOO_MANY_SECTIONS = _rule(
    "XSP015",
    "the file has fewer than 1024 sections",
    "Objects built with -ffunction-sections and joined without merging can get there.",
    "spec/01 4.7",
    errno="EOPNOTSUPP",
    words="Too many ({count}) sections",
)
NAME_TABLE_PAST_END = _rule(
    "XSP016",
    "e_shstrndx lies within the section table",
    "Section 0 is no section, and what lies past the table is none either. Extended numbering, where e_shnum is "
    "0 and the true count stands in section 0, is not understood by Xen and fails here.",
    "spec/01 4.8",
    errno="EINVAL",
    words="Section name idx ({index}) is past end of sections ({count})",
)
TABLE_OUTSIDE_FILE = _rule(
    "XSP017",
    "e_shoff lies within the file",
    "It says where the section header table begins.",
    "spec/01 4.9",
    errno="EINVAL",
    words="Bogus e_shoff",
)
SMALL_SECTION_HEADERS = _rule(
    "XSP018",
    "a section header takes at least 64 bytes",
    "e_shentsize is the stride of the table; a larger one is fine.",
    "spec/01 4.10",
    errno="EINVAL",
    words="Section header size is {size}! Expected 64.",
)
TABLE_TRUNCATED = _rule(
    "XSP019",
    "the section header table lies within the file",
    "A file cut short loses its section header table first, because that stands at the end.",
    "spec/01 4.11",
    errno="EINVAL",
    words="Section header size is corrupted",
)

ALL = (
    SHORTER_THAN_HEADER,
    NOT_ELF,
    NOT_RELOCATABLE,
    WRONG_MACHINE,
    NO_NAME_TABLE,
    TOO_MANY_SECTIONS,
    NAME_TABLE_PAST_END,
    TABLE_OUTSIDE_FILE,
    SMALL_SECTION_HEADERS,
    TABLE_TRUNCATED,
)
