"""What differs between releases of Xen, as data.

A change came to the development branch at some point and was then copied back into several stable
branches, each at a point release of its own. So no version comparison is written anywhere in this program:
a `ChangeSet` lists the first release of each branch that has a change, `SWITCHES` says which value each
named switch takes from which change set on, and a `Release` is one frozen row of those switches
(`spec/06 §1`, `§2`).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Literal, NamedTuple

Version = tuple[int, int, int]
Permissions = Literal["r-x", "rw-", "r--", "rwx"]
"""What pages may be used for."""

PAGE_SIZE = 4096
GIB = 1 << 30

OLDEST: Version = (4, 7, 0)
NEWEST_BRANCH = (4, 22)


class UnknownReleaseError(ValueError):
    """A release that is not of the form X.Y.Z, or is older than live patching (4.7.0)."""


class NewerReleaseError(UnknownReleaseError):
    """A release of a branch that came after the newest one known here."""


class ChangeSet(NamedTuple):
    """A change and the first release of every branch that has it (`spec/06 §1`)."""

    content: str
    first: tuple[Version, ...]

    def is_in(self, version: Version) -> bool:
        """Tell whether `version` has the change: by its own branch's entry, else by the branches around it."""
        branch = version[:2]
        for first in self.first:
            if first[:2] == branch:
                return version >= first
        return branch > self.first[-1][:2]


def _since(content: str, *first: str) -> ChangeSet:
    return ChangeSet(content, tuple(_numbers(text) for text in first))


def _numbers(text: str) -> Version:
    major, minor, point = (int(part) for part in text.split("."))
    return major, minor, point


# The named sets of spec/01 and spec/06 §1 …
SET_A = _since("empty sections are placed again; ENDBR64-aware trampolines", "4.14.5", "4.15.3", "4.16.1", "4.17.0")
SET_B = _since("per-function state lives in Xen, not in the payload", "4.17.3", "4.18.1", "4.19.0")
SET_C = _since("a payload's text counts as Xen's from its upload on", "4.17.4", "4.18.1", "4.19.0")
SET_D = _since("build-id compared first; alternatives return errors", "4.18.4", "4.19.1", "4.20.0")
SET_E = _since("bounds checks on .altinstructions", "4.17.4", "4.18.0")
SYMBOL_ZERO = _since("relocations against symbol 0 are refused", "4.7.4", "4.8.2", "4.9.1", "4.10.0")
RELAXED_TEXT = _since("text is made writable instead of clearing CR0.WP", "4.16.4", "4.17.1", "4.18.0")
RELAXED_RODATA = _since("read-only data is made writable as well", "4.17.4", "4.18.2", "4.19.0")
# … and the changes that came with a branch.
IN_4_8 = _since("NOP patches, distance test, load and unload hooks", "4.8.0")
IN_4_9 = _since("image starts 2 MiB into Xen's range", "4.9.0")
IN_4_10 = _since("sh_addralign checks", "4.10.0")
IN_4_11 = _since("alternatives entries of 14 bytes, longer NOPs", "4.11.0")
IN_4_12 = _since("ideal padding stays", "4.12.0")
IN_4_13 = _since("errors printed in release builds, indirect calls in alternatives become direct", "4.13.0")
IN_4_14 = _since("function table v2, xen_depends, eight hooks, Xen 1 GiB lower", "4.14.0")
IN_4_16 = _since("a further feature word", "4.16.0")
IN_4_17 = _since("the poison form of ENDBR64, payloads start at __2M_rwdata_end", "4.17.0")
IN_4_19 = _since("the tool takes whole verbs only, and --force", "4.19.0")
IN_4_21 = _since("alternative calls in a table of their own, END entries among symbols", "4.21.0")
IN_4_22 = _since("BUG is the one-byte instruction UDB", "4.22.0")
KEY_X_FIX = _since("debug key x gets its lock back after 64 functions", "4.7.3", "4.8.2", "4.9.0")
# What security fixes and new processors added to each branch. Feature words are NCAPINTS in each tag's headers.
WORDS_11 = _since("an 11th feature word", "4.7.5", "4.8.4", "4.9.0")
WORDS_16 = _since("the 16th feature word", "4.14.5", "4.15.3", "4.16.1", "4.17.0")
WORDS_18 = _since("the 18th feature word", "4.16.4", "4.17.1", "4.18.0")
WORDS_20 = _since("the 20th feature word", "4.14.6", "4.15.5", "4.16.5", "4.17.2", "4.18.0")
WORDS_21 = _since("the 21st feature word", "4.17.6", "4.18.6", "4.19.3", "4.20.1")
WORDS_22 = _since("the 22nd feature word", "4.21.1", "4.22.0")
ABSENT_FEATURES = _since("alternatives for absent features", "4.17.6", "4.18.5", "4.19.3", "4.20.1")
# What hooks and trapping instructions see of Xen.
NAMED_TRAPS = _since("a fatal trap is printed by its exception's name", "4.21.1", "4.22.0")

