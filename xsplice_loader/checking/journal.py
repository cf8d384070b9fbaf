"""The cells of a run on disk, as they come: reports read them back in order, and an interrupted run goes on from them.

A line is one record. Where a line ended before the run did, that line never happened.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import tempfile
from array import array
from typing import IO, TYPE_CHECKING, Self

import msgspec

from xsplice_loader import __version__
from xsplice_loader.checking.cells import Cell, CheckedHypervisor, CheckedPayload  # noqa: TC001 - read back by their types
from xsplice_loader.hypervisor.search import BY_BUILD_ID, SYSTEM_DIRECTORIES
from xsplice_loader.rules import RULES
from xsplice_loader.rules.errnos import ERRNOS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    from xsplice_loader.checking.matrix import Answer
    from xsplice_loader.checking.question import Question

FORMAT = "xsplice-check-journal/1"
MISSING = -1


class JournalError(Exception):
    """A journal cannot be gone on from; the message says why, and what to do."""


class Heading(msgspec.Struct, frozen=True, tag="journal"):
    """The first line: what the run is about."""

    format: str
    about: str


class CellLine(msgspec.Struct, frozen=True, tag="cell"):
    """A cell that is done."""

    number: int
    cell: Cell
    payload: CheckedPayload
    hypervisor: CheckedHypervisor | None


_decode = msgspec.json.Decoder(Heading | CellLine).decode


def identity_of(hypervisors: Sequence[str | None], payloads: Sequence[str], question: Question) -> str:
    """Return a digest of everything that a run's answers depend on: what is asked, and the files as they are now."""
    vmap = question.vmap if isinstance(question.vmap, str) else question.vmap.__qualname__
    asked = question._replace(vmap=vmap, cpu_features=frozenset())
    parts = [__version__, repr(asked), repr(sorted(question.cpu_features))]
    searched = (*question.hypervisor_path, *map(str, (*SYSTEM_DIRECTORIES, BY_BUILD_ID)))
    # A file that is overwritten in place leaves its directory as it was.
    inside = (os.path.join(path, name) for path in question.hypervisor_path for name in _names_in(path))
    cores = (core for _, core in question.memory)
    for path in (*hypervisors, *payloads, *question.among, *cores, *searched, *inside):
        state = None
        if path is not None:
            with contextlib.suppress(OSError):
                found = os.stat(path)
                state = (found.st_size, found.st_mtime_ns)
        parts.append(repr((path, state)))
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogateescape")).hexdigest()


def _names_in(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except OSError:
        return []


def _line(record: Heading | CellLine) -> bytes:
    return msgspec.json.encode(record) + b"\n"


def _is_of_this_version(cell: Cell) -> bool:
    rules = {cell.rule, *(finding.rule for finding in cell.findings)} - {None}
    errnos = {cell.errno, *(finding.errno for finding in cell.findings)} - {None}
    return rules <= RULES.keys() and errnos <= set(ERRNOS.values())


def _lock(file: IO[bytes], path: str) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise JournalError(f"{path} is in use by another run: wait for it, or name another file") from None


class Journal:
    """The cells of a matrix of `count` cells."""

    def __init__(self, file: IO[bytes], count: int, *, outlives: bool) -> None:
        """`outlives`: somebody may go on from it, so what is noted is on its way to the disk at once."""
        self._file = file
        self._outlives = outlives
        self._end = 0
        self._offsets = array("q", [MISSING]) * count

    @classmethod
    def temporary(cls, count: int) -> Self:
        """Return a journal that is gone when it is closed."""
        return cls(tempfile.TemporaryFile(prefix="xsplice-check-"), count, outlives=False)

    @classmethod
    def resumed(cls, path: str, about: str, count: int) -> Self:
        """Return the journal at `path` with the cells that it has; begin one where there is none.

        Raises:
            JournalError: it is of another run, or no journal.
            OSError: it cannot be read or written.
        """
        if os.path.exists(path) and not os.path.isfile(path):
            raise JournalError(f"{path} is no ordinary file: name one, or a file that does not exist yet")
        file = open(path, "a+b")  # noqa: SIM115 - it is the journal's, and closed by it
        try:
            _lock(file, path)
            journal = cls(file, count, outlives=True)
            journal._read(path, about)
        except BaseException:
            file.close()
            raise
        return journal

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._file.close()
        except OSError:
            # What could not be written to a full disk cannot be either when it is closed.
            if kind is None:
                raise

    def _read(self, path: str, about: str) -> None:
        self._file.seek(0)
        start = 0
        for number, line in enumerate(self._file):
            if not line.endswith(b"\n"):
                # The run ended in the middle of it: but only where this is a journal at all.
                if number == 0 and not _line(Heading(FORMAT, about)).startswith(line):
                    raise JournalError(f"{path} is no journal: name one, or a file that does not exist yet")
                break
            try:
                record = _decode(line)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                raise JournalError(
                    f"line {number + 1} of {path} is no line of a journal ({error}); name a file of an "
                    "interrupted run, or one that does not exist yet"
                ) from None
            if (number == 0) is not isinstance(record, Heading):
                raise JournalError(f"{path} is no journal: line {number + 1} is out of place")
            if isinstance(record, Heading):
                if record.format != FORMAT:
                    raise JournalError(
                        f"{path} is of the form {record.format}, expected {FORMAT}: remove it, and start again"
                    )
                if record.about != about:
                    raise JournalError(
                        f"{path} is of a run with other options or files, or files have changed since: remove it, and "
                        "start again"
                    )
            elif not _is_of_this_version(record.cell):
                raise JournalError(
                    f"line {number + 1} of {path} names a rule or an error that this version does not know: remove it, "
                    "and start again"
                )
            elif 0 <= record.number < len(self._offsets):
                self._offsets[record.number] = start
            start += len(line)
        self._file.truncate(start)
        self._end = self._file.seek(0, os.SEEK_END)
        if not start:
            self._write(Heading(FORMAT, about))

    def add(self, answer: Answer) -> None:
        """Note a cell.

        Raises:
            OSError: the disk is full.
        """
        self._offsets[answer.number] = self._end
        self._write(CellLine(answer.number, answer.cell, answer.payload, answer.hypervisor))

    def _write(self, record: Heading | CellLine) -> None:
        if self._file.tell() != self._end:
            self._file.seek(self._end)
        self._end += self._file.write(_line(record))
        if self._outlives:
            self._file.flush()

    def flush(self) -> None:
        """Write what waits to be written.

        Raises:
            OSError: the disk is full.
        """
        self._file.flush()

    def is_done(self, number: int) -> bool:
        """Tell whether a cell is there."""
        return self._offsets[number] != MISSING

    @property
    def done(self) -> int:
        """How many cells are there."""
        return sum(offset != MISSING for offset in self._offsets)

    def __iter__(self) -> Iterator[CellLine]:
        """Yield the cells that are there, in the order of their numbers."""
        for number in range(len(self._offsets)):
            line = self.line(number)
            if line is not None:
                yield line

    def line(self, number: int) -> CellLine | None:
        """Return a cell, if it is there."""
        offset = self._offsets[number]
        if offset == MISSING:
            return None
        self._file.seek(offset)
        record = _decode(self._file.readline())
        return record if isinstance(record, CellLine) else None
