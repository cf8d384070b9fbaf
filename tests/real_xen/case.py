"""What is tried on both sides: commands of `xen-livepatch`, one after the other, and the files that they name."""

from __future__ import annotations

import os
import re
import shlex
from typing import TYPE_CHECKING, NamedTuple

from real_xen.problem import HarnessError
from xsplice_loader.forge import ForgeError, forge
from xsplice_loader.host.script import FILE_OF, TOOL, Command, ScriptError, read_script

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

SCRIPT_SUFFIX, PAYLOAD_SUFFIX, SOURCE_SUFFIX = ".script", ".livepatch", ".s"
OTHER_FILES = frozenset((".c", ".h", ".py", ".md", ".txt", ".json", ".jsonl", ".gz", ".zip"))
"""What is left alone in a folder."""
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
            return (
                IsADirectoryError(21, "Is a directory") if path else FileNotFoundError(2, "No such file or directory")
            )
        return self.files.get(os.path.normpath(path), FileNotFoundError(2, "No such file or directory"))

    def ends_after(self, command: Command, *, succeeded: bool) -> bool:
        """Tell whether nothing comes after a command: the life of a payload ends where its upload is refused."""
        return self.kind == "payload" and command.words[0] == "upload" and not succeeded


def shell_words(command: Command) -> str:
    """Return a command as the domain's shell is to read it."""
    return shlex.join((TOOL, *command.words))


def payload_case(name: str, data: bytes, *, file: str | None = None, uploaded_as: str | None = None) -> Case:
    """Return the life of one payload: upload, apply, revert, unload.

    Args:
        name: of the case.
        data: the payload.
        file: what it is called where the tool reads it.
        uploaded_as: its name for Xen, if that is another.
    """
    known = name if uploaded_as is None else uploaded_as
    path = file if file is not None and _PLAIN.fullmatch(file) else "payload.livepatch"
    lines = (("upload", known, path), ("apply", known), ("revert", known), ("unload", known))
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


def cases_of(paths: Sequence[Path], xen_build_id: bytes) -> list[Case]:
    """Return the cases that files and folders (without what is below these) are.

    What ends in `.s` is a source, and is made into a payload for the hypervisor with this build-id.

    Raises:
        HarnessError: a file cannot be read or made, or there is none.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files += sorted(entry for entry in path.iterdir() if entry.is_file() and _may_be_a_case(entry))
        else:
            files.append(path)
    if not files:
        raise HarnessError(f"no files in {', '.join(map(str, paths))}")
    return [_case_of(path, xen_build_id) for path in files]


def _may_be_a_case(path: Path) -> bool:
    return not path.name.startswith(".") and path.suffix not in OTHER_FILES


def _case_of(path: Path, xen_build_id: bytes) -> Case:
    if path.suffix != SCRIPT_SUFFIX:
        data = _contents(path, xen_build_id)
        return payload_case(
            path.stem, data, file=f"{path.stem}{PAYLOAD_SUFFIX}" if path.suffix == SOURCE_SUFFIX else path.name
        )
    try:
        text = path.read_text(encoding="utf-8")
        named = {
            command.words[position]
            for command in read_script(text)
            if command.words and (position := FILE_OF.get(command.words[0], len(command.words))) < len(command.words)
        }
    except OSError as error:
        raise HarnessError(f"{path}: {error.strerror}") from None
    except (UnicodeDecodeError, ScriptError) as error:
        raise HarnessError(f"{path}: {error}") from None
    return script_case(path.name, text, dict(_payloads(path.parent, sorted(named), xen_build_id)))


def _payloads(folder: Path, named: Sequence[str], xen_build_id: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield those of the files that a script names that are there, as such or as sources."""
    for name in named:
        path = folder / name
        for candidate in (path, path.with_suffix(SOURCE_SUFFIX)):
            if name and candidate.is_file():
                yield name, _contents(candidate, xen_build_id)
                break


def _contents(path: Path, xen_build_id: bytes) -> bytes:
    try:
        if path.suffix == SOURCE_SUFFIX:
            return forge(path.read_text(encoding="utf-8"), xen_build_id=xen_build_id)
        return path.read_bytes()
    except OSError as error:
        raise HarnessError(f"{path}: {error.strerror}") from None
    except (ForgeError, UnicodeDecodeError) as error:
        raise HarnessError(f"{path}: {error}") from None
