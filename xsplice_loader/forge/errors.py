"""The one exception of the forge."""

from __future__ import annotations


class ForgeError(ValueError):
    """Something in a source that the forge does not understand or cannot encode.

    `line` is the line's number, counted from 1 (0: the source as a whole), `text` the statement on it.
    """

    def __init__(self, message: str, line: int = 0, text: str = "") -> None:
        self.line = line
        self.text = text
        where = f"line {line}: " if line else ""
        shown = f": {text!r}" if text else ""
        super().__init__(f"{where}{message}{shown}")
