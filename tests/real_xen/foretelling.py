"""What this program says will happen, step by step."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from real_xen.case import PRESS_X
from xsplice_loader import Host
from xsplice_loader.emulation import run_hook
from xsplice_loader.host.script import Command
from xsplice_loader.host.tool import LivepatchTool
from xsplice_loader.memory.address_space import MemoryFault

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from real_xen.case import Case
    from xsplice_loader import Hypervisor
    from xsplice_loader.memory.address_space import AddressSpace
    from xsplice_loader.results import Finding, Step

LIST = Command("list", ("list",))
SHOWN = 32
"""Bytes that are looked at where a function is, or was, patched."""


class Image(NamedTuple):
    """Consecutive bytes: the memory of one loaded payload, or the start of a function."""

    address: int
    contents: bytes
    unknown: frozenset[int] = frozenset()
    """The addresses of those that depend on memory which is not known."""


class Foretold(NamedTuple):
    """One step, and what is true after it."""

    command: Command
    step: Step
    listing: tuple[str, ...]
    """What `xen-livepatch list` says then."""
    x: tuple[str, ...] | None
    """What the debug key `x` prints then; None: the machine would die of printing it."""
    images: dict[str, Image]
    """By the payloads' names."""
    written: dict[int, int]
    """Bytes of the hypervisor's image that were written so far, by address."""
    sites: dict[int, Image]
    """The first 32 bytes of every function that a payload so far was to patch, by address; fewer where they are not
    mapped."""
    rules: tuple[str, ...]
    """The rules that this step stands for: the one that it failed by, or all that were noticed if it did not fail."""


def foretell(case: Case, hypervisor: Hypervisor, cpu_features: Iterable[int]) -> Iterator[Foretold]:
    """Yield what becomes of a case's steps, up to the machine's death.

    The life of a payload ends where its upload is refused.
    """
    # The emulated processor is an AMD of family 15.
    host = Host(hypervisor, nops="k8", hook_runner=run_hook, cpu_features=cpu_features)
    tool = LivepatchTool(host, case.read)
    sites: dict[int, None] = {}
    for command in case.commands:
        step = tool.press_x(command.line) if command.words == PRESS_X else tool.run(*command)
        yield _after(command, step, tool, sites)
        if step.crash is not None or case.ends_after(command, succeeded=step.succeeded):
            return


def _after(command: Command, step: Step, tool: LivepatchTool, sites: dict[int, None]) -> Foretold:
    """Return a step with what is true after it; `sites` gains what its payloads are to patch."""
    rules = rules_of(step.findings, is_upload=command.words[:1] in (("upload",), ("load",)))
    host = tool.host
    written = dict(host.state.memory.written)
    if step.crash is not None:
        return Foretold(command, step, (), None, {}, written, {}, rules)
    listed = tool.run(*LIST)
    sites.update(dict.fromkeys(_sites(host)))
    return Foretold(
        command=command,
        step=step,
        listing=(*listed.out, *listed.err),
        x=_printed(host),
        images={
            loaded.shown_name: Image(
                loaded.mapping.start,
                loaded.mapping.contents.tobytes(),
                frozenset(place for run in loaded.mapping.unknown for place in range(run.address, run.end)),
            )
            for loaded in host.payloads
        },
        written=written,
        sites={address: _site(host.state.memory, address) for address in sites},
        rules=rules,
    )


def _printed(host: Host) -> tuple[str, ...] | None:
    try:
        return tuple(part for line in host.dump() for part in line.split("\n"))
    except MemoryFault:
        return None


def _site(memory: AddressSpace, address: int) -> Image:
    """Return up to 32 bytes, as many as are mapped."""
    for size in range(SHOWN, 0, -1):
        with suppress(MemoryFault):
            found = memory.read_partly(address, size)
            unknown = frozenset(address + offset for offset, is_unknown in enumerate(found.unknown) if is_unknown)
            return Image(address, bytes(found.contents), unknown)
    return Image(address, b"")


def _sites(host: Host) -> Iterator[int]:
    for loaded in host.payloads:
        # A table that was left in the upload's buffer is gone.
        with suppress(MemoryFault):
            for function in loaded.table.functions(host.state.memory, host.state.release):
                yield function.old_addr


def rules_of(findings: Iterable[Finding], *, is_upload: bool) -> tuple[str, ...]:
    """Return the rules that a step stands for: of an upload up to the one that it failed by, of an action all."""
    rules = []
    for finding in findings:
        rules.append(finding.rule)
        if is_upload and finding.severity == "error":
            break
    return tuple(rules)
