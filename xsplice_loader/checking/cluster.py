"""Chunks on a cluster of machines, by way of dask.distributed; every machine sees the same files at the same paths."""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import re
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from xsplice_loader.checking.cell import shown_path
from xsplice_loader.checking.executors import ExecutorError, cells_of
from xsplice_loader.checking.matrix import Answer, Chunk, answer, lost

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from xsplice_loader.checking.question import Question

_ADDRESS = re.compile(r"(?:(?:tcp|tls|ws|wss)://)?[^/:\s]+:[0-9]{1,5}|\[[0-9a-fA-F:]+\]:[0-9]{1,5}")
CONNECT = 5
"""Seconds in which a scheduler has to answer."""
WAITING = 64
"""Chunks that the scheduler holds at a time."""


class ClusterError(ExecutorError):
    """The cluster cannot be used; the message says why."""


def _work(chunk: Chunk, question: Question) -> list[Answer]:
    return list(answer(chunk, question))


class Cluster:
    """The workers of a dask scheduler."""

    def __init__(self, address: str) -> None:
        """`address`: the scheduler's, as HOST:PORT or with a scheme before it.

        Raises:
            ClusterError: it does not answer, or dask.distributed is not installed.
        """
        if not _ADDRESS.fullmatch(address):
            raise ClusterError(f"{address!r} is no address of a scheduler; expected HOST:PORT or tcp://HOST:PORT")
        try:
            import distributed  # noqa: PLC0415 - an extra
        except ImportError:
            raise ClusterError("dask.distributed is not installed: pip install 'xsplice-loader[fleet]'") from None
        # What goes wrong is told here, in fewer words.
        for name in ("distributed", "distributed.client", "tornado", "asyncio"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        make: Any = distributed.Client
        security: Any = distributed.Security
        if _is_encrypted(address) and security().get_connection_args("client").get("ssl_context") is None:
            raise ClusterError(f"{address} wants certificates; dask's configuration (distributed.comm.tls) names none")
        self._address = address
        try:
            self._client = _within(CONNECT + 1, lambda: make(address, timeout=CONNECT, set_as_default=False))
            workers = self._client.scheduler_info()["workers"]
        except Exception as error:
            # Whatever listens there may say anything at all, and dask believes it.
            reason = str(error).split("\n", 1)[0] or type(error).__name__
            raise ClusterError(f"no scheduler of dask answers at {address}: {reason}") from None
        if not workers:
            self._client.close()
            raise ClusterError(f"the scheduler at {address} has no workers: start some with `dask worker {address}`")

    def run(self, chunks: Iterable[Chunk], question: Question) -> Iterator[Answer]:
        """Yield the answers as they come; what kills its worker again and again is reported and left.

        Raises:
            ClusterError: the scheduler is gone; what is not done stays undone.
        """
        import distributed  # noqa: PLC0415 - an extra

        waiting = iter(chunks)
        running: dict[Any, Chunk] = {}
        finished: Any = distributed.as_completed(loop=self._client.loop)  # type: ignore[no-untyped-call]
        # A build-id is not a path, but is looked for only where no file was given.
        memory = question.memory + tuple((os.path.abspath(file), core) for file, core in question.memory)
        asked = question._replace(among=tuple(map(os.path.abspath, question.among)), memory=memory)

        def hand_out(chunk: Chunk) -> None:
            # Answers depend on files that may change: the scheduler is not to take two calls for one.
            future = self._client.submit(_work, _absolute(chunk), asked, pure=False)
            running[future] = chunk
            finished.add(future)

        try:
            while True:
                while len(running) < WAITING and (chunk := next(waiting, None)) is not None:
                    hand_out(chunk)
                if not running:
                    return
                future = next(finished)
                chunk = running.pop(future)
                try:
                    answers = future.result()
                except distributed.KilledWorker as killed:
                    singles = list(cells_of(chunk, whole=question.stack))
                    if len(singles) > 1:
                        for single in singles:
                            hand_out(single)
                        continue
                    answers = lost(chunk, f"the worker died: {killed.args[0] if killed.args else 'unknown'}")
                except Exception as error:
                    if future.status != "error":
                        raise
                    # A worker cannot do what was asked of it.
                    answers = lost(chunk, f"the cluster has no answer: {type(error).__name__}: {error}")
                yield from _as_given(answers, chunk, question)
        except (Exception, asyncio.CancelledError) as error:
            # Which of its many exceptions dask raises then is a matter of milliseconds.
            raise ClusterError(f"the scheduler at {self._address} went away ({type(error).__name__})") from None
        finally:
            # One that is gone is not waited for.
            self._client.close(timeout=CONNECT)


def _is_encrypted(address: str) -> bool:
    return address.startswith(("tls:", "wss:"))


def _within(seconds: float, call: Callable[[], Any]) -> Any:
    """Return what a call returns, or raise what it raises.

    Raises:
        TimeoutError: it did neither in time, and goes on in the background.
    """
    results: queue.Queue[tuple[Any, Exception | None]] = queue.Queue()

    def work() -> None:
        try:
            results.put((call(), None))
        except Exception as error:
            results.put((None, error))

    threading.Thread(target=work, daemon=True).start()
    try:
        result, error = results.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError("what listens there does not speak as one") from None
    if error is not None:
        raise error
    return result


def _absolute(chunk: Chunk) -> Chunk:
    """Return a chunk with paths that do not depend on a directory: workers have directories of their own."""
    hypervisor = None if chunk.hypervisor is None else os.path.abspath(chunk.hypervisor)
    return Chunk(chunk.first, hypervisor, tuple(map(os.path.abspath, chunk.payloads)))


def _as_given(answers: Iterable[Answer], chunk: Chunk, question: Question) -> Iterator[Answer]:
    """Yield answers with the paths that were given."""
    files = [*chunk.payloads, *question.among, *([] if chunk.hypervisor is None else [chunk.hypervisor])]
    given = {shown_path(os.path.abspath(file)): shown_path(file) for file in files}
    for one in answers:
        cell, payload, hypervisor = one.cell, one.payload, one.hypervisor
        yield Answer(
            one.number,
            replace(
                cell,
                payload=given.get(cell.payload, cell.payload),
                hypervisor=given.get(cell.hypervisor, cell.hypervisor),
            ),
            payload._replace(file=given.get(payload.file, payload.file)),
            None if hypervisor is None else hypervisor._replace(file=given.get(hypervisor.file, hypervisor.file)),
        )
