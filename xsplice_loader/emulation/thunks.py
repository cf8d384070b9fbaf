"""The thunks that compiled code returns and calls through, as what they do.

Boot chooses what `__x86_return_thunk` and `__x86_indirect_thunk_REG` hold by the processor's weaknesses, so their bytes
are unknown; that the one returns and the others jump to where their register points is certain
(xen/arch/x86/indirect-thunk.S).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from xsplice_loader.emulation.machine import Machine
    from xsplice_loader.emulation.outcomes import Ending

RETURN_THUNK = b"__x86_return_thunk"
INDIRECT_THUNK = b"__x86_indirect_thunk_"
THUNK_SIZE = 16
"""Bytes of a thunk at least, its padding included; a live patch writes into the first ones."""
_REGISTERS = (
    *("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp"),
    *(f"r{number}" for number in range(8, 16)),
)


def thunks(address_of: Callable[[bytes], int | None]) -> dict[int, Callable[[Machine], Ending | None]]:
    """Return what is done instead of executing a thunk, by its address."""
    found: dict[int, Callable[[Machine], Ending | None]] = {}
    address = address_of(RETURN_THUNK)
    if address is not None:
        found[address] = _return
    for register in _REGISTERS:
        address = address_of(INDIRECT_THUNK + register.encode())
        if address is not None:
            found[address] = _jump_to(register.upper())
    return found


def _return(machine: Machine) -> None:
    machine.return_from_service()


def _jump_to(register: str) -> Callable[[Machine], None]:
    def jump(machine: Machine) -> None:
        machine.jump_from_service(machine.register(register))

    return jump
