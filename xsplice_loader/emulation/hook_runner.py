"""Running the hooks of payloads (`spec/04 §4`)."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from xsplice_loader.emulation.heap_dependence import Difference, difference
from xsplice_loader.emulation.outcomes import HOOK_LIMITS
from xsplice_loader.emulation.pages import by_pages
from xsplice_loader.emulation.running import execute
from xsplice_loader.host.hooks import HookCall, HookOutcome
from xsplice_loader.host.write_access import write_access
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


def run_hook(host: HostState, call: HookCall, *, limits: Limits = HOOK_LIMITS) -> HookOutcome:
    """Run a hook in a host's memory; a `HookRunner`.

    What it wrote stays if it came to its end, and only then: half of its work would be a state that no real machine is
    ever in. What it had printed is kept. A second run, with Xen's structures at other addresses, shows what depends on
    these addresses; bytes that do are unknown afterwards.

    Raises:
        EmulatorMissingError: the extra `emulate` is not installed.
    """
    done = _execute(host, call, call.argument, limits)
    outcome, reason = done.ending
    if outcome == "stopped":
        return HookOutcome(console=done.console, unknown=reason)
    clobbered = done.machine.clobbered_registers() if outcome == "returned" else ()
    if clobbered:
        what = f"does not restore the callee-saved {', '.join(clobbered)}, so what Xen does after it is unknown"
        return HookOutcome(console=done.console, unknown=what)
    found = _compare(host, call, done, limits)
    if outcome == "crash":
        crash = reason if found.unknown is None else None
        return HookOutcome(console=found.console, crash=crash, unknown=found.unknown, depends_on_heap=found.what)
    for write in done.writes:
        _keep(host.memory, write)
    for address in found.written:
        with suppress(MemoryFault):
            host.memory.make_unknown(address, 1, "where Xen's heap puts structures")
    value = done.machine.register("RAX") & 0xFFFF_FFFF
    return HookOutcome(value - (1 << 32) if value >> 31 else value, found.console, found.unknown, found.what)


def _execute(host: HostState, call: HookCall, argument: int | None, limits: Limits) -> Execution:
    return execute(
        host,
        call.address,
        () if argument is None else (argument,),
        limits=limits,
        may_be_interrupted=call.section in AROUND,
        may_write=_write_access(host, call),
    )


def _compare(host: HostState, call: HookCall, done: Execution, limits: Limits) -> Difference:
    """Run the hook once more where Xen's structures are elsewhere, and return what differs."""
    if call.elsewhere is None:
        return Difference(done.console)
    with call.elsewhere() as elsewhere:
        again = _execute(host, call, elsewhere.argument, limits)
        return difference(call.section, done, again, elsewhere)


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
