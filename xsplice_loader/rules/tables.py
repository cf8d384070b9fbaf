"""Rules on the tables that Xen carries out while it loads a payload (`spec/01 §14.7`, `§14.8`, `spec/04 §5`).

Where a refusal has two lines, the first comes from the code that alters instructions, without any prefix, and stands
here whole; the second is the live-patch code's, here without its prefix as everywhere.
"""

from __future__ import annotations

from functools import partial

from xsplice_loader.rules.rule import Rule

_table = partial(Rule, stage="prepare")
_warning = partial(Rule, stage="prepare", severity="warning")

ALTERNATIVES_WITHOUT_TEXT = _table(
    "XSP180",
    "a payload with alternatives has text",
    "Alternatives are other instructions for places in the payload's own text.",
    "spec/01 14.7.3",
    errno="EINVAL",
    words="Alternatives provided, but no .text",
    after_name=" ",
    switch="checks_alternatives_bounds",
)
ALTERNATIVES_WITHOUT_REPLACEMENTS = _table(
    "XSP181",
    "a payload with alternatives has a section .altinstr_replacement",
    "It holds the instructions that alternatives put in place.",
    "spec/01 14.7.4",
    errno="EINVAL",
    words=".altinstructions provided, but no .altinstr_replacement",
    after_name=" ",
    switch="checks_alternatives_bounds",
)
SITE_OUTSIDE_TEXT = _table(
    "XSP182",
    "an alternative is for a place in the payload's text",
    "Xen writes there. Releases without this test write wherever an entry says.",
    "spec/01 14.7.5",
    errno="EINVAL",
    words="Alternative orig {address:016x}+{size} outside payload text {start:016x}+{length}",
    after_name=" ",
    switch="checks_alternatives_bounds",
)
REPLACEMENT_OUTSIDE_SECTION = _table(
    "XSP183",
    "an alternative's instructions lie in .altinstr_replacement",
    "Xen copies them from there. Releases without this test copy from wherever an entry says.",
    "spec/01 14.7.6",
    errno="EINVAL",
    words="Alternative repl {address:016x}+{size} outside .altinstr_replacement {start:016x}+{length}",
    after_name=" ",
    switch="checks_alternatives_bounds",
)
REPLACEMENT_TOO_LONG = _table(
    "XSP184",
    "an alternative's instructions fit in their place",
    "What is shorter is filled up with NOPs; what is longer would overwrite the instructions behind.",
    "spec/01 14.7.7, spec/04 §5.1",
    errno="ENOSPC",
    words="Alt for {site:016x}, replacement size {size} larger than origin {limit}\n"
    "applying alternatives failed: {code}",
    after_name=" ",
    named_line=1,
    switch="alternatives_return_errors",
)
SITE_TOO_LONG = _table(
    "XSP185",
    "an alternative's place has at most 254 bytes",
    "Xen puts the new bytes together in a buffer of this size.",
    "spec/01 14.7.7, spec/04 §5.1",
    errno="ENOSPC",
    words="Alt for {site:016x}, origin size {size} bigger than buffer {limit}\napplying alternatives failed: {code}",
    after_name=" ",
    named_line=1,
    switch="alternatives_return_errors",
)
FEATURE_OUT_OF_RANGE = _table(
    "XSP186",
    "an alternative's feature is one that this Xen knows",
    "The number says in which word and at which bit of Xen's array of features to look; how many words there are "
    "depends on the release.",
    "spec/01 14.7.7, spec/04 §5.1",
    errno="ERANGE",
    words="Alt for {site:016x}, feature {size} outside of featureset range {limit}\n"
    "applying alternatives failed: {code}",
    after_name=" ",
    named_line=1,
    switch="alternatives_return_errors",
)
ALTERNATIVES_BUG = _table(
    "XSP187",
    "an alternative keeps to the limits of length and feature number",
    "Releases before 4.18.4, 4.19.1 and 4.20 take a broken limit for a bug of their own, and stop the machine.",
    "spec/01 14.7.7, spec/06 §4",
    crash=True,
    switch="alternatives_return_errors",
)
WILD_ALTERNATIVE = _table(
    "XSP188",
    "an alternative or alternative call leads to memory that Xen can use",
    "Xen reads replacements and pointers, and writes to places, without asking whether memory is mapped or writable.",
    "spec/06 §4",
    crash=True,
)
TABLE_IN_UPLOAD = _table(
    "XSP189",
    "the tables of alternatives and their replacements have the flag SHF_ALLOC",
    "Xen reads a section that is not loaded where the file was uploaded to. Distances in it are taken from there, so "
    "the test of what they refer to fails, with a log line that shows an address of Xen's heap.",
    "spec/06 §4",
    errno="EINVAL",
)
WRITES_OUTSIDE_TEXT = _warning(
    "XSP190",
    "alternatives write to the payload's text only",
    "Padding is not part of the bounds test, so it may be written behind the text; releases without the test write to "
    "other parts of the payload, of Xen and of other payloads too.",
    "spec/07 6, spec/06 §4",
)
TARGET_WITHOUT_ENDBR64 = _warning(
    "XSP191",
    "a function called through a pointer starts with ENDBR64",
    "Xen is built for indirect branch tracking and jumps behind the ENDBR64; its absence means that the function was "
    "compiled in another way.",
    "spec/04 §5.1.1",
    switch="direct_calls_skip_endbr64",
)
BRANCH_WRAPS = _warning(
    "XSP192",
    "the displacement of a moved branch fits 32 bits",
    "Nothing tests it; one that does not fit leads 4 GiB astray.",
    "spec/04 §5.1",
)
CONTENTS_UNKNOWN = _warning(
    "XSP193",
    "an alternative depends on bytes of Xen that are unknown",
    "Nearly all of Xen's alternative calls go through variables that Xen fills in while it boots. Xen reads the "
    "pointer when it loads the payload and makes the call direct, or UD2 where the pointer is NULL; what the file "
    "holds there says nothing. Captured memory of the running hypervisor (--memory) supplies it.",
    "xen/arch/x86/alternative.c: _apply_alternatives",
)
TARGET_FREED = _warning(
    "XSP194",
    "a call that is made direct leads to code that was freed after boot",
    "Functions in init sections are unmapped and freed after boot; calling one then is a page fault, or runs whatever "
    "was put there since.",
    "xen/arch/x86/alternative.c: _apply_alternatives",
)
CALLS_WITHOUT_TEXT = _table(
    "XSP195",
    "a payload with alternative calls has text",
    "The calls are instructions in the payload's own text.",
    "spec/01 14.8",
    errno="EINVAL",
    words="Alternative calls provided, but no .text",
    after_name=" ",
    switch="has_alternative_calls",
)
CALL_OUTSIDE_TEXT = _table(
    "XSP196",
    "an alternative call lies in the payload's text",
    "Xen writes there.",
    "spec/01 14.8",
    errno="EINVAL",
    words="Alternative call {address:016x}+{size} outside payload text {start:016x}+{length}",
    switch="has_alternative_calls",
)
NO_INDIRECT_CALL = _table(
    "XSP197",
    "an alternative call is a call through a pointer",
    "Xen replaces `call *pointer(%rip)`, the bytes ff 15 and a displacement, by a direct call to where it leads.",
    "spec/01 14.8, spec/04 §5.2",
    errno="EINVAL",
    words="Altcall for {site} [{bytes}] not CALL *RIPREL\nApplying alternative calls failed: {code}",
    named_line=1,
    switch="has_alternative_calls",
)

ALL = (
    ALTERNATIVES_WITHOUT_TEXT,
    ALTERNATIVES_WITHOUT_REPLACEMENTS,
    SITE_OUTSIDE_TEXT,
    REPLACEMENT_OUTSIDE_SECTION,
    REPLACEMENT_TOO_LONG,
    SITE_TOO_LONG,
    FEATURE_OUT_OF_RANGE,
    ALTERNATIVES_BUG,
    WILD_ALTERNATIVE,
    TABLE_IN_UPLOAD,
    WRITES_OUTSIDE_TEXT,
    TARGET_WITHOUT_ENDBR64,
    BRANCH_WRAPS,
    CONTENTS_UNKNOWN,
    TARGET_FREED,
    CALLS_WITHOUT_TEXT,
    CALL_OUTSIDE_TEXT,
    NO_INDIRECT_CALL,
)
