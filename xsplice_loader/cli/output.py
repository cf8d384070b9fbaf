"""Where results go: standard output, or files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from xsplice_loader.report.paint import Paint

_COLOURS = {
    "accepted": {"fg": "green", "bold": True},
    "refused": {"fg": "red", "bold": True},
    "warning": {"fg": "yellow"},
    "note": {"fg": "cyan"},
    "quiet": {"dim": True},
    "strong": {"bold": True},
}


class OutputError(click.ClickException):
    """A result could not be written."""

    exit_code = 2


def write_whole(path: str | os.PathLike[str], contents: bytes | Iterable[bytes]) -> None:
    """Write a file under a temporary name beside it, then give it its name: whole, or not at all.

    `contents` may come in pieces. What is not an ordinary file (`/dev/null`, a pipe) is written to directly.

    Raises:
        OutputError: it could not be written.
    """
    import tempfile  # noqa: PLC0415 - seldom wanted, and it brings a dozen modules

    pieces = [contents] if isinstance(contents, bytes) else contents
    try:
        if os.path.exists(path) and not os.path.isfile(path):
            with open(path, "wb") as file:
                file.writelines(pieces)
            return
        handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path) or ".", prefix=".xsplice-", suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                file.writelines(pieces)
                os.fchmod(file.fileno(), 0o666 & ~_umask())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
    except OSError as error:
        raise OutputError(f"{_shown(path)} cannot be written: {error.strerror or error}") from None


def keep_inputs(outputs: Iterable[str | os.PathLike[str] | None], inputs: Iterable[str | None]) -> None:
    """Refuse to write over a file that is read, whatever names it goes by. `-` and None are no outputs.

    Raises:
        UsageError: an output is one of the inputs.
    """
    paths = [path for path in outputs if path is not None and path != "-"]
    written = [(path, found) for path in paths if (found := _regular(path)) is not None]
    if not written:
        return
    read = [found for path in inputs if path is not None and (found := _regular(path)) is not None]
    for path, found in written:
        if any(os.path.samestat(found, other) for other in read):
            raise click.UsageError(f"{_shown(path)} is an input of this command, and is not written over")


def _regular(path: str | os.PathLike[str]) -> os.stat_result | None:
    """Return the status of a regular file, `-` being standard input; None for anything else."""
    try:
        found = os.fstat(sys.stdin.fileno()) if path == "-" else os.stat(path)
    # Standard input is closed, or has no file descriptor; a name holds a NUL.
    except (OSError, ValueError, AttributeError):
        return None
    return found if stat.S_ISREG(found.st_mode) else None


def _shown(path: str | os.PathLike[str]) -> str:
    from xsplice_loader.report.escaping import for_terminal, path_text  # noqa: PLC0415 - only for this message

    return for_terminal(path_text(os.fspath(path)))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def emit(output: str | None, contents: bytes | Iterable[bytes]) -> None:
    """Write a result, whole or in pieces, to the file `output`, or to standard output."""
    if output is not None and output != "-":
        write_whole(output, contents)
        return
    if sys.stdout is None:
        raise OutputError("standard output is closed")
    try:
        sys.stdout.buffer.writelines([contents] if isinstance(contents, bytes) else contents)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        # The reader has seen enough; Python must not try to flush the rest at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        raise OutputError(f"standard output cannot be written: {error.strerror or error}") from None


def paint_for(output: str | None) -> Paint:
    """Return colours for a terminal, and none for files, pipes, and people who set NO_COLOR."""
    from xsplice_loader.report.paint import plain  # noqa: PLC0415 - not for --help

    if output not in (None, "-") or "NO_COLOR" in os.environ or sys.stdout is None or not sys.stdout.isatty():
        return plain
    return lambda text, role: click.style(text, **_COLOURS[role])  # type: ignore[arg-type]


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Turn an interrupt into the status that a shell expects of one; 1 would say that a payload was refused."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        sys.exit(130)
