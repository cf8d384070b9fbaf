"""Rules on a payload's content: notes, functions, hooks, tables, its own symbols (`spec/01 §8`, `§12` to `§15`)."""

from __future__ import annotations

from functools import partial

from xsplice_loader.rules.rule import Rule

_build_id = partial(Rule, stage="build-id")
_special = partial(Rule, stage="special-sections")
_patching = partial(Rule, stage="patching-sections")
_prepare = partial(Rule, stage="prepare")
_symbol = partial(Rule, stage="symbol-table")

NO_XEN_DEPENDS = _build_id(
    "XSP050",
    "there is a section .livepatch.xen_depends",
    "It holds the build-id of the one hypervisor build that the payload was made for.",
    "spec/01 8.1",
    errno="EINVAL",
    words="section {name} is missing",
    switch="xen_build_id_check",
)
XEN_DEPENDS_MALFORMED = _build_id(
    "XSP051",
    ".livepatch.xen_depends is a build-id note",
    "A note is three 32-bit words (name size, content size, type 3), the name GNU, and the build-id.",
    "spec/01 8.2",
    errno="EINVAL",
    words="failed to parse section {name} as build-id: {code}",
    switch="xen_build_id_check",
)
XEN_WITHOUT_BUILD_ID = _build_id(
    "XSP052",
    "the running Xen has a build-id",
    "Without one there is nothing to compare with.",
    "spec/01 8.3",
    errno="ENODATA",
    words="unable to get running Xen build-id: {code}",
    switch="xen_build_id_check",
)
OTHER_XEN = _build_id(
    "XSP053",
    "the payload was made for this build of Xen",
    "Addresses of functions and data change with every build; a payload made for another one would patch the wrong "
    "places.",
    "spec/01 8.4",
    errno="EINVAL",
    words="build-id mismatch:\n\N{NO-BREAK SPACE} livepatch: {payload}\n" + 7 * "\N{NO-BREAK SPACE}" + " xen: {xen}",
    switch="xen_build_id_check",
)

SECTION_MISSING = _special(
    "XSP100",
    "the special sections that every payload needs are there",
    "They say what the payload is, what it stands on and which Xen it is for.",
    "spec/01 12.1",
    errno="EINVAL",
    words="{name} is missing",
)
SECTION_EMPTY = _special(
    "XSP101",
    "the special sections are not empty",
    "An empty section says nothing.",
    "spec/01 12.1",
    errno="EINVAL",
    words="{name} is empty",
)
PATCHING_SECTION_EMPTY = _patching(
    "XSP102",
    "a function table or hook section is not empty",
    "An empty one is the sign of a build gone wrong.",
    "spec/01 12.2.2",
    errno="EINVAL",
    words="{name} is empty",
    switch="patching_sections",
)
NOTHING_TO_PATCH = _patching(
    "XSP103",
    "the payload patches a function or has a hook",
    "A payload that does neither would do nothing at all.",
    "spec/01 12.2.3",
    errno="EINVAL",
    words="Nothing to patch. Aborting...",
    switch="patching_sections",
)