_HOOKS_ARRAYS = (".livepatch.hooks.load", ".livepatch.hooks.unload")
_HOOKS_SINGLE = tuple(
    f".livepatch.hooks.{name}" for name in ("preapply", "apply", "postapply", "prerevert", "revert", "postrevert")
)
_LOAD_IN_TWO_LINES = (
    "  load  <file>           upload and apply <file>.",
    "                         name is the <file> name",
)
_LOAD_IN_ONE_LINE = ("  load <file> [flags]    upload and apply <file> with name as the <file> name",)
ENDBR64 = bytes.fromhex("f30f1efa")
ENDBR64_POISON = bytes.fromhex("660f1f01")


class Release(NamedTuple):
    """One release's rules. Every field but the first two is a switch of `spec/06 §2`."""

    name: str
    """As asked for or as the image reports it, for example `4.20.4-pre`."""
    version: Version
    """Whose rules these are, for example `(4, 20, 3)`."""

    function_version: int
    """The version byte that every entry of `.livepatch.funcs` must carry."""
    function_entry_size: int
    """Bytes of one entry of `.livepatch.funcs`."""
    ignores_empty_sections: bool
    """A section of size 0 gets no address, although it carries SHF_ALLOC."""
    refuses_ignored_symbols: bool
    """A relocation against a symbol of an ignored section is EINVAL instead of using the raw value."""
    checks_alignment: bool
    limits_nobits: bool
    checks_symbol_zero: bool
    """Before: slot 0 was used unfilled, and an index equal to the symbol count slipped through."""
    checks_relocation_header_first: bool
    """`sh_entsize` of a relocation section is tested before SHT_REL is refused (4.7: after)."""
    required_sections: tuple[str, ...]
    patching_sections: tuple[str, ...]
    """One of these must be there; empty: the rule does not exist."""
    xen_build_id_check: Literal["none", "late", "early"]
    patches_with_nops: bool
    checks_distance: bool
    resolves_before_verifying: bool
    """An old address is looked up before the sizes are tested, because the test looks at the old bytes."""
    endbr64_forms: tuple[bytes, ...]
    """Old bytes that push the trampoline 4 bytes on."""
    needs_new_size: bool
    """4.7: `new_addr` and `new_size` must not be 0."""
    hook_arrays: tuple[str, ...]
    single_hooks: tuple[str, ...]
    empty_exception_table: bool
    """An empty `.ex_table` is accepted."""
    heap_child_offset: Literal[0, 1]
    """In the heap sort of `.ex_table`, the first child of entry r is 2r plus this."""
    alternatives_entry_size: int
    alternatives_feature_words: int
    """32-bit words in Xen's array of processor features; an alternative may name no other."""
    alternatives_know_absence: bool
    """Bit 15 of an alternative's feature asks for a processor without the feature."""
    alternatives_skip_marked: bool
    """An entry whose `priv` is set is skipped, and every entry marks itself. Before: its own `priv` is not looked at,
    and every entry marks the first of its run."""
    alternatives_make_calls_direct: bool
    """An alternative with a branch to itself makes the indirect one at its site direct."""
    alternatives_return_errors: bool
    """An alternative that breaks a limit is refused; before, it was a BUG."""
    checks_alternatives_bounds: bool
    """Sites must lie in the payload's text, replacements in `.altinstr_replacement`."""
    keeps_ideal_padding: bool
    """Padding is left as the assembler made it where that is what the processor likes best."""
    moves_return_thunks: bool
    """A jump to the return thunk at a replacement's end is corrected for its new place."""
    built_for_ibt: bool
    """Default builds start what is called through pointers with ENDBR64."""
    direct_calls_skip_endbr64: bool
    """A call that is made direct leads past its target's ENDBR64, in builds that have these."""
    has_alternative_calls: bool
    altcall_word: str
    """How the console line begins that says that a call's target has no ENDBR64."""
    has_metadata: bool
    passes_note_errors: bool
    """A malformed note gives its own errno (ENODATA possible) instead of EINVAL, and may lack SHF_ALLOC."""
    keeps_state_in_payload: bool
    """What was saved of a function stands in its own table entry; after that, in memory of Xen's."""
    marks_applied: bool
    """Functions carry a mark whether they are patched; actions test that all carry the right one afterwards."""
    saves_patch_offset: bool
    """The table entry also says where in the function its saved bytes belong."""
    clears_write_protection: bool
    """While it patches, Xen may write to all that is mapped."""
    relaxed_pages: tuple[Permissions, ...]
    """Which pages of its own and of active payloads Xen makes writable while it patches."""
    text_active_from_load: bool
    """A payload's bug frames and exception table count from its upload on; before: only while it is applied."""
    region_has_rodata: bool
    """`struct virtual_region` also holds the bounds of read-only data."""
    region_tables_have_ends: bool
    """`struct virtual_region` holds where each table of bug frames ends; before: how many frames it has."""
    bug_instruction: bytes
    """The instruction of BUG, WARN and ASSERT."""
    invalid_opcode_panic: str
    """What Xen panics with after an invalid opcode that nothing was prepared for."""
    panic_names_context: bool
    """It says so if interrupts were disabled."""
    has_expectations: bool
    """Expected bytes, and with them the flag NODEPS and the eight hooks."""
    skipping_routines: tuple[str, str]
    """The functions, for apply and for revert, that say that they skip a patched or unpatched function."""
    key_x_keeps_lock: bool
    """Debug key `x` stops after 65 functions of a payload and never gives the payload lock back."""
    shows_xen_depends: bool
    """The debug key `x` shows what `.livepatch.xen_depends` says."""
    reapply_rule: Literal["always", "exactly one", "none or one", "none or one with content"]
    longest_nop: int
    prints_errors: bool
    """A release build prints its refusals."""
    xen_virt_start: int
    image_offset: int
    """Bytes from `xen_virt_start` to `_start`."""
    arena_starts_at_rwdata_end: bool
    """The payload range starts at `__2M_rwdata_end`; before: at `_end` rounded up to 2 MiB."""
    has_ro_after_init: bool
    """`.data.ro_after_init`: data in the read-only part of the image that Xen fills in while it boots."""
    has_executable_fixmap: bool
    """FIXADDR_X_SIZE bytes at the top of Xen's range are kept off the payload range."""
    tool_title: str
    """The first line of the usage text of `xen-livepatch`."""
    tool_describes_load: tuple[str, ...]
    """The lines of the usage text on `load`, without its flags."""
    tool_waits_in_dots: bool
    """`xen-livepatch` as it spoke up to 4.8."""
    tool_knows_prefixes: bool
    """`xen-livepatch` takes the beginning of a verb for the verb."""
    tool_knows_force: bool

    @property
    def is_stand_in(self) -> bool:
        """Whether these are another branch's rules, because the release's own are not known."""
        return not self.name.startswith(f"{self.version[0]}.{self.version[1]}.")

    def __str__(self) -> str:
        return self.name


