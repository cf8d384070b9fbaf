"""The end of a boot, and what is said of one that fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from real_xen.machine import Machine
from real_xen.problem import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable

    from real_xen.emulator import Emulator


class Console:
    """An emulator whose Xen has said all that it will say."""

    def __init__(self, said: bytes) -> None:
        self.console = bytearray(said)

    def wait_for(self, condition: Callable[[], bool], seconds: float) -> bool:
        assert seconds > 0
        return condition()


def machine(said: str) -> Machine:
    found = Machine.__new__(Machine)
    found._emulator = cast("Emulator", Console(said.replace("\n", "\r\n").encode()))
    return found


@pytest.mark.parametrize(
    "line",
    [
        "(XEN) Freed 328kB init memory.\n",
        "(XEN) Freed 2048kB init memory\n",
        "(XEN) [2026-01-02 03:04:05] Freed 656kB init memory\n",
    ],
)
def test_a_boot_ends_when_init_memory_is_freed(line: str) -> None:
    machine(f"(XEN) Xen version 4.17\n{line}").wait_until_booted()


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ("(XEN) a\n(XEN) \n(XEN) Panic on CPU 0:\n(XEN) no\n(XEN) ****\n", "crashed while booting; its last lines:"),
        ("(XEN) a\n(XEN) Panic on CPU 0:\n(XEN) no\n", "crashed while booting; its last lines:"),
        ("(XEN) a\n(XEN) Panic \nFreed 1kB init memory\n(XEN) no\n", "did not boot in 300 s; its last lines:"),
    ],
)
def test_a_boot_that_fails_shows_what_xen_said_last(said: str, problem: str) -> None:
    with pytest.raises(HarnessError) as raised:
        machine(said).wait_until_booted()
    assert str(raised.value).splitlines()[0] == f"Xen {problem}"
    assert str(raised.value).splitlines()[1] == "  (XEN) a"
    assert str(raised.value).splitlines()[-1] == "  (XEN) no"


def test_a_silent_boot_is_reported_as_such() -> None:
    with pytest.raises(HarnessError, match="Xen did not boot in 300 s; it printed nothing"):
        machine("SeaBIOS\n").wait_until_booted()