WRONG_TABLE_SIZE = _prepare(
    "XSP110",
    "a table is a whole number of entries",
    "A remainder means that payload and hypervisor disagree on the form of an entry.",
    "spec/01 14.1.1, 14.4, 14.6 to 14.9",
    errno="EINVAL",
    words="Wrong size {size} of {name} (must be multiple of {entry_size})",
)
WRONG_VERSION = _prepare(
    "XSP120",
    "a function entry has the version that this Xen speaks",
    "Version 1 has 64 bytes an entry (up to 4.13), version 2 has 104 (from 4.14).",
    "spec/01 14.1.3",
    errno="EOPNOTSUPP",
    words="Wrong version ({version}). Expected {expected}",
)
ZERO_FIELDS = _prepare(
    "XSP121",
    "a function entry gives the old function's size",
    "Without it Xen cannot tell whether the jump fits.",
    "spec/01 14.1.4",
    errno="EINVAL",
    words="Address or size fields are zero",
)
OLD_FUNCTION_TOO_SMALL = _prepare(
    "XSP122",
    "the old function has room for the jump",
    "The jump takes 5 bytes; behind an ENDBR64, which must stay where it is, the function needs 9.",
    "spec/01 14.2",
    errno="EINVAL",
)
NOP_TOO_LONG = _prepare(
    "XSP123",
    "a NOP patch has at most 31 bytes",
    "Xen keeps the overwritten bytes in a buffer of 31.",
    "spec/01 14.2",
    errno="EOPNOTSUPP",
    switch="patches_with_nops",
)
NOP_LONGER_THAN_FUNCTION = _prepare(
    "XSP124",
    "a NOP patch is no longer than the function",
    "It would run into the next function.",
    "spec/01 14.2",
    errno="EINVAL",
    switch="patches_with_nops",
)
UNKNOWN_FUNCTION = _prepare(
    "XSP125",
    "the function to be patched is known to Xen or to a loaded payload",
    "An entry without an old address is looked up by its name; a static function is known as file.c#name only.",
    "spec/01 14.1.6",
    errno="ENOENT",
    words="Could not resolve old address of {name}",
)
TOO_FAR_TO_JUMP = _prepare(
    "XSP126",
    "old and new function are within 2 GiB of each other",
    "The jump from one to the other has a signed 32-bit displacement.",
    "spec/01 14.3",
    errno="EOVERFLOW",
    switch="checks_distance",
)
FUNCTIONS_NOT_LOADED = _prepare(
    "XSP127",
    ".livepatch.funcs has the flag SHF_ALLOC",
    "Only sections with SHF_ALLOC are loaded and relocated; this one would be used through a NULL pointer or with "
    "its raw bytes.",
    "spec/06 §4, spec/07 4",
    crash=True,
)
WILD_NAME = _prepare(
    "XSP128",
    "a function entry's name points to readable memory",
    "Xen follows the pointer to look the name up.",
    "spec/07 12",
    crash=True,
)
WILD_OLD_ADDRESS = _prepare(
    "XSP129",
    "a function entry's old address is mapped",
    "Xen looks at the first bytes of the old function to see whether it starts with ENDBR64.",
    "spec/07 12",
    crash=True,
    switch="resolves_before_verifying",
)
SINGLE_HOOK_SIZE = _prepare(
    "XSP130",
    "a single-hook section holds exactly one pointer",
    "Six of the hooks exist once for a payload.",
    "spec/01 14.4.2",
    errno="EINVAL",
    switch="single_hooks",
)
OWN_ID_MALFORMED = _prepare(
    "XSP140",
    ".note.gnu.build-id is a build-id note",
    "`ld --build-id` makes it. Later payloads name the one they stand on by this id.",
    "spec/01 14.5.1",
    errno="EINVAL",
)
SAME_ID_LOADED = _prepare(
    "XSP141",
    "no loaded payload has the same build-id",
    "The id is what tells payloads apart.",
    "spec/01 14.5.2",
    errno="EEXIST",
)
DEPENDS_MALFORMED = _prepare(
    "XSP142",
    ".livepatch.depends is a build-id note",
    "It names what the payload stands on: the hypervisor or the payload applied before it.",
    "spec/01 14.5.3",
    errno="EINVAL",
)
NOTE_NOT_LOADED = _prepare(
    "XSP143",
    "the notes have the flag SHF_ALLOC",
    "Only sections with SHF_ALLOC are loaded; older releases read the others through a NULL pointer.",
    "spec/01 §14.5, hazards",
    crash=True,
)
NOTE_DANGLES = _prepare(
    "XSP144",
    "the notes have the flag SHF_ALLOC",
    "Xen keeps a pointer to the id. Of a section that is not loaded it points into the upload buffer, which is "
    "freed at the end of the upload.",
    "spec/01 §14.5, hazards",
    severity="warning",
)
EMPTY_EXCEPTION_TABLE = _prepare(
    "XSP150",
    ".ex_table is not empty",
    "Releases before 4.10 take an empty exception table for an error.",
    "spec/01 14.9",
    errno="EINVAL",
)
TABLE_NOT_LOADED = _prepare(
    "XSP151",
    "the tables that Xen works on while loading have the flag SHF_ALLOC",
    "Only sections with SHF_ALLOC are loaded; Xen would use the others through a NULL pointer.",
    "spec/06 §4, spec/07 4",
    crash=True,
)
METADATA_FORM = _prepare(
    "XSP152",
    ".modinfo ends with NUL",
    "It is a run of strings, each ended by a NUL.",
    "spec/01 14.10",
    errno="EINVAL",
    words="Incorrect metadata format detected",
    switch="has_metadata",
)
METADATA_EMPTY = _prepare(
    "XSP153",
    ".modinfo is not empty",
    "Xen looks at the byte before the section's end; of an empty section that is 4 GiB away.",
    "spec/01 14.10",
    crash=True,
    switch="has_metadata",
)
DATA_DANGLES = _prepare(
    "XSP154",
    "the sections that Xen keeps using have the flag SHF_ALLOC",
    "Of a section that is not loaded Xen keeps a pointer into the upload buffer, which is freed at the end of "
    "the upload.",
    "spec/06 §4",
    severity="warning",
)
XEN_DEPENDS_LATE_MALFORMED = _prepare(
    "XSP160",
    ".livepatch.xen_depends is a build-id note",
    "A note is three 32-bit words (name size, content size, type 3), the name GNU, and the build-id.",
    "spec/01 §3, §13",
    errno="EINVAL",
    switch="xen_build_id_check",
)
OTHER_XEN_LATE = Rule(
    "XSP161",
    "the payload was made for this build of Xen",
    "Addresses of functions and data change with every build; a payload made for another one would patch the wrong "
    "places. These releases compare after everything else was prepared.",
    "spec/01 §3",
    stage="build-id",
    errno="EINVAL",
    words="check against hypervisor build-id failed",
    switch="xen_build_id_check",
)
XEN_WITHOUT_BUILD_ID_LATE = Rule(
    "XSP162",
    "the running Xen has a build-id",
    "Without one there is nothing to compare with.",
    "spec/01 §3",
    stage="build-id",
    errno="ENODATA",
    switch="xen_build_id_check",
)

