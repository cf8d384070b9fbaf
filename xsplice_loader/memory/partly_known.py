"""Bytes of which some may be unknown."""

from __future__ import annotations

from typing import NamedTuple


class PartlyKnown:
    """Bytes of which some may not be known."""

    __slots__ = ("contents", "unknown")

    def __init__(self, size: int) -> None:
        """Begin with `size` bytes of which nothing is known."""
        self.contents = bytearray(size)
        """The bytes; 0 where they are unknown."""
        self.unknown = bytearray(b"\1" * size)
        """1 for each byte that is unknown, else 0."""

    @classmethod
    def of(cls, contents: bytes) -> PartlyKnown:
        """Return bytes that are all known."""
        found = cls(0)
        found.contents, found.unknown = bytearray(contents), bytearray(len(contents))
        return found

    def take(self, offset: int, part: PartlyKnown) -> None:
        """Make bytes what a part says, known or not."""
        end = offset + len(part.contents)
        self.contents[offset:end] = part.contents
        self.unknown[offset:end] = part.unknown

    def put(self, offset: int, contents: bytes) -> None:
        """Supply bytes."""
        self.contents[offset : offset + len(contents)] = contents
        self.unknown[offset : offset + len(contents)] = bytes(len(contents))

    def forget(self, offset: int, size: int) -> None:
        """Make bytes unknown."""
        self.contents[offset : offset + size] = bytes(size)
        self.unknown[offset : offset + size] = b"\1" * size

    def copy(self) -> PartlyKnown:
        """Return another one that says the same."""
        other = PartlyKnown(0)
        other.contents, other.unknown = bytearray(self.contents), bytearray(self.unknown)
        return other

    @property
    def is_known(self) -> bool:
        """Whether all of them are known."""
        return 1 not in self.unknown

    @property
    def shown(self) -> str:
        """The bytes in hex; `??` for each unknown one."""
        if self.is_known:
            return self.contents.hex()
        return "".join(
            "??" if is_unknown else f"{byte:02x}" for byte, is_unknown in zip(self.contents, self.unknown, strict=True)
        )

    @property
    def shown_if_any(self) -> str | None:
        """The same, or None where all are unknown."""
        return self.shown if 0 in self.unknown else None

    def may_be(self, contents: bytes) -> bool:
        """Tell whether the bytes may be these, as far as they are known."""
        return all(
            is_unknown or byte == wanted
            for byte, is_unknown, wanted in zip(self.contents, self.unknown, contents, strict=True)
        )

    @property
    def known_start(self) -> bytes:
        """The bytes before the first unknown one."""
        first = self.unknown.find(1)
        return bytes(self.contents if first < 0 else self.contents[:first])


class UnknownRange(NamedTuple):
    """Bytes of a payload that depend on memory which Xen fills in while it boots."""

    address: int
    size: int
    why: str
    """A clause: which memory, and what would be written."""

    @property
    def end(self) -> int:
        """The address after the last one."""
        return self.address + self.size
