"""What an action does that Xen says nothing about, and a person wants to know."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.livepatch.functions import wrapped_jump
from xsplice_loader.livepatch.patching import ENDBR64_SIZE, JUMP_OPCODE, JUMP_SIZE, patch_offset
from xsplice_loader.numbers import bytes_text
from xsplice_loader.rules import actions as rules
from xsplice_loader.rules.errnos import ERRNOS
from xsplice_loader.rules.observations import JUMP_WRAPS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from xsplice_loader.host.context import Context
    from xsplice_loader.host_state import HostState, LoadedPayload
    from xsplice_loader.livepatch.applying import Patch

EAGAIN = -ERRNOS["EAGAIN"]


def warn_of_result(context: Context, rc: int, kind: str) -> None:
    """Warn of what a hook returned, where the tool misunderstands it."""
    if rc > 0:
        context.transcript.add(rules.ODD_RETURN, f"{kind} returned {rc}, which is no errno", section=kind)
    elif rc == EAGAIN:
        context.transcript.add(
            rules.STUCK,
            f"{kind} returned {rc}, -EAGAIN: the tool takes the payload for busy from now on",
            section=kind,
        )


def warn_of_jump(context: Context, patch: Patch) -> None:
    """Warn of a jump that does not reach its function."""
    function = patch.function
    if not function.new_addr:
        return
    wrapped = wrapped_jump(function.old_addr, function.new_addr, patch.address - function.old_addr)
    if wrapped is not None:
        context.transcript.add(
            JUMP_WRAPS,
            f"the jump at {patch.address:#018x} has a displacement of {wrapped['value']:#x}, which 32 signed bits do "
            "not hold",
            section=".livepatch.funcs",
            index=function.number,
            **wrapped,
        )


def warn_of_leftovers(context: Context, loaded: LoadedPayload) -> None:
    """Warn of bytes that a revert did not bring back."""
    left = []
    for start, before in _runs(loaded.status.originals):
        now = context.memory.read_available(start, len(before))
        left += [start + offset for offset, byte in enumerate(before) if now[offset : offset + 1] != bytes([byte])]
    if left:
        context.transcript.add(
            rules.NOT_RESTORED,
            f"{bytes_text(len(left))} from {min(left):#018x} on not restored to what was there before it was applied",
        )


def _runs(contents: Mapping[int, int]) -> Iterator[tuple[int, bytes]]:
    """Yield neighbouring bytes, of bytes by their addresses."""
    start, run = 0, bytearray()
    for address, byte in sorted(contents.items()):
        if address != start + len(run):
            if run:
                yield start, bytes(run)
            start, run = address, bytearray()
        run.append(byte)
    if run:
        yield start, bytes(run)


def warn_of_users(context: Context, payload: LoadedPayload) -> None:
    """Warn of payloads that still need one that is unloaded."""
    mapping = payload.mapping
    for other in context.host.payloads:
        if other is not payload and other.links_into(mapping):
            context.transcript.add(
                rules.LEFT_LINKED, f"{other.shown_name} refers to its symbols; they lie in unmapped memory now"
            )
    for other in context.host.applied:
        for function in context.read(other.table.functions, context.memory, context.host.release):
            if mapping.start <= function.old_addr < mapping.end:
                context.transcript.add(
                    rules.LEFT_PATCHED,
                    f"{other.shown_name} is applied on one of its functions, and cannot be reverted now",
                )
    for address in context.host.patched:
        target = _jump_target(context.host, address)
        if target is not None and mapping.start <= target < mapping.end:
            context.transcript.add(rules.LEFT_PATCHED, f"the function at {address:#018x} still jumps into it")


def _jump_target(host: HostState, address: int) -> int | None:
    """Return where a function's first bytes jump to."""
    code = host.memory.read_available(address, ENDBR64_SIZE + JUMP_SIZE)
    offset = patch_offset(code, host.release)
    jump = code[offset : offset + JUMP_SIZE]
    if not jump.startswith(JUMP_OPCODE) or len(jump) < JUMP_SIZE:
        return None
    return address + offset + JUMP_SIZE + int.from_bytes(jump[1:], "little", signed=True)
