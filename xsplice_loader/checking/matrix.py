"""The matrix in pieces: a chunk is some payloads on one hypervisor, which whoever works on it reads once.

A worker, be it this process, another or another machine, keeps the last hypervisor and the last payloads that it read.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from xsplice_loader.checking.cell import (
    check,
    check_on_stack,
    checked_hypervisor,
    checked_payload,
    host_for,
    made,
    shown_path,
)
from xsplice_loader.checking.cells import Cell, CheckedHypervisor, CheckedPayload
from xsplice_loader.host.choosing import ChoiceError, choose_hypervisor, named_hypervisors
from xsplice_loader.host.files import unreadable
from xsplice_loader.hypervisor import Hypervisor, HypervisorFileError
from xsplice_loader.hypervisor.contents import FormError
from xsplice_loader.hypervisor.forms import build_id_of
from xsplice_loader.payload import PayloadFile
from xsplice_loader.rules import checking as rules
from xsplice_loader.streams import read_bounded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from xsplice_loader.checking.question import Question
    from xsplice_loader.rules import Rule

CHUNK = 32
"""Payloads that are handed out at once, unless they are a stack."""
KEPT_PAYLOADS = 128
NONE_NAMED = "-"
"""What stands for the hypervisor of a cell where none could be had."""


class Chunk(NamedTuple):
    """Some payloads on one hypervisor."""

    first: int
    """The number of its first cell; cells are numbered hypervisor by hypervisor."""
    hypervisor: str | None
    """None: the one that the payloads name."""
    payloads: tuple[str, ...]


class Answer(NamedTuple):
    """One cell, and what was found out on the way."""

    number: int
    cell: Cell
    payload: CheckedPayload
    hypervisor: CheckedHypervisor | None
    """None: it could not be read, or was told of with an earlier cell of the chunk."""


def chunks(hypervisors: Sequence[str | None], payloads: Sequence[str], *, whole: bool) -> Iterator[Chunk]:
    """Cut the matrix into pieces; `whole`: the payloads of a hypervisor stay together, for they are a stack."""
    size = len(payloads) if whole else CHUNK
    for row, hypervisor in enumerate(hypervisors):
        for start in range(0, len(payloads), size or 1):
            yield Chunk(row * len(payloads) + start, hypervisor, tuple(payloads[start : start + size]))


def answer(chunk: Chunk, question: Question) -> Iterator[Answer]:
    """Yield a chunk's cells, in order."""
    if question.stack:
        yield from _stack(chunk, question)
        return
    told: Hypervisor | None = None
    given = chunk.hypervisor
    opened: Hypervisor | None = None
    for number, file in enumerate(chunk.payloads, chunk.first):
        payload = _payload(file, question.max_size)
        try:
            # One that was given is the same for all of the chunk.
            hypervisor = opened if opened is not None else _hypervisor(given, {file: payload}, question)
            opened = hypervisor if given is not None else None
        except HypervisorFileError as error:
            yield _without_hypervisor(number, file, chunk, rules.UNREADABLE_HYPERVISOR, str(error))
        except ChoiceError as error:
            yield _without_hypervisor(number, file, chunk, rules.NO_HYPERVISOR, str(error))
        else:
            checked = _checked(number, file, payload, hypervisor, chunk, question, is_told=hypervisor is told)
            told = hypervisor if checked.hypervisor is not None else told
            yield checked


def _checked(
    number: int,
    file: str,
    payload: PayloadFile | OSError,
    hypervisor: Hypervisor,
    chunk: Chunk,
    question: Question,
    *,
    is_told: bool,
) -> Answer:
    try:
        host = host_for(hypervisor, question)
        cell, checked = check(host, file, payload, question)
    except (Exception, SystemExit) as error:
        # Whatever this is (a callback of the user's, a fault of this program's), the other cells have their answers.
        return _without_hypervisor(number, file, chunk, rules.CELL_DIED, f"{type(error).__name__}: {error}")
    return Answer(number, cell, checked, None if is_told else checked_hypervisor(host.hypervisor, question.release))


