"""How a report is painted for a terminal."""

from __future__ import annotations

from collections.abc import Callable

Paint = Callable[[str, str], str]
"""`paint(text, role)`: colours for a terminal. Roles: accepted, refused, warning, note, quiet, strong."""


def plain(text: str, role: str) -> str:
    """Paint nothing."""
    del role
    return text
