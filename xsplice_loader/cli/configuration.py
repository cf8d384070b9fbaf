"""`[tool.xsplice-check]`: what a project always asks, from its `pyproject.toml` or a file of its own."""

from __future__ import annotations

import difflib
import errno
import os
import tomllib
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Mapping

PROJECT_FILE = "pyproject.toml"
TABLE = "xsplice-check"
LARGEST = 1 << 20
PATHS = frozenset(("payloads", "hypervisor", "hypervisor_path", "memory", "baseline"))
"""Options that name files; in a configuration they are relative to the file that it stands in."""
ONLY_TYPED = frozenset(("output", "help", "version", "schema", "config", "write_baseline", "resume"))
"""Options that belong to one run, and not to a project."""


class ConfigurationError(click.ClickException):
    """A configuration cannot be used."""

    exit_code = 2


def find_configuration(start: str) -> str | None:
    """Return the nearest `pyproject.toml` at or above a directory that has a table for this command."""
    try:
        directory = os.path.abspath(start)
    except FileNotFoundError:
        # The directory that the shell stands in was removed.
        return None
    while True:
        path = os.path.join(directory, PROJECT_FILE)
        if os.path.isfile(path) and _table(path, required=False) is not None:
            return path
        above = os.path.dirname(directory)
        if above == directory:
            return None
        directory = above


def read_configuration(path: str, command: click.Command) -> dict[str, Any]:
    """Return the options that a file sets, as values for the command's `default_map`.

    Raises:
        ConfigurationError: the file cannot be read, or sets what is no option.
    """
    table = _table(path, required=True) or {}
    options = {option.name: option for option in command.params if option.name and option.name not in ONLY_TYPED}
    directory = os.path.dirname(path)
    values = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in options:
            near = difflib.get_close_matches(name, options, n=1)
            hint = f"; did you mean {near[0].replace('_', '-')}?" if near else ""
            raise ConfigurationError(f"{path}: [tool.{TABLE}] has no option {key!r}{hint}")
        values[name] = _value(path, key, value, options[name], directory)
    return values


def _value(path: str, key: str, value: Any, option: click.Parameter, directory: str) -> Any:
    name = option.name or ""
    if isinstance(option, click.Option) and option.is_flag:
        if not isinstance(value, bool):
            raise ConfigurationError(f"{path}: {key} is a switch: expected true or false, not {value!r}")
        return value
    if name == "severity" and isinstance(value, dict):
        return tuple(f"{rule}={level}" for rule, level in value.items())
    many = value if isinstance(value, list) else [value]
    if not all(isinstance(one, str | int) and not isinstance(one, bool) for one in many):
        raise ConfigurationError(f"{path}: {key} should be a text, a number or a list of them, not {value!r}")
    if any("\0" in one for one in many if isinstance(one, str)):
        raise ConfigurationError(f"{path}: {key} holds a NUL, which no value of it has")
    if name in PATHS:
        many = [one if one == "-" else _from_here(directory, str(one)) for one in many]
    if option.multiple or option.nargs == -1:
        return tuple(str(one) for one in many)
    if isinstance(value, list):
        raise ConfigurationError(f"{path}: {key} takes one value, not a list")
    # TOML has hexadecimal numbers, and an address typed as one arrives as a number.
    return hex(value) if name == "place" and isinstance(value, int) else str(many[0])


def _from_here(directory: str, path: str) -> str:
    """Return a path that is relative to a directory as somebody would type it here."""
    if os.path.isabs(path):
        return path
    # A name that ends in a separator is a directory's, and stays one.
    return os.path.relpath(os.path.join(directory, path)) + os.sep * path.endswith(os.sep)


def _table(path: str, *, required: bool) -> Mapping[str, Any] | None:
    contents = b""
    try:
        with open(path, "rb") as file:
            contents = file.read(LARGEST + 1)
        if len(contents) > LARGEST:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        document = tomllib.loads(contents.decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        # tomllib's own error is a ValueError, and so is that of a number with thousands of digits.
        # A project that says nothing of this command may be as broken as it likes.
        if not required and TABLE.encode() not in contents:
            return None
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigurationError(f"{path} cannot be read: {reason}") from None
    tool = document.get("tool")
    table = tool.get(TABLE) if isinstance(tool, dict) else None
    if table is None and required and os.path.basename(path) != PROJECT_FILE:
        table = document
    if table is not None and not isinstance(table, dict):
        raise ConfigurationError(f"{path}: [tool.{TABLE}] should be a table")
    return table