# Per switch: the value of 4.7.0, then (change set, value from there on).
SWITCHES: dict[str, tuple[Any, *tuple[tuple[ChangeSet, Any], ...]]] = {
    "function_version": (1, (IN_4_14, 2)),
    "function_entry_size": (64, (IN_4_14, 104)),
    "ignores_empty_sections": (False, (IN_4_8, True), (SET_A, False)),
    "refuses_ignored_symbols": (False, (SET_A, True)),
    "checks_alignment": (False, (IN_4_10, True)),
    "limits_nobits": (False, (IN_4_8, True)),
    "checks_symbol_zero": (False, (SYMBOL_ZERO, True)),
    "checks_relocation_header_first": (False, (IN_4_8, True)),
    "required_sections": (
        (".livepatch.funcs", ".livepatch.depends", ".note.gnu.build-id"),
        (IN_4_14, (".livepatch.depends", ".livepatch.xen_depends", ".note.gnu.build-id")),
        (SET_D, (".livepatch.depends", ".note.gnu.build-id")),
    ),
    "patching_sections": ((), (IN_4_14, (".livepatch.funcs", *_HOOKS_ARRAYS, *_HOOKS_SINGLE))),
    "xen_build_id_check": ("none", (IN_4_14, "late"), (SET_D, "early")),
    "patches_with_nops": (False, (IN_4_8, True)),
    "checks_distance": (False, (IN_4_8, True)),
    "resolves_before_verifying": (False, (SET_A, True)),
    "endbr64_forms": ((), (SET_A, (ENDBR64,)), (IN_4_17, (ENDBR64, ENDBR64_POISON))),
    "needs_new_size": (True, (IN_4_8, False)),
    "hook_arrays": ((), (IN_4_8, _HOOKS_ARRAYS)),
    "single_hooks": ((), (IN_4_14, _HOOKS_SINGLE)),
    "empty_exception_table": (False, (IN_4_10, True)),
    "alternatives_entry_size": (12, (IN_4_11, 14)),
    "heap_child_offset": (0, (IN_4_9, 1)),
    "alternatives_feature_words": (
        10,
        (WORDS_11, 11),
        (IN_4_13, 13),
        (IN_4_16, 14),
        (WORDS_16, 16),
        (WORDS_18, 18),
        (WORDS_20, 20),
        (WORDS_21, 21),
        (WORDS_22, 22),
    ),
    "alternatives_know_absence": (False, (ABSENT_FEATURES, True)),
    "alternatives_skip_marked": (False, (IN_4_13, True)),
    "alternatives_make_calls_direct": (False, (IN_4_13, True), (IN_4_21, False)),
    "alternatives_return_errors": (False, (SET_D, True)),
    "checks_alternatives_bounds": (False, (SET_E, True)),
    "keeps_ideal_padding": (False, (IN_4_12, True)),
    "moves_return_thunks": (False, (IN_4_21, True)),
    "built_for_ibt": (False, (SET_A, True)),
    "direct_calls_skip_endbr64": (False, (IN_4_17, True)),
    "has_alternative_calls": (False, (IN_4_21, True)),
    "altcall_word": ("altcall", (IN_4_21, "Altcall")),
    "has_metadata": (False, (IN_4_14, True)),
    "passes_note_errors": (False, (SET_D, True)),
    "keeps_state_in_payload": (True, (SET_B, False)),
    "marks_applied": (False, (IN_4_14, True)),
    "saves_patch_offset": (False, (SET_A, True)),
    "clears_write_protection": (True, (RELAXED_TEXT, False)),
    "relaxed_pages": ((), (RELAXED_TEXT, ("r-x",)), (RELAXED_RODATA, ("r-x", "r--"))),
    "text_active_from_load": (False, (SET_C, True)),
    "region_has_rodata": (False, (RELAXED_RODATA, True)),
    "region_tables_have_ends": (False, (IN_4_19, True)),
    "bug_instruction": (b"\x0f\x0b", (IN_4_22, b"\xd6")),
    "invalid_opcode_panic": (
        "FATAL TRAP: vector = 6 (invalid opcode)",
        (NAMED_TRAPS, "FATAL TRAP: vec 6, #UD[0000]"),
    ),
    "panic_names_context": (False, (NAMED_TRAPS, True)),
    "has_expectations": (False, (IN_4_14, True)),
    "skipping_routines": (
        ("common_livepatch_apply", "common_livepatch_revert"),
        (SET_C, ("apply_payload", "revert_payload")),
    ),
    "key_x_keeps_lock": (True, (KEY_X_FIX, False)),
    "shows_xen_depends": (False, (IN_4_14, True), (SET_D, False)),
    "reapply_rule": (
        "always",
        (IN_4_8, "exactly one"),
        (IN_4_10, "none or one"),
        (SET_A, "none or one with content"),
    ),
    "longest_nop": (8, (IN_4_11, 9)),
    "prints_errors": (False, (IN_4_13, True)),
    "xen_virt_start": (0xFFFF82D080000000, (IN_4_14, 0xFFFF82D040000000)),
    "image_offset": (0x100000, (IN_4_9, 0x200000)),
    "arena_starts_at_rwdata_end": (False, (IN_4_17, True)),
    "has_ro_after_init": (False, (IN_4_17, True)),
    "has_executable_fixmap": (False, (IN_4_14, True)),
    "tool_title": ("xen-livepatch: live patching test tool", (IN_4_8, "xen-livepatch: live patching tool")),
    "tool_describes_load": (_LOAD_IN_TWO_LINES, (IN_4_14, _LOAD_IN_ONE_LINE)),
    "tool_waits_in_dots": (True, (IN_4_9, False)),
    "tool_knows_prefixes": (True, (IN_4_19, False)),
    "tool_knows_force": (False, (IN_4_19, True)),
}

