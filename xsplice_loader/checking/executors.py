"""Who works on the chunks: this process, several, or a cluster. Each yields answers as they come, in any order."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import signal
import threading
from collections import deque
from typing import TYPE_CHECKING, Protocol

from xsplice_loader.checking.matrix import Answer, Chunk, answer, lost

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from xsplice_loader.checking.question import Question

WAITING = 4
"""Chunks that are handed out to each process ahead of time."""
DIED = "the process that worked on this cell died; nothing can be said about it"


class ExecutorError(Exception):
    """Nobody is there to work on what is left; the message says why."""


class Executor(Protocol):
    """Works on chunks."""

    def run(self, chunks: Iterable[Chunk], question: Question) -> Iterator[Answer]:
        """Yield the answers of all chunks.

        Raises:
            ExecutorError: there is nobody to work on the rest.
        """
        ...


class Serial:
    """One chunk after the other, in this process."""

    def run(self, chunks: Iterable[Chunk], question: Question) -> Iterator[Answer]:
        """Yield the answers in order."""
        for chunk in chunks:
            yield from answer(chunk, question)


_question: list[Question] = []
"""What a process of a pool was started for."""


def _start(question: Question) -> None:
    _question[:] = [question]
    # An interrupt at a terminal reaches every process; the one that started them ends them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Whatever ended that one, nobody waits for what its processes find out, and they hold its journal.
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def _work(chunk: Chunk) -> list[Answer]:
    return list(answer(chunk, _question[0]))


class Processes:
    """Several processes of this machine."""

    def __init__(self, jobs: int) -> None:
        """`jobs`: how many."""
        self.jobs = jobs

    def run(self, chunks: Iterable[Chunk], question: Question) -> Iterator[Answer]:
        """Yield the answers as they come.

        A process that dies takes all that was handed out with it; that is done again cell by cell, and the cell that
        kills its process again is the one to report.
        """
        waiting = iter(chunks)
        doubtful: deque[Chunk] = deque()
        while True:
            broken = yield from self._until_broken(waiting, question, self.jobs)
            if not broken:
                return
            doubtful += (single for chunk in broken for single in cells_of(chunk, whole=question.stack))
            while doubtful:
                chunk = doubtful.popleft()
                if (yield from self._until_broken(iter([chunk]), question, 1)):
                    yield from lost(chunk, DIED)

    def _until_broken(
        self, chunks: Iterator[Chunk], question: Question, jobs: int
    ) -> Generator[Answer, None, list[Chunk]]:
        """Yield answers until there are no more chunks or a process died; return what was handed out in vain."""
        # Forked processes get the question as it is: a callback of the user's cannot be sent.
        context = multiprocessing.get_context("fork")
        with concurrent.futures.ProcessPoolExecutor(jobs, context, _start, (question,)) as pool:
            running: dict[concurrent.futures.Future[list[Answer]], Chunk] = {}
            broken: list[Chunk] = []
            try:
                while True:
                    while not broken and len(running) < jobs * WAITING and (chunk := next(chunks, None)) is not None:
                        try:
                            running[pool.submit(_work, chunk)] = chunk
                        except concurrent.futures.BrokenExecutor:
                            broken.append(chunk)
                    if not running:
                        return broken
                    done, _ = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
                    for future in done:
                        chunk = running.pop(future)
                        try:
                            answers = future.result()
                        except concurrent.futures.BrokenExecutor:
                            broken.append(chunk)
                        else:
                            yield from answers
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def cells_of(chunk: Chunk, *, whole: bool) -> Iterator[Chunk]:
    """Cut a chunk into its cells; a stack cannot be cut."""
    if whole:
        yield chunk
        return
    for offset, payload in enumerate(chunk.payloads):
        yield Chunk(chunk.first + offset, chunk.hypervisor, (payload,))
