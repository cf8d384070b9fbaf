"""Standard input, which whoever starts a program may have closed."""

from __future__ import annotations

import errno
import sys
from typing import BinaryIO


def standard_input() -> BinaryIO:
    """Return standard input as bytes.

    Raises:
        OSError: it is closed.
    """
    # Python sets a stream to None that was closed when it started; the type does not say so.
    if sys.stdin is None:
        raise OSError(errno.EBADF, "standard input is closed")
    return sys.stdin.buffer