_FORM = re.compile(r"(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?((?:[-+.].*)?)", re.DOTALL)


@lru_cache(maxsize=64)
def release(name: str) -> Release:
    """Return the rules of the release called `name` (`X.Y.Z`, a suffix such as `-pre` allowed).

    Within a branch rules only change at the point releases named by the change sets, so every point
    release has its rules, and one not yet published takes those of the newest before it. `X.Y.Z-pre` is
    what precedes X.Y.Z, so it takes those of X.Y.(Z-1).

    Raises:
        UnknownReleaseError: `name` has another form, or is older than 4.7.0.
        NewerReleaseError: it is of a branch newer than all known.
    """
    match = _FORM.fullmatch(name)
    if match is None or match[3] is None:
        raise UnknownReleaseError(f"{name!r} is not a release of Xen; expected X.Y.Z, for example 4.17.7")
    version: Version = (int(match[1]), int(match[2]), int(match[3]))
    if match[4].startswith(("-pre", "-rc", "-unstable")) and version[2] > 0:
        version = (version[0], version[1], version[2] - 1)
    if version[:2] > NEWEST_BRANCH:
        raise NewerReleaseError(
            f"no branch of Xen newer than {NEWEST_BRANCH[0]}.{NEWEST_BRANCH[1]} is known, so none of {name}"
        )
    if version < OLDEST:
        raise UnknownReleaseError(f"Xen {name} has no live patching; the first release that has it is 4.7.0")
    switches = {
        switch: next((value for change, value in reversed(changes) if change.is_in(version)), first)
        for switch, (first, *changes) in SWITCHES.items()
    }
    return Release(name=name, version=version, **switches)


def turning_points() -> tuple[Version, ...]:
    """Return the releases at which any rule changed, ascending, the first of every branch among them."""
    major, newest = NEWEST_BRANCH
    branches = {(major, minor, 0) for minor in range(OLDEST[1], newest + 1)}
    changes = {first for _, *steps in SWITCHES.values() for change, _ in steps for first in change.first}
    return tuple(sorted(branches | changes))


def _check_that_the_table_is_whole() -> None:
    switches = set(Release._fields) - {"name", "version"}
    assert switches == set(SWITCHES), switches ^ set(SWITCHES)


_check_that_the_table_is_whole()

NEWEST = release("4.22.0")
NEWEST_HIGH = release("4.13.0")
"""The newest branch that runs 1 GiB higher."""
