"""A limit on the time of calls into code that Python cannot interrupt."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT = 10.0
"""Seconds of processor time: other processes may take most of it."""
STEP = 0.5


class Watchdog:
    """Stops a call that takes too long: one thread for all calls, as many take a millisecond."""

    def __init__(self, stop: Callable[[], None], limit: float = LIMIT, step: float = STEP) -> None:
        """`stop` is called from another thread, again every `step` seconds, until the call returns."""
        self._stop = stop
        self._limit = limit
        self._step = step
        self._started: float | None = None
        threading.Thread(target=self._watch, daemon=True).start()

    def __enter__(self) -> None:
        self._started = time.process_time()

    def __exit__(self, *_: object) -> None:
        self._started = None

    def _watch(self) -> None:
        while True:
            time.sleep(self._step)
            started = self._started
            if started is not None and time.process_time() - started > self._limit:
                self._stop()
