"""Running the hooks of payloads (`spec/04 §4`)."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from xsplice_loader.emulation.pages import by_pages
from xsplice_loader.emulation.running import DEFAULT_LIMITS, execute
from xsplice_loader.host.hooks import HookCall, HookOutcome
from xsplice_loader.host.structures import is_on_heap
from xsplice_loader.host.write_access import write_access
from xsplice_loader.livepatch.hooks import POINTER_SIZE
from xsplice_loader.memory.address_space import MemoryFault

if TYPE_CHECKING:
    from collections.abc import Callable

    from xsplice_loader.emulation.outcomes import Limits, Write
    from xsplice_loader.emulation.running import Execution
    from xsplice_loader.host_state import HostState
    from xsplice_loader.memory.address_space import AddressSpace
    from xsplice_loader.releases import Permissions

AROUND = frozenset(f".livepatch.hooks.{name}" for name in ("preapply", "postapply", "prerevert", "postrevert"))
"""The hooks that are called before and after patching, with interrupts enabled; the others are called in between."""


def run_hook(host: HostState, call: HookCall, *, limits: Limits = DEFAULT_LIMITS) -> HookOutcome:
    """Run a hook in a host's memory; a `HookRunner`.

    What it wrote stays if it came to its end, and only then: half of its work would be a state that no real machine is
    ever in. What it had printed is kept.

    Raises:
        EmulatorMissingError: the extra `emulate` is not installed.
    """
    done = execute(
        host,
        call.address,
        () if call.argument is None else (call.argument,),
        limits=limits,
        may_be_interrupted=call.section in AROUND,
        may_write=_write_access(host, call),
    )
    outcome, reason = done.ending
    if outcome == "crash":
        return HookOutcome(console=done.console, crash=reason)
    if outcome == "stopped":
        return HookOutcome(console=done.console, unknown=reason)
    for write in done.writes:
        _keep(host.memory, write)
    value = done.machine.register("RAX") & 0xFFFF_FFFF
    return HookOutcome(value - (1 << 32) if value >> 31 else value, done.console, depends_on_heap=_pointer_kept(done))


def _pointer_kept(done: Execution) -> str | None:
    """Say where a hook left the address of one of Xen's structures, if it did."""
    for write in done.writes:
        for offset in range(-write.address % POINTER_SIZE, len(write.after) - POINTER_SIZE + 1, POINTER_SIZE):
            if is_on_heap(int.from_bytes(write.after[offset : offset + POINTER_SIZE], "little")):
                return f"keeps an address on Xen's heap at {write.address + offset:#018x}"
    return None


def _keep(memory: AddressSpace, write: Write) -> None:
    for address, contents in by_pages(write.address, write.after):
        # The image may end within a page. The processor can write behind it there, and nothing is there to keep it.
        with suppress(MemoryFault):
            memory.overwrite(address, contents)


def _write_access(host: HostState, call: HookCall) -> Callable[[int, Permissions], bool]:
    """Return what a hook may write beyond what pages are made for.

    Load and unload hooks run while Xen patches, when what it patches is writable (`spec/04 §4`).
    """
    if call.section not in host.release.hook_arrays:
        return lambda page, permissions: False
    return write_access(host).relaxes
