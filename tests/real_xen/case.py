"""What is tried on both sides: commands of `xen-livepatch`, one after the other, and the files that they name."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import NamedTuple

from xsplice_loader.host.script import FILE_OF, TOOL, Command, ScriptError, read_script

from real_xen.problem import HarnessError

SCRIPT_SUFFIX = ".script"
PRESS_X = ("xl", "debug-keys", "x")
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*(/[A-Za-z0-9_][A-Za-z0-9._+-]*)*")
"""Paths that the domain is given as they are."""


class Case(NamedTuple):
    """One thing to try."""

    name: str
    kind: str
    """`payload` or `script`."""
    commands: tuple[Command, ...]
    files: dict[str, bytes]
    """Payloads, by the path that the commands name them by."""

    def read(self, path: str) -> bytes | OSError:
        """Return a payload's bytes, as the tool would read them."""
        if path in ("", ".") or any(name.startswith(f"{path.rstrip('/')}/") for name in self.files):
            return IsADirectoryError(21, "Is a directory") if path else FileNotFoundError(2, "No such file or directory")
        return self.files.get(os.path.normpath(path), FileNotFoundError(2, "No such file or directory"))


def shell_words(command: Command) -> str:
    """Return a command as the domain's shell is to read it."""
    return shlex.join((TOOL, *command.words))


def payload_case(name: str, data: bytes, *, file: str | None = None) -> Case:
    """Return the life of one payload: upload, apply, revert, unload."""
    path = file if file is not None and _PLAIN.fullmatch(file) else "payload.livepatch"
    lines = (("upload", name, path), ("apply", name), ("revert", name), ("unload", name))
    return Case(name, "payload", tuple(Command(shlex.join(words), words) for words in lines), {path: data})


def script_case(name: str, text: str, read: dict[str, bytes]) -> Case:
    """Return a script's case; `read` are the files that it names, as far as they are there.

    Raises:
        HarnessError: the script cannot be read.
    """
    try:
        commands = read_script(text)
    except ScriptError as error:
        raise HarnessError(f"{name}: {error}") from None
    renamed: dict[str, str] = {}
    for path in read:
        renamed[path] = path if _PLAIN.fullmatch(path) else f"renamed/{len(renamed)}.livepatch"
    return Case(
        name,
        "script",
        tuple(_with_renamed(command, renamed) for command in commands),
        {renamed[path]: data for path, data in read.items()},
    )


def _with_renamed(command: Command, renamed: dict[str, str]) -> Command:
    """Return a command that names its file as the domain has it."""
    position = FILE_OF.get(command.words[0] if command.words else "")
    if position is None or position >= len(command.words):
        return command
    words = list(command.words)
    words[position] = renamed.get(words[position], words[position])
    return command if tuple(words) == command.words else Command(shlex.join(words), tuple(words))


def cases_of(paths: list[Path]) -> list[Case]:
    """Return the cases that files and folders (without what is below these) are.

    Raises:
        HarnessError: a file cannot be read, or there is none.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files += sorted(entry for entry in path.iterdir() if entry.is_file() and not entry.name.startswith("."))
        else:
            files.append(path)
    if not files:
        raise HarnessError(f"no files in {', '.join(map(str, paths))}")
    return [_case_of(path) for path in files]


def _case_of(path: Path) -> Case:
    data = _contents(path)
    if path.suffix != SCRIPT_SUFFIX and not (path.suffix == ".txt" and not data.startswith(b"\x7fELF")):
        return payload_case(path.stem, data, file=path.name)
    try:
        text = data.decode()
        named = [
            command.words[FILE_OF[command.words[0]]]
            for command in read_script(text)
            if command.words and len(command.words) > FILE_OF.get(command.words[0], len(command.words))
        ]
    except (UnicodeDecodeError, ScriptError) as error:
        raise HarnessError(f"{path}: {error}") from None
    there = {name: path.parent / name for name in named if (path.parent / name).is_file()}
    return script_case(path.name, text, {name: _contents(file) for name, file in there.items()})


def _contents(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise HarnessError(f"{path}: {error.strerror}") from None
