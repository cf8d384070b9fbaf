"""A call that takes too long is stopped; others are not."""

from __future__ import annotations

import threading
import time

from real_xen.watchdog import Watchdog


def test_a_long_call_is_stopped() -> None:
    stopped = threading.Event()
    with Watchdog(stopped.set, limit=0.05, step=0.01):
        end = time.monotonic() + 60
        # It counts processor time, so this must use some.
        while not stopped.is_set() and time.monotonic() < end:
            pass
    assert stopped.is_set()


def test_nothing_is_stopped_between_calls() -> None:
    stopped = threading.Event()
    watchdog = Watchdog(stopped.set, limit=0.05, step=0.001)
    with watchdog:
        pass
    end = time.process_time() + 0.2
    while time.process_time() < end:
        pass
    assert not stopped.is_set()
