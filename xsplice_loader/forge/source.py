"""From text to statements: lines, comments, labels, operands, strings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xsplice_loader.forge.errors import ForgeError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_SOURCE = 4 << 20
"""Bytes; far above any sample, and what keeps time and memory bounded."""

SYMBOL = r'(?:[A-Za-z_.$][\w.$]*|"(?:[^"\\]|\\.)+")'
_LABEL = re.compile(rf"\s*({SYMBOL}|\d+)\s*:")
_PIECES = re.compile(r'"(?:[^"\\]|\\.)*"|[#;\n]|[^"#;\n]+|"')
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "\\": "\\", '"': '"'}
_ESCAPE = re.compile(r"\\([0-7]{1,3}|x[0-9A-Fa-f]+|.)", re.DOTALL)
_PREFIXES = ("lock", "rep", "repe", "repz", "repne", "repnz", "notrack")


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement. Either `label` is set, or `name` is a directive or mnemonic with its operands' text."""

    line: int
    text: str
    label: str | None
    name: str
    operands: tuple[str, ...]

    def error(self, message: str) -> ForgeError:
        """Return an error that names this statement's line."""
        return ForgeError(message, self.line, self.text)


def statements(source: str, *, line: int | None = None) -> Iterator[Statement]:
    """Yield the statements of `source`; `line` numbers all of them alike (text that a directive stands for).

    Raises:
        ForgeError: the source is too long, or a string does not end on its line.

    """
    if len(source) > MAX_SOURCE:
        raise ForgeError(f"the source has {len(source)} characters, at most {MAX_SOURCE} are taken")
    for number, row in enumerate(source.split("\n"), 1):
        at = number if line is None else line
        for text in _without_comment(row, at):
            yield from _statement(text, at)


def _without_comment(row: str, line: int) -> list[str]:
    parts = [""]
    for match in _PIECES.finditer(row):
        piece = match[0]
        if piece == "#":
            break
        if piece == '"':
            raise ForgeError("a string must end on its own line", line, row.strip())
        if piece == ";":
            parts.append("")
        else:
            parts[-1] += piece
    return [part.strip() for part in parts]


def _statement(text: str, line: int) -> Iterator[Statement]:
    while match := _LABEL.match(text):
        yield Statement(line, text, symbol_name(match[1]), "", ())
        text = text[match.end() :].strip()
    if not text:
        return
    name, _, rest = text.replace("\t", " ").partition(" ")
    if name in _PREFIXES:
        second, _, rest = rest.strip().partition(" ")
        name = f"{name} {second}".strip()
    yield Statement(line, text, None, name, tuple(_operands(rest)))


def _operands(text: str) -> list[str]:
    """Split at commas outside parentheses and strings."""
    parts, depth, part = [], 0, ""
    for piece in re.findall(r'"(?:[^"\\]|\\.)*"|.', text):
        if piece == "," and not depth:
            parts.append(part.strip())
            part = ""
            continue
        depth += (piece == "(") - (piece == ")")
        part += piece
    return [*parts, part.strip()] if text.strip() else []


def symbol_name(text: str) -> str:
    """Return a symbol's name, which may stand in quotes, as `"common/model.c#helper"` must."""
    return unescape(text[1:-1]).decode("latin-1") if text.startswith('"') else text


def string(text: str, statement: Statement) -> bytes:
    """Return the bytes of a quoted string with C's escapes.

    Raises:
        ForgeError: `text` is not a quoted string.

    """
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        raise statement.error(f'expected a string in double quotes, found "{text}"')
    return unescape(text[1:-1])


def unescape(text: str) -> bytes:
    """Return the bytes that `text` stands for: escapes as in C, anything else as UTF-8."""
    out, start = bytearray(), 0
    for match in _ESCAPE.finditer(text):
        out += text[start : match.start()].encode()
        start = match.end()
        code = match[1]
        if code[0] == "x":
            out.append(int(code[1:], 16) & 0xFF)
        elif code[0] in "01234567":
            out.append(int(code, 8) & 0xFF)
        else:
            out += _ESCAPES.get(code, code).encode()
    return bytes(out + text[start:].encode())
