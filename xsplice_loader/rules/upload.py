"""Rules on what is tested before a byte of ELF is looked at (`spec/01 §2`)."""

from __future__ import annotations

from xsplice_loader.rules.rule import Rule

NAME_LENGTH = Rule(
    "XSP001",
    "a payload's name has at most 127 characters",
    "Names live in fixed slots of 128 bytes, the terminating NUL included.",
    "spec/01 2.1",
    errno="EINVAL",
)
EMPTY_FILE = Rule(
    "XSP002",
    "a payload is not empty",
    "There is nothing to load.",
    "spec/01 2.5",
    errno="EINVAL",
)
TOO_LARGE = Rule(
    "XSP003",
    "a payload has at most 2 MiB",
    "The limit is on the file, debug information and all: Xen copies the whole file before it looks at it. "
    "Stripping debug sections is the usual way out.",
    "spec/01 2.6",
    errno="EINVAL",
)
NAME_TAKEN = Rule(
    "XSP004",
    "no loaded payload has the same name",
    "The name is the handle by which apply, revert and unload find a payload.",
    "spec/01 2.8",
    errno="EEXIST",
)
UNREADABLE = Rule(
    "XSP005",
    "the file can be read",
    "Nothing can be said about a payload that cannot be read.",
    "contract 1.1",
)

ALL = (NAME_LENGTH, EMPTY_FILE, TOO_LARGE, NAME_TAKEN, UNREADABLE)
