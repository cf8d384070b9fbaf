"""The archive that a kernel takes its first file system from: cpio in its `newc` form."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

MAGIC = "070701"
ALIGNMENT = 4
TRAILER = "TRAILER!!!"


class Entry(NamedTuple):
    """A file, directory, symbolic link or device in the archive."""

    path: str
    """Without a leading slash."""
    mode: int
    """File type and permissions, as `st_mode`."""
    data: bytes = b""
    """A file's contents, or where a link leads."""
    device: tuple[int, int] = (0, 0)
    """Major and minor number."""


def file(path: str, data: bytes, permissions: int = 0o644) -> Entry:
    """Return a file's entry."""
    return Entry(path, stat.S_IFREG | permissions, data)


def directory(path: str) -> Entry:
    """Return a directory's entry."""
    return Entry(path, stat.S_IFDIR | 0o755)


def link(path: str, target: str) -> Entry:
    """Return a symbolic link's entry."""
    return Entry(path, stat.S_IFLNK | 0o777, target.encode())


def character_device(path: str, major: int, minor: int) -> Entry:
    """Return a device's entry."""
    return Entry(path, stat.S_IFCHR | 0o600, device=(major, minor))


def archive(entries: Iterable[Entry]) -> bytes:
    """Return the archive of `entries`; directories have to come before what is in them."""
    parts = [_packed(number, entry) for number, entry in enumerate(entries, 1)]
    return b"".join(parts) + _packed(0, Entry(TRAILER, 0))


def _packed(number: int, entry: Entry) -> bytes:
    name = entry.path.encode() + b"\0"
    fields = (number, entry.mode, 0, 0, 1, 0, len(entry.data), 0, 0, *entry.device, len(name), 0)
    header = (MAGIC + "".join(f"{field:08x}" for field in fields)).encode()
    return _padded(header + name) + _padded(entry.data)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % ALIGNMENT)
