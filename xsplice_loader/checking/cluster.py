"""Chunks on a cluster of machines, by way of dask.distributed; every machine sees the same files at the same paths."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from xsplice_loader.checking.executors import cells_of
from xsplice_loader.checking.matrix import Answer, Chunk, answer, lost

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from xsplice_loader.checking.question import Question

_ADDRESS = re.compile(r"(?:(?:tcp|tls|ws|wss)://)?[^/:\s]+:[0-9]{1,5}|\[[0-9a-fA-F:]+\]:[0-9]{1,5}")
CONNECT = 5
"""Seconds in which a scheduler has to answer."""
WAITING = 64
"""Chunks that the scheduler holds at a time."""


class ClusterError(Exception):
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
        try:
            make: Any = distributed.Client
            self._client = make(address, timeout=CONNECT, set_as_default=False)
            workers = self._client.scheduler_info()["workers"]
        except (OSError, ValueError, TimeoutError) as error:
            reason = str(error).split("\n", 1)[0] or type(error).__name__
            raise ClusterError(f"no scheduler of dask answers at {address} within {CONNECT} s: {reason}") from None
        if not workers:
            self._client.close()
            raise ClusterError(f"the scheduler at {address} has no workers: start some with `dask worker {address}`")

    def run(self, chunks: Iterable[Chunk], question: Question) -> Iterator[Answer]:
        """Yield the answers as they come; what kills its worker again and again is reported and left."""
        import distributed  # noqa: PLC0415 - an extra

        waiting = iter(chunks)
        running: dict[Any, Chunk] = {}
        finished: Any = distributed.as_completed(loop=self._client.loop)  # type: ignore[no-untyped-call]
        try:
            while True:
                while len(running) < WAITING and (chunk := next(waiting, None)) is not None:
                    # Answers depend on files that may change: the scheduler is not to take two calls for one.
                    future = self._client.submit(_work, chunk, question, pure=False)
                    running[future] = chunk
                    finished.add(future)
                if not running:
                    return
                future = next(finished)
                chunk = running.pop(future)
                try:
                    yield from future.result()
                except distributed.KilledWorker as killed:
                    singles = list(cells_of(chunk, whole=question.stack))
                    if len(singles) == 1:
                        yield from lost(chunk, f"the worker died: {killed.args[0] if killed.args else 'unknown'}")
                        continue
                    for single in singles:
                        future = self._client.submit(_work, single, question, pure=False)
                        running[future] = single
                        finished.add(future)
                except Exception as error:
                    # The scheduler is gone, or a worker cannot do what was asked of it.
                    yield from lost(chunk, f"the cluster has no answer: {type(error).__name__}: {error}")
        finally:
            self._client.close()
