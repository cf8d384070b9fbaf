"""What Xen prints of live patches when somebody presses its debug key `x` (`spec/04 §8`)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from xsplice_loader.findings import LOG_LINE, cut, raw
from xsplice_loader.livepatch.function_states import STATE_NUMBERS
from xsplice_loader.livepatch.live_functions import printed_name
from xsplice_loader.livepatch.prepare import BUILD_ID, DEPENDS
from xsplice_loader.memory.address_space import MemoryFault
from xsplice_loader.results import LIVEPATCH

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xsplice_loader.host_state import HostState, LoadedPayload

LEVEL = "<2>"
"""What Xen's `printk` takes for the level INFO at the beginning of a line."""
FUNCTIONS_AT_ONCE = 64
"""After so many functions of a payload Xen lets go of the payload lock and takes it again."""
SHOWN_ID = 64
"""Bytes of a build-id at most."""


def dump(host: HostState) -> Iterator[str]:
    """Yield the lines as they stand on the console.

    In the releases that do not give the payload lock back, the host keeps it from then on.

    Raises:
        MemoryFault: a payload refers to memory that is not mapped; Xen would not survive that.
    """
    before = ""
    for said in _said(host):
        # Lines of the live-patch code have a level, which is seen where no line begins.
        level = LEVEL if said.startswith(LIVEPATCH) else ""
        printed = cut(level + said, LOG_LINE + len(LEVEL))
        line = before + (printed if before else printed.removeprefix(level))
        # What fills Xen's buffer loses its newline.
        before = line if len((level + said).encode("utf-8", "surrogateescape")) >= LOG_LINE + len(LEVEL) else ""
        if not before:
            yield from line.split("\n")
    if before:
        yield from before.split("\n")


def _said(host: HostState) -> Iterator[str]:
    """Yield what is printed, each time with a newline behind it."""
    yield "'x' pressed - Dumping all livepatch patches"
    if host.hypervisor.build_id is not None:
        yield f"build-id: {_shown(host.hypervisor.build_id)}"
    if host.keeps_lock:
        yield "Lock held. Try again."
        return
    for loaded in host.payloads:
        yield from _payload(loaded, host)
        if host.keeps_lock:
            return


def _payload(loaded: LoadedPayload, host: HostState) -> Iterator[str]:
    state = f"{loaded.status.state}({STATE_NUMBERS[loaded.status.state]})"
    text, rw, ro = (f"{region.address:016x}" for region in loaded.placement.regions)
    yield (
        f" name={raw(os.fsencode(loaded.name))} state={state} {text} (.data={rw}, .rodata={ro}) "
        f"using {loaded.placement.pages} pages."
    )
    strings = loaded.metadata.strings(host.memory)
    if strings:
        yield f"{LIVEPATCH}module metadata:"
        yield from (f"{LIVEPATCH}  {string}" for string in strings)
    for function in loaded.table.functions(host.memory, host.release):
        name = printed_name(function, host.memory)
        yield (
            f"    {name} patch {function.old_addr:016x}({function.old_size}) "
            f"with {function.new_addr:016x} ({function.new_size})"
        )
        if host.release.key_x_keeps_lock and function.number == FUNCTIONS_AT_ONCE:
            yield "Couldn't reacquire lock. Try again."
            host.keeps_lock = True
            return
    for label, build_id, note in (
        ("build-id", loaded.build_id, BUILD_ID),
        ("depend-on", loaded.depends, DEPENDS),
    ):
        if build_id is not None:
            if loaded.has_lost(note):
                raise MemoryFault(0, f"the id of {note}, which was left in the upload's buffer")
            yield f"{label}={_shown(build_id.now(host.memory))}"
    if host.release.shows_xen_depends and loaded.xen_depends is not None:
        yield f"depend-on-xen={_shown(loaded.xen_depends.now(host.memory))}"


def _shown(build_id: bytes) -> str:
    return build_id[:SHOWN_ID].hex()