DUPLICATE_SYMBOL = _symbol(
    "XSP170",
    "a payload's own symbols are new to Xen and to the loaded payloads",
    "Later payloads may link to them by name. Local labels count too; only the new functions themselves may repeat a "
    "name.",
    "spec/01 15.2, spec/03 §2",
    errno="EEXIST",
    words="duplicate new symbol: {name}",
)

ALL = (
    NO_XEN_DEPENDS,
    XEN_DEPENDS_MALFORMED,
    XEN_WITHOUT_BUILD_ID,
    OTHER_XEN,
    SECTION_MISSING,
    SECTION_EMPTY,
    PATCHING_SECTION_EMPTY,
    NOTHING_TO_PATCH,
    WRONG_TABLE_SIZE,
    WRONG_VERSION,
    ZERO_FIELDS,
    OLD_FUNCTION_TOO_SMALL,
    NOP_TOO_LONG,
    NOP_LONGER_THAN_FUNCTION,
    UNKNOWN_FUNCTION,
    TOO_FAR_TO_JUMP,
    FUNCTIONS_NOT_LOADED,
    WILD_NAME,
    WILD_OLD_ADDRESS,
    SINGLE_HOOK_SIZE,
    OWN_ID_MALFORMED,
    SAME_ID_LOADED,
    DEPENDS_MALFORMED,
    NOTE_NOT_LOADED,
    NOTE_DANGLES,
    EMPTY_EXCEPTION_TABLE,
    TABLE_NOT_LOADED,
    METADATA_FORM,
    METADATA_EMPTY,
    DATA_DANGLES,
    XEN_DEPENDS_LATE_MALFORMED,
    OTHER_XEN_LATE,
    XEN_WITHOUT_BUILD_ID_LATE,
    DUPLICATE_SYMBOL,
)
