"""Expressions of the assembly language: at most one symbol added, one subtracted, and a number."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xsplice_loader.forge.source import SYMBOL, Statement, symbol_name

if TYPE_CHECKING:
    from collections.abc import Callable

_TOKEN = re.compile(
    rf"\s*(?:(?P<size>sizeof\((?P<of>[^)]*)\))|(?P<temporary>\d+[bf]\b)|(?P<number>0[xX][0-9a-fA-F]+|0\b|[1-9]\d*\b)"
    rf"|(?P<symbol>{SYMBOL})(?:@(?P<modifier>\w+))?|(?P<operator><<|[-+*()~]))"
)
MAX_TOKENS = 64
"""What keeps the recursion shallow."""


@dataclass(frozen=True, slots=True)
class Expression:
    """`plus - minus + constant`; a symbol that is not there is None. `size_of` adds that symbol's size."""

    plus: str | None = None
    minus: str | None = None
    constant: int = 0
    modifier: str | None = None
    """What stood behind `@`: `PLT`, `GOTPCREL`."""
    size_of: str | None = None

    @property
    def is_constant(self) -> bool:
        """Whether it needs no symbol."""
        return self.plus is None and self.minus is None and self.size_of is None


NOTHING = Expression()
"""The number 0."""


class Parser:
    """Recursive descent over one expression; `temporary` turns `1b`, `1f` and `.` into names of symbols."""

    def __init__(self, text: str, statement: Statement, temporary: Callable[[str], str]) -> None:
        self._statement = statement
        self._temporary = temporary
        self._tokens: list[tuple[str, str, str | None]] = []
        position = 0
        while position < len(text.rstrip()):
            match = _TOKEN.match(text, position)
            if match is None:
                raise statement.error(f"{text!r} is not an expression (SYMBOL, SYMBOL+N, A - B, numbers)")
            position = match.end()
            for kind in ("size", "temporary", "number", "symbol", "operator"):
                if match[kind] is not None:
                    value = match["of"] if kind == "size" else match[kind]
                    self._tokens.append((kind, value, match["modifier"]))
        if len(self._tokens) > MAX_TOKENS:
            raise statement.error(f"an expression may have at most {MAX_TOKENS} parts")
        self._text = text
        self._next = 0

    def parse(self) -> Expression:
        """Return the whole text as one expression.

        Raises:
            ForgeError: it is none.

        """
        value = self._sum()
        if self._next < len(self._tokens):
            raise self._refusal()
        return value

    def _refusal(self) -> Exception:
        return self._statement.error(f"{self._text!r} is not an expression (SYMBOL, SYMBOL+N, A - B, numbers)")

    def _operator(self, *wanted: str) -> str | None:
        if self._next < len(self._tokens):
            kind, value, _ = self._tokens[self._next]
            if kind == "operator" and value in wanted:
                self._next += 1
                return value
        return None

    def _sum(self) -> Expression:
        value = self._product()
        while operator := self._operator("+", "-"):
            other = self._product()
            value = self._add(value, other if operator == "+" else self._negative(other))
        return value

    def _product(self) -> Expression:
        value = self._factor()
        while operator := self._operator("*", "<<"):
            other = self._factor()
            if not value.is_constant or not other.is_constant or (operator == "<<" and other.constant > 63):
                raise self._refusal()
            number = value.constant * other.constant if operator == "*" else value.constant << other.constant
            value = Expression(constant=number)
        return value

    def _factor(self) -> Expression:
        if self._operator("-"):
            return self._negative(self._factor())
        if self._operator("~"):
            value = self._factor()
            if not value.is_constant:
                raise self._refusal()
            return Expression(constant=~value.constant)
        if self._operator("("):
            value = self._sum()
            if not self._operator(")"):
                raise self._refusal()
            return value
        if self._next >= len(self._tokens) or self._tokens[self._next][0] == "operator":
            raise self._refusal()
        kind, text, modifier = self._tokens[self._next]
        self._next += 1
        if kind == "number":
            return Expression(constant=int(text, 0 if text[:2] in ("0x", "0X") else 10))
        if kind == "size":
            return Expression(size_of=symbol_name(text.strip()))
        name = self._temporary(text) if kind == "temporary" or text == "." else symbol_name(text)
        return Expression(plus=name, modifier=modifier)

    def _negative(self, value: Expression) -> Expression:
        if value.modifier or value.size_of:
            raise self._refusal()
        return Expression(value.minus, value.plus, -value.constant)

    def _add(self, left: Expression, right: Expression) -> Expression:
        pairs = ((left.plus, right.plus), (left.minus, right.minus), (left.size_of, right.size_of))
        if any(a is not None and b is not None for a, b in pairs):
            raise self._statement.error(f"{self._text!r} adds or subtracts more than one symbol")
        return Expression(
            left.plus or right.plus,
            left.minus or right.minus,
            left.constant + right.constant,
            left.modifier or right.modifier,
            left.size_of or right.size_of,
        )
