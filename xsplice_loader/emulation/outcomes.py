"""What comes of running code: frozen records."""

from __future__ import annotations

from typing import Literal, NamedTuple

Outcome = Literal["returned", "stopped", "crash"]
"""It came to its end; it asked for what the model does not have; a real machine would not have survived it."""
Via = Literal["start", "call", "jump", "trampoline"]
"""How a function was entered; a trampoline is the jump that a payload puts over a function of Xen's."""


class Limits(NamedTuple):
    """How long code may run."""

    instructions: int = 1_000_000
    """Every repetition of a string instruction counts. Not seconds: the same code ends the same way everywhere."""


HOOK_LIMITS = Limits(200_000)
"""For hooks: in most of them all processors wait, so a real one is far from that, and each action may run several."""


class PathStep(NamedTuple):
    """A function that was entered."""

    address: int
    symbol: str | None
    """`name`, or `name+0x10` within it; None where no symbol is near."""
    payload: str | None
    """The name of the payload it is part of; None: Xen itself."""
    via: Via
    depth: int
    """How many calls it is away from the function that was run, which has 0."""


class Write(NamedTuple):
    """Neighbouring bytes that were written, in memory that belongs to the host."""

    address: int
    symbol: str | None
    """As in `PathStep`."""
    before: bytes | None
    """None: what stood there is not known."""
    after: bytes


class Ending(NamedTuple):
    """How it ended, and why if it did not return, as words that follow its name: `reads 0x…, which is not mapped`."""

    outcome: Outcome
    reason: str | None = None


class Run(NamedTuple):
    """One execution of one function."""

    function: str
    """As it was asked for."""
    address: int
    outcome: Outcome
    reason: str | None
    """Why it did not return, as words that follow its name: `reads 0x…, which is not mapped`; None if it did."""
    value: int | None
    """RAX, unsigned, 64 bits; None unless it returned."""
    text: str | None
    """The printable string that `value` points to, if it does."""
    instructions: int
    """How many were begun; every repetition of a string instruction counts."""
    path: tuple[PathStep, ...]
    """The functions entered, in order, the thunks that stand for returns and indirect calls left out."""
    path_left_off: int
    """How many further steps there were."""
    writes: tuple[Write, ...]
    """What was written up to its end, by address; its own stack is left out."""
    console: tuple[str, ...]
    """The lines that it printed."""
