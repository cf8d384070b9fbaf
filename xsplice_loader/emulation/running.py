"""Running one function on a copy of a host's memory."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from xsplice_loader.emulation.lent_memory import AccessError
from xsplice_loader.emulation.machine import ARGUMENT_REGISTERS, Machine
from xsplice_loader.emulation.names import Names
from xsplice_loader.emulation.outcomes import Limits, Run, Write
from xsplice_loader.emulation.pages import HostPages, runs_of
from xsplice_loader.emulation.path import Path
from xsplice_loader.emulation.stack import free_stack
from xsplice_loader.emulation.system import System
from xsplice_loader.memory.address_space import ADDRESS_LIMIT, ADDRESS_MASK

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from xsplice_loader.emulation.outcomes import Ending
    from xsplice_loader.host_state import HostState
    from xsplice_loader.releases import Permissions

DEFAULT_LIMITS = Limits()
INTERRUPTS_ENABLED = 0x202
"""RFLAGS with IF, and the one bit that is always set."""
_TEXT_LIMIT = 1024
_LAYOUT = str.maketrans("", "", "\n\t")


class UnknownFunctionError(ValueError):
    """No symbol and no address."""


class Execution(NamedTuple):
    """One execution, over."""

    ending: Ending
    machine: Machine
    path: Path
    writes: tuple[Write, ...]
    console: tuple[str, ...]


def run(host: HostState, function: str | int, arguments: Sequence[int] = (), *, limits: Limits = DEFAULT_LIMITS) -> Run:
    """Run a function; the host stays as it was.

    Args:
        host: the host whose memory it is run in.
        function: a symbol of Xen's or of a payload's (local ones as `path#symbol`), or an address, as `0x…` too.
        arguments: up to six integers, -2^63 to 2^64 - 1.
        limits: when to stop.

    Raises:
        EmulatorMissingError: the extra `emulate` is not installed.
        UnknownFunctionError: `function` is no known symbol and no address.
        ValueError: there are more arguments than registers for them, or one that has more than 64 bits.
    """
    address = address_of(host, function)
    if len(arguments) > len(ARGUMENT_REGISTERS):
        raise ValueError(f"a function takes at most {len(ARGUMENT_REGISTERS)} arguments here, not {len(arguments)}")
    for argument in arguments:
        if not -(ADDRESS_LIMIT // 2) <= argument < ADDRESS_LIMIT:
            raise ValueError(f"the argument {argument} does not fit 64 bits")
    done = execute(host, address, arguments, limits=limits)
    outcome, reason = done.ending
    value = done.machine.register("RAX") if outcome == "returned" else None
    return Run(
        function if isinstance(function, str) else f"{function:#x}",
        address,
        outcome,
        reason,
        value,
        None if value is None else _text_at(done.machine, value),
        done.machine.instructions,
        tuple(done.path.steps),
        done.path.left_off,
        done.writes,
        done.console,
    )


def address_of(host: HostState, function: str | int) -> int:
    """Return a function's address.

    Raises:
        UnknownFunctionError: it is no known symbol and no address.
    """
    if isinstance(function, str):
        found = host.address_of(function.encode("utf-8", "surrogateescape"))
        if found is not None:
            return found
        if not function.startswith(("0x", "0X")):
            raise UnknownFunctionError(f"there is no symbol {function}")
    try:
        address = int(function, 16) if isinstance(function, str) else function
    except ValueError:
        raise UnknownFunctionError(f"{function} is no address") from None
    if not 0 <= address <= ADDRESS_MASK:
        raise UnknownFunctionError(f"{function} is no address")
    return address


def execute(
    host: HostState,
    address: int,
    arguments: Sequence[int] = (),
    *,
    limits: Limits,
    may_be_interrupted: bool = False,
    may_write: Callable[[int, Permissions], bool] = lambda page, permissions: False,
) -> Execution:
    """Run the code at an address on a copy of a host's memory.

    Args:
        host: the host.
        address: where to begin.
        arguments: up to six integers.
        limits: when to stop.
        may_be_interrupted: it is called with interrupts enabled.
        may_write: tells whether a page may be written although its permissions do not say so.
    """
    names = Names(host)
    stack = free_stack(host.memory)
    path = Path(host, names)
    system = System(host, names, stack)
    pages = HostPages(host.memory, may_write)
    machine = Machine(pages, stack, path, system, system.services, partial(_described, host, names), limits)
    # Xen calls through a pointer in RAX, and so that is what stands there in code that sets nothing else.
    machine.set_register("RAX", address)
    if may_be_interrupted:
        machine.set_register("RFLAGS", INTERRUPTS_ENABLED)
    ending = machine.run(address, arguments)
    writes = tuple(
        Write(start, names.symbol_at(start), pages.before(start, len(after)), after)
        for start, after in runs_of(machine.memory.touched)
    )
    return Execution(ending, machine, path, writes, system.console)


def _described(host: HostState, names: Names, address: int) -> str:
    """Return an address for people; one of Xen's image with its section, and what boot does to that."""
    xen = host.hypervisor
    if xen.image_start <= address < xen.image_end:
        is_missing = not xen.assumed and xen.at_run_time.as_linked(address, 1) is None
        return f"{address:#018x} ({xen.described(address)}{', not in the hypervisor file' if is_missing else ''})"
    return names.described(address)


def _text_at(machine: Machine, address: int) -> str | None:
    """Return the printable string at an address, None where there is none."""
    try:
        found = machine.memory.read_string(address, _TEXT_LIMIT)
    except AccessError:
        return None
    text = found.decode("ascii", "replace")
    is_text = text.isascii() and text.translate(_LAYOUT).isprintable()
    return text if found and len(found) < _TEXT_LIMIT and is_text else None
