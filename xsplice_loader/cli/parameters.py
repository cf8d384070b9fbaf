"""Types of command-line values."""

from __future__ import annotations

import importlib
import operator
import re
import sys
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xsplice_loader.memory.vmap import VmapCallback

PAGE_SIZE = 4096
ADDRESS_LIMIT = 1 << 64
MAX_ARGUMENTS = 6
UPPER_HALF = 0xFFFF800000000000
_HEX = re.compile(r"0[xX][0-9a-fA-F]{1,16}")


def _address(text: str) -> int:
    if not _HEX.fullmatch(text):
        raise ValueError(f"{text!r} is not an address; expected 0x and up to 16 hex digits")
    return int(text, 16)


class PageAddress(click.ParamType["int"]):
    """An address that begins a page."""

    name = "address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the address."""
        if isinstance(value, int):
            return value
        try:
            address = _address(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if address % PAGE_SIZE:
            self.fail(f"{value} does not begin a page: pages are multiples of {PAGE_SIZE:#x}", param, ctx)
        return address


class AddressRange(click.ParamType["tuple[int, int]"]):
    """`START-END`, page addresses, half open."""

    name = "start-end"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Return start and end."""
        if isinstance(value, tuple):
            return value
        start_text, separator, end_text = value.partition("-")
        if not separator:
            self.fail(f"{value!r} is not a range; expected 0x…-0x…", param, ctx)
        page = PageAddress()
        end = ADDRESS_LIMIT if end_text.lower() == "0x10000000000000000" else page.convert(end_text, param, ctx)
        start = page.convert(start_text, param, ctx)
        if not start < end:
            self.fail(f"the range {value} is empty: it ends at or before its start", param, ctx)
        if start < UPPER_HALF:
            self.fail(
                f"the range {value} does not lie in the upper half of the address space, where Xen lives", param, ctx
            )
        return start, end


class Arguments(click.ParamType["tuple[int, ...]"]):
    """Integers for a function, separated by commas or spaces."""

    name = "list"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Return the integers."""
        if isinstance(value, tuple):
            return value
        words = value.replace(",", " ").split()
        if len(words) > MAX_ARGUMENTS:
            self.fail(f"a function takes at most {MAX_ARGUMENTS} arguments here, not {len(words)}", param, ctx)
        return tuple(self._integer(word, param, ctx) for word in words)

    def _integer(self, word: str, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            number = int(word, 0)
        except ValueError:
            self.fail(f"{word!r} is no integer; expected for example 7, -1 or 0xffff82d040200000", param, ctx)
        if not -(ADDRESS_LIMIT // 2) <= number < ADDRESS_LIMIT:
            self.fail(f"{word} does not fit 64 bits", param, ctx)
        return number


class CallbackError(click.ClickException):
    """A callback of the user's failed."""

    exit_code = 2


def _guarded(name: str, callback: VmapCallback) -> VmapCallback:
    """Return the callback with its failures told to the user instead of shown as a traceback of this program."""

    def ask(mfns: Sequence[int], pages: int) -> int | None:
        try:
            answer = callback(mfns, pages)
            return None if answer is None else operator.index(answer)
        except Exception as error:
            raise CallbackError(f"the callback {name} failed: {type(error).__name__}: {error}") from None

    ask.__qualname__ = name
    return ask


class VmapName(click.ParamType["str | VmapCallback"]):
    """A finder of addresses by name, or `MODULE:CALLABLE`."""

    name = "name"

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> str | VmapCallback:
        """Return the name, or the callable."""
        if not isinstance(value, str):
            return value  # type: ignore[no-any-return]
        if ":" not in value:
            return self._known(value, param, ctx)
        module_name, _, attribute = value.partition(":")
        # Like `python -m`: modules of the directory that the command was started in are found.
        sys.path.insert(0, "")
        try:
            target: Any = importlib.import_module(module_name)
            for part in attribute.split("."):
                target = getattr(target, part)
        except Exception as error:
            self.fail(f"{value}: {type(error).__name__}: {error}", param, ctx)
        finally:
            sys.path.remove("")
        if not callable(target):
            self.fail(f"{value} is not callable; expected a function (mfns, pages) -> address or None", param, ctx)
        return _guarded(value, target)

    def _known(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from xsplice_loader.host import DESIGNS  # noqa: PLC0415 - not for --help

        if value not in DESIGNS:
            self.fail(f"{value!r} is none of {', '.join(DESIGNS)}, and no MODULE:CALLABLE", param, ctx)
        return value