def _stack(chunk: Chunk, question: Question) -> Iterator[Answer]:
    payloads = {file: _payload(file, question.max_size) for file in chunk.payloads}
    try:
        hypervisor = _hypervisor(chunk.hypervisor, payloads, question)
    except (HypervisorFileError, ChoiceError) as error:
        rule = rules.UNREADABLE_HYPERVISOR if isinstance(error, HypervisorFileError) else rules.NO_HYPERVISOR
        for number, file in enumerate(payloads, chunk.first):
            yield _without_hypervisor(number, file, chunk, rule, str(error))
        return
    host = host_for(hypervisor, question)
    crashed: str | None = None
    for number, (file, payload) in enumerate(payloads.items(), chunk.first):
        if crashed is not None:
            yield _without_hypervisor(
                number, file, chunk, rules.CELL_DIED, f"the machine did not survive {crashed}, which comes before it"
            )
            continue
        try:
            cell, checked = check_on_stack(host, file, payload, question)
        except (Exception, SystemExit) as error:
            # As in `_checked`; what would have stood on this one is told as it comes.
            yield _without_hypervisor(number, file, chunk, rules.CELL_DIED, f"{type(error).__name__}: {error}")
        else:
            crashed = file if cell.verdict == "crash" else None
            yield Answer(number, cell, checked, checked_hypervisor(host.hypervisor, question.release))


def lost(chunk: Chunk, reason: str) -> Iterator[Answer]:
    """Yield the cells of a chunk that nobody could finish."""
    for number, file in enumerate(chunk.payloads, chunk.first):
        yield _without_hypervisor(number, file, chunk, rules.CELL_DIED, reason)


def _without_hypervisor(number: int, file: str, chunk: Chunk, rule: Rule, reason: str) -> Answer:
    name = NONE_NAMED if chunk.hypervisor is None else shown_path(chunk.hypervisor)
    message = reason if chunk.hypervisor is None else reason.removeprefix(f"{chunk.hypervisor}: ")
    cell = Cell(
        payload=shown_path(file),
        hypervisor=name,
        verdict=None,
        rule=rule.id,
        findings=(made(rule, shown_path(message)),),
    )
    return Answer(number, cell, checked_payload(unreadable(file, OSError())), None)


def _hypervisor(file: str | None, payloads: dict[str, PayloadFile | OSError], question: Question) -> Hypervisor:
    if file is not None:
        return _opened(file, question)
    if question.among:
        return _opened(_made_for(payloads, question.among), question)
    named = {name: payload.data for name, payload in payloads.items() if isinstance(payload, PayloadFile)}
    chosen = choose_hypervisor(
        named, directories=question.hypervisor_path, release=question.release, require=question.require_hypervisor
    )
    core = None if chosen.build_id is None else dict(question.memory).get(chosen.build_id.hex())
    return chosen if core is None or chosen.assumed else chosen.with_memory(core)


def _made_for(payloads: dict[str, PayloadFile | OSError], files: tuple[str, ...]) -> str:
    """Return the file of the build that payloads name.

    Raises:
        ChoiceError: it is not there, or they name several or none.
    """
    named = named_hypervisors(
        {name: payload.data for name, payload in payloads.items() if isinstance(payload, PayloadFile)}
    )
    wanted = set(named.values())
    if len(wanted) != 1:
        raise ChoiceError(
            "it names no hypervisor that it was made for" if not wanted else "they name several hypervisors"
        )
    (build_id,) = wanted
    unreadable = 0
    for file in files:
        identity = _identity(file, _stamp(file))
        if identity == build_id:
            return file
        unreadable += isinstance(identity, Exception)
    missing = f", and {unreadable} of them cannot be read" if unreadable else ""
    raise ChoiceError(
        f"none of the {len(files)} hypervisors has build-id {build_id.hex()}, which it was made for{missing}"
    )


def _stamp(file: str) -> tuple[int, ...] | None:
    """Return what changes when a file does: a worker may live on when files are written anew. None: it is no file."""
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


@lru_cache(maxsize=1024)
def _identity(file: str, stamp: tuple[int, ...] | None) -> bytes | Exception | None:
    del stamp
    try:
        return build_id_of(file)[0]
    except (FormError, OSError) as error:
        return error


def _opened(file: str, question: Question) -> Hypervisor:
    core = dict(question.memory).get(file)
    found = _read_hypervisor(file, question.release, core, (_stamp(file), None if core is None else _stamp(core)))
    if isinstance(found, HypervisorFileError):
        raise found
    return found


@lru_cache(maxsize=4)
def _read_hypervisor(
    file: str, release: str | None, core: str | None, stamps: tuple[tuple[int, ...] | None, ...]
) -> Hypervisor | HypervisorFileError:
    del stamps
    try:
        return Hypervisor.open(file, release, memory=core)
    except HypervisorFileError as error:
        # Reading it may have taken long, and every payload asks for it.
        return error


def _payload(file: str, max_size: int) -> PayloadFile | OSError:
    return _read_payload(file, max_size, _stamp(file))


@lru_cache(maxsize=KEPT_PAYLOADS)
def _read_payload(file: str, max_size: int, stamp: tuple[int, ...] | None) -> PayloadFile | OSError:
    del stamp
    data = read_bounded(file, max_size)
    return data if isinstance(data, OSError) else PayloadFile(data)
