"""What differs between releases of Xen, as data.

A change came to the development branch at some point and was then copied back into several stable
branches, each at a point release of its own. So no version comparison is written anywhere in this program:
a `ChangeSet` lists the first release of each branch that has a change, `SWITCHES` says which value each
named switch takes from which change set on, and a `Release` is one frozen row of those switches
(`spec/06 §1`, `§2`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any, Literal

Version = tuple[int, int, int]

PAGE_SIZE = 4096
GIB = 1 << 30

OLDEST: Version = (4, 7, 0)
NEWEST_BRANCH = (4, 22)


class UnknownReleaseError(ValueError):
    """A release that is not of the form X.Y.Z, or is older than live patching (4.7.0)."""


@dataclass(frozen=True, slots=True)
class ChangeSet:
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
SET_C = _since("virtual region registered at load", "4.17.4", "4.18.1", "4.19.0")
SET_D = _since("build-id compared first; alternatives return errors", "4.18.4", "4.19.1", "4.20.0")
SET_E = _since("bounds checks on .altinstructions", "4.17.4", "4.18.0")
SYMBOL_ZERO = _since("relocations against symbol 0 are refused", "4.7.4", "4.8.2", "4.9.1", "4.10.0")
# … and the changes that came with a branch.
IN_4_8 = _since("NOP patches, distance test, load and unload hooks", "4.8.0")
IN_4_9 = _since("image starts 2 MiB into Xen's range", "4.9.0")
IN_4_10 = _since("sh_addralign checks", "4.10.0")
IN_4_11 = _since("alternatives entries of 14 bytes, longer NOPs", "4.11.0")
IN_4_13 = _since("errors printed in release builds, symbols named by path", "4.13.0")
IN_4_14 = _since("function table v2, xen_depends, eight hooks, Xen 1 GiB lower", "4.14.0")
IN_4_17 = _since("the poison form of ENDBR64, payloads start at __2M_rwdata_end", "4.17.0")
IN_4_21 = _since("alternative calls in a table of their own, END entries among symbols", "4.21.0")

_HOOKS_ARRAYS = (".livepatch.hooks.load", ".livepatch.hooks.unload")
_HOOKS_SINGLE = tuple(
    f".livepatch.hooks.{name}" for name in ("preapply", "apply", "postapply", "prerevert", "revert", "postrevert")
)
ENDBR64 = bytes.fromhex("f30f1efa")
ENDBR64_POISON = bytes.fromhex("660f1f01")


@dataclass(frozen=True, slots=True, eq=False)
class Release:
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
    alternatives_entry_size: int
    has_alternative_calls: bool
    has_metadata: bool
    passes_note_errors: bool
    """A malformed note gives its own errno (ENODATA possible) instead of EINVAL, and may lack SHF_ALLOC."""
    applied_flag_in_payload: bool
    """The `applied` byte of a function table entry is believed."""
    reapply_rule: Literal["always", "exactly one", "none or one", "none or one with content"]
    longest_nop: int
    prints_errors: bool
    """A release build prints its refusals."""
    xen_virt_start: int
    image_offset: int
    """Bytes from `xen_virt_start` to `_start`."""
    arena_starts_at_rwdata_end: bool
    """The payload range starts at `__2M_rwdata_end`; before: at `_end` rounded up to 2 MiB."""
    has_executable_fixmap: bool
    """FIXADDR_X_SIZE bytes at the top of Xen's range are kept off the payload range."""
    symbol_table_has_ends: bool = field(default=False)
    """Xen's embedded symbol table holds END entries and a count of names (`spec/03 §7`)."""

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
    "has_alternative_calls": (False, (IN_4_21, True)),
    "has_metadata": (False, (IN_4_14, True)),
    "passes_note_errors": (False, (SET_D, True)),
    "applied_flag_in_payload": (True, (SET_B, False)),
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
    "has_executable_fixmap": (False, (IN_4_14, True)),
    "symbol_table_has_ends": (False, (IN_4_21, True)),
}

_FORM = re.compile(r"(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?((?:[-+.].*)?)", re.DOTALL)


@lru_cache(maxsize=64)
def release(name: str) -> Release:
    """Return the rules of the release called `name` (`X.Y.Z`, a suffix such as `-pre` allowed).

    Within a branch rules only change at the point releases named by the change sets, so every point
    release has its rules, and one not yet published takes those of the newest before it. `X.Y.Z-pre` is
    what precedes X.Y.Z, so it takes those of X.Y.(Z-1); a branch newer than all known takes the newest.

    Raises:
        UnknownReleaseError: `name` has another form, or is older than 4.7.0.
    """
    match = _FORM.fullmatch(name)
    if match is None or match[3] is None:
        raise UnknownReleaseError(f"{name!r} is not a release of Xen; expected X.Y.Z, for example 4.17.7")
    version: Version = (int(match[1]), int(match[2]), int(match[3]))
    if match[4].startswith(("-pre", "-rc", "-unstable")) and version[2] > 0:
        version = (version[0], version[1], version[2] - 1)
    if version[:2] > NEWEST_BRANCH:
        version = (*NEWEST_BRANCH, 0)
    if version < OLDEST:
        raise UnknownReleaseError(f"Xen {name} has no live patching; the first release that has it is 4.7.0")
    switches = {
        switch: next((value for change, value in reversed(changes) if change.is_in(version)), first)
        for switch, (first, *changes) in SWITCHES.items()
    }
    return Release(name=name, version=version, **switches)


def _check_that_the_table_is_whole() -> None:
    switches = {f.name for f in fields(Release)} - {"name", "version"}
    assert switches == set(SWITCHES), switches ^ set(SWITCHES)


_check_that_the_table_is_whole()

NEWEST = release("4.22.0")
NEWEST_HIGH = release("4.13.0")
"""The newest branch that runs 1 GiB higher."""
