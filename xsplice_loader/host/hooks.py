"""Hooks: functions of a payload that Xen calls around an action (`spec/04 §4`).

They are code, so what they do cannot be known without running them. Who runs them is not decided here: without a
runner a hook is listed and taken to return 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from xsplice_loader.host_state import HostState


class Elsewhere(NamedTuple):
    """A host whose heap is at other addresses."""

    argument: int | None
    """What a hook is passed there."""
    original_address: Callable[[int], int]
    """Returns where the host itself has what is at an address there."""
    is_structure: Callable[[int], bool]
    """Tells whether the host itself has a structure of Xen's at an address."""


class HookCall(NamedTuple):
    """One call of one hook."""

    payload: str
    """The payload's name."""
    section: str
    """The section that named the hook, for example `.livepatch.hooks.preapply`."""
    address: int
    argument: int | None = None
    """What it is passed: the address of its `struct payload`; None: Xen passes nothing."""
    elsewhere: Callable[[], AbstractContextManager[Elsewhere]] | None = None
    """Has the structures at other addresses meanwhile, so that a second run shows what depends on them."""


class HookOutcome(NamedTuple):
    """What came of it."""

    value: int = 0
    """What it returned, as a signed 32-bit number; nobody looks at it where the hook returns nothing."""
    console: tuple[str | None, ...] = ()
    """Lines that it printed on Xen's console; None: one that depends on where Xen's heap is."""
    unknown: str | None = None
    """A clause that says why the hook could not be followed to its end."""
    depends_on_heap: str | None = None
    """A clause that says what depends on where Xen's heap puts structures, which no file says."""
    crash: str | None = None
    """A clause that says why the machine would not have survived it."""


class HookRunner(Protocol):
    """Runs hooks in the memory of a host, where what they write stays."""

    def __call__(self, host: HostState, call: HookCall) -> HookOutcome:
        """Run one hook to its end, or as far as it can be followed."""
