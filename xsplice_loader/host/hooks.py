"""Hooks: functions of a payload that Xen calls around an action (`spec/04 §4`).

They are code, so what they do cannot be known without running them. Who runs them is not decided here: without a
runner a hook is listed and taken to return 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from xsplice_loader.host_state import HostState


class HookCall(NamedTuple):
    """One call of one hook."""

    payload: str
    """The payload's name."""
    section: str
    """The section that named the hook, for example `.livepatch.hooks.preapply`."""
    address: int
    argument: int | None = None
    """What it is passed: the address of its `struct payload`; None: Xen passes nothing."""


class HookOutcome(NamedTuple):
    """What came of it."""

    value: int = 0
    """What it returned, as a signed 32-bit number; nobody looks at it where the hook returns nothing."""
    console: tuple[str, ...] = ()
    """Lines that it printed on Xen's console."""
    unknown: str | None = None
    """A clause that says why the hook could not be followed to its end."""
    depends_on_heap: str | None = None
    """A clause that says which value depends on where Xen's heap puts structures, which no file says."""
    crash: str | None = None
    """A clause that says why the machine would not have survived it."""


class HookRunner(Protocol):
    """Runs hooks in the memory of a host, where what they write stays."""

    def __call__(self, host: HostState, call: HookCall) -> HookOutcome:
        """Run one hook to its end, or as far as it can be followed."""
