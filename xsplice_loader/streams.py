"""Files and standard input, read whole and within bounds."""

from __future__ import annotations

import errno
import os
import stat
import sys
from typing import BinaryIO

ENDLESS = 1 << 30
"""Bytes at which a file is taken to have no end, where there is no other limit."""


def standard_input() -> BinaryIO:
    """Return standard input as bytes.

    Raises:
        OSError: it is closed.
    """
    # Python sets a stream to None that was closed when it started; the type does not say so.
    if sys.stdin is None:
        raise OSError(errno.EBADF, "standard input is closed")
    return sys.stdin.buffer


def read_bounded(file: str, max_size: int) -> bytes | OSError:
    """Return a file's bytes, one more than `max_size` (0: no limit) at most, or why it cannot be read; `-` is stdin."""
    limit = max_size + 1 if max_size else ENDLESS
    try:
        if file == "-":
            data = standard_input().read(limit)
        else:
            with open(file, "rb") as stream:
                found = os.fstat(stream.fileno())
                # A buffer as large as the limit takes longer to make than most files to read; what has no size of its
                # own (a pipe, a file of the kernel's) needs it.
                size = found.st_size + 1 if stat.S_ISREG(found.st_mode) and found.st_size else limit
                data = stream.read(min(size, limit))
    except OSError as error:
        return error
    return data if len(data) < ENDLESS else OSError(errno.EFBIG, os.strerror(errno.EFBIG))
