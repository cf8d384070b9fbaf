"""Assembly text, in the manner of GNU as (AT&T syntax), to the records of an object file.

One pass reads statements and fills sections: every branch takes its 32-bit form, so all offsets are known
as they come. Fields that name symbols wait as fixups; `relocating.py` turns them into bytes or
relocations when all symbols are known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.forge import elf
from xsplice_loader.forge.directives import DIRECTIVES
from xsplice_loader.forge.expressions import Expression, Parser
from xsplice_loader.forge.instructions import encode
from xsplice_loader.forge.payload_directives import PAYLOAD_DIRECTIVES, Names
from xsplice_loader.forge.program import Fixup, Program, SectionDraft
from xsplice_loader.forge.relocating import finish
from xsplice_loader.forge.source import Statement, statements

if TYPE_CHECKING:
    from xsplice_loader.forge.object_file import ObjectFile

_TEXT = (".text", elf.SHT_PROGBITS, elf.SHF_ALLOC | elf.SHF_EXECINSTR)


class Assembler:
    """The state of one run: where the next byte goes, and what is known so far."""

    def __init__(self, xen_build_id: bytes) -> None:
        self.program = Program()
        self.xen_build_id = xen_build_id
        self.stack: list[SectionDraft] = []
        self.last_function: tuple[SectionDraft, int] | None = None
        """Where the last entry of `.livepatch.funcs` starts."""
        self._section: SectionDraft | None = None
        self._previous: SectionDraft | None = None
        self._names = Names()
        self._temporary: dict[str, int] = {}
        self._places = 0

    @property
    def section(self) -> SectionDraft:
        """The section being filled; `.text` before any directive chose one."""
        if self._section is None:
            self._section = self.program.section(*_TEXT)
        return self._section

    def switch(self, section: SectionDraft) -> None:
        """Go on in `section`."""
        self._previous, self._section = self._section, section

    def switch_back(self, statement: Statement) -> None:
        """Return to the section before the last change.

        Raises:
            ForgeError: there was none.

        """
        if self._previous is None:
            raise statement.error("there is no previous section")
        self.switch(self._previous)

    def parse(self, text: str, statement: Statement) -> Expression:
        """Return the expression in `text`, with `.` meaning the present end of the section."""
        return Parser(text, statement, lambda name: self._temporary_name(name, statement)).parse()

    def constant(self, text: str, statement: Statement) -> int:
        """Return the value of an expression that must be known by now: numbers, or a difference of labels.

        Raises:
            ForgeError: it is not.

        """
        value = self.parse(text, statement)
        if value.plus is not None and value.minus is not None and value.size_of is None:
            plus, minus = self.program.symbol(value.plus), self.program.symbol(value.minus)
            if plus.section is not None and plus.section is minus.section:
                return plus.offset - minus.offset + value.constant
        if not value.is_constant:
            raise statement.error(f"expected a number, found {text!r}")
        return value.constant

    def run(self, source: str, *, line: int | None = None) -> None:
        """Read `source`; `line` numbers all of its statements (the text a payload directive stands for)."""
        for statement in statements(source, line=line):
            if statement.label is not None:
                self._label(statement.label, statement)
            elif statement.name in PAYLOAD_DIRECTIVES:
                self.run(PAYLOAD_DIRECTIVES[statement.name](self, statement, self._names), line=statement.line)
            elif statement.name in DIRECTIVES:
                DIRECTIVES[statement.name](self, statement)
            elif statement.name.startswith("."):
                raise statement.error(f"unknown directive {statement.name}")
            else:
                self._instruction(statement)

    def finish(self) -> ObjectFile:
        """Return the object file, with every field filled or made a relocation."""
        return finish(self.program)

    def _instruction(self, statement: Statement) -> None:
        instruction = encode(statement, lambda text: self.parse(text, statement))
        start = self.section.append(instruction.data, statement)
        for field in instruction.fields:
            self.program.fixups.append(
                Fixup(
                    statement,
                    self.section,
                    start + field.offset,
                    field.width,
                    field.kind,
                    field.expression,
                    field.after,
                    field.type,
                )
            )

    def _label(self, name: str, statement: Statement) -> None:
        if name.isdecimal():
            self._temporary[name] = self._temporary.get(name, 0) + 1
            name = f".L{name}\x02{self._temporary[name]}"
        self.program.define(name, self.section, statement)

    def _temporary_name(self, text: str, statement: Statement) -> str:
        if text == ".":
            self._places += 1
            name = f".L.\x02{self._places}"
            self.program.define(name, self.section, statement)
            return name
        number, direction = text[:-1], text[-1]
        count = self._temporary.get(number, 0) + (direction == "f")
        if not count:
            raise statement.error(f"there is no label {number}: before this")
        return f".L{number}\x02{count}"
