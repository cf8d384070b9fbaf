"""Names from files, made safe for the place where they are shown."""

from __future__ import annotations

import os

NO_BREAK_SPACE = "\N{NO-BREAK SPACE}"
"""Harmless, and Xen's own indentation in one of its log lines."""


def path_text(path: str) -> str:
    r"""Return a file name as text, with `\xNN` for bytes that are not UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def for_terminal(text: str) -> str:
    """Return `text` with everything escaped that a terminal might act on or hide.

    That is control characters, line breaks, marks that turn the writing direction, and what has no glyph.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char == NO_BREAK_SPACE else char.encode("unicode_escape").decode("ascii")
        for char in text
    )
