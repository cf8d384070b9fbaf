"""What an explanation is made of, whatever it is shown on.

Texts may hold names from files; whoever shows them escapes what his medium needs escaped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xsplice_loader.results import Finding


@dataclass(frozen=True, slots=True)
class Heading:
    """The title of what follows."""

    text: str


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Running text, to be broken into lines."""

    text: str


@dataclass(frozen=True, slots=True)
class Items:
    """Things side by side, each a sentence or two."""

    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a head; what is too long is broken in the last column."""

    head: tuple[str, ...]
    """Empty words: no head is shown."""
    rows: tuple[tuple[str, ...], ...]
    whole: bool = False
    """All rows are wanted, however many there are."""


@dataclass(frozen=True, slots=True)
class Listing:
    """Lines that stay as they are: a source, a command, what it prints."""

    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of an upload or an action, in a few words; `good` or not."""

    text: str
    good: bool


@dataclass(frozen=True, slots=True)
class Found:
    """What the loader found."""

    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """Bytes before and after, at one address, with the instruction that each of them begins."""

    address: int
    before: bytes
    after: bytes
    before_text: str
    after_text: str


@dataclass(frozen=True, slots=True)
class Bits:
    """A signed value of 64 bits, of which a field keeps the lower `kept`."""

    value: int
    kept: int


@dataclass(frozen=True, slots=True)
class Reach:
    """A displacement, beside what 32 signed bits reach."""

    value: int


Block = Heading | Paragraph | Items | Table | Listing | Verdict | Found | Change | Bits | Reach
