"""Names from files, made safe for the place where they are shown."""

from __future__ import annotations


def for_terminal(text: str) -> str:
    """Return `text` with everything escaped that a terminal might act on or hide.

    That is control characters, line breaks, marks that turn the writing direction, and what has no glyph.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)
