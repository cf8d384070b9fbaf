"""Scripts: what an administrator would type on a host, one command to a line.

A line is a verb of `xen-livepatch` and its arguments, as a shell would split them; `xen-livepatch` itself may stand
before it. `xl debug-keys x` asks Xen for what it knows. `#` begins a comment.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, NamedTuple

from xsplice_loader.host.tool import FORCE, verb_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from xsplice_loader.host.tool import LivepatchTool
    from xsplice_loader.results import Step

TOOL = "xen-livepatch"
FILE_OF = {"upload": 2, "load": 1}
"""Verbs that name a payload's file, and which of their words does."""


class ScriptError(Exception):
    """A script that cannot be read; the message says where and why."""


class Command(NamedTuple):
    """One line of a script."""

    line: str
    words: tuple[str, ...]


def read_script(text: str) -> list[Command]:
    """Return the commands of a script.

    Raises:
        ScriptError: the quotes of a line do not match, or the file is no text.
    """
    commands = []
    for number, line in enumerate(text.split("\n"), 1):
        if "\0" in line:
            raise ScriptError(f"line {number}: a NUL byte; a script is text")
        try:
            words = shlex.split(_without_comment(line))
        except ValueError as error:
            raise ScriptError(f"line {number}: {error}: {line.strip()}") from None
        if words:
            commands.append(Command(line.strip(), tuple(words[1:] if words[0] == TOOL else words)))
    return commands


def _without_comment(line: str) -> str:
    """Return a line up to its comment: as in a shell, `#` begins one only where a word could begin."""
    quote = ""
    is_escaped = False
    for place, mark in enumerate(line):
        if is_escaped:
            is_escaped = False
        elif mark == "\\" and quote != "'":
            is_escaped = True
        elif quote:
            quote = "" if mark == quote else quote
        elif mark in "'\"":
            quote = mark
        elif mark == "#" and (not place or line[place - 1] in " \t\r"):
            return line[:place]
    return line


def files_of(commands: Iterable[Command]) -> Iterator[str]:
    """Yield the payloads that a script names, its verbs whole or only begun."""
    for command in commands:
        words = command.words[1:] if command.words[:1] == (FORCE,) else command.words
        position = FILE_OF.get(verb_of(words[0]) or "", len(words)) if words else 0
        if position < len(words):
            yield words[position]


def upload_and_apply(tool: LivepatchTool, payloads: Iterable[tuple[str, str]], *, nodeps: bool) -> Iterator[Step]:
    """Upload and apply payloads, given as names and files, one after the other.

    It ends where the machine dies, or where the outcome of a command is unknown. What was not uploaded is not applied
    either.
    """
    for name, file in payloads:
        step = tool.run(f"upload {shlex.quote(name)} {shlex.quote(file)}", ("upload", name, file))
        yield step
        if step.succeeded:
            words = ("apply", name, "--nodeps") if nodeps else ("apply", name)
            step = tool.run(shlex.join(words), words)
            yield step
        if step.is_last:
            return


def run_script(tool: LivepatchTool, commands: Iterable[Command]) -> Iterator[Step]:
    """Run one command after the other, until the machine dies or an outcome is unknown."""
    for command in commands:
        step = tool.press_x(command.line) if command.words == ("xl", "debug-keys", "x") else tool.run(*command)
        yield step
        if step.is_last:
            return
