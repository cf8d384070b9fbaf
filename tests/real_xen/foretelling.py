"""What this program says will happen, step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from xsplice_loader import Host
from xsplice_loader.emulation import run_hook
from xsplice_loader.host.script import Command
from xsplice_loader.host.tool import LivepatchTool
from xsplice_loader.memory.address_space import MemoryFault

from real_xen.case import PRESS_X

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from xsplice_loader import Hypervisor
    from xsplice_loader.results import Step

    from real_xen.case import Case

LIST = Command("list", ("list",))
SHOWN = 32
"""Bytes that are looked at where a function is, or was, patched."""


class Image(NamedTuple):
    """The memory of one loaded payload."""

    address: int
    contents: bytes


class Site(NamedTuple):
    """A function of Xen's, or of a payload's, that a payload patches."""

    address: int
    size: int


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
    sites: dict[Site, bytes]
    """The first bytes of what loaded payloads patch; fewer where they are not mapped."""
    rules: tuple[str, ...]
    """The rules that this step stands for: the one that it failed by, or all that were noticed if it did not fail."""


def foretell(case: Case, hypervisor: Hypervisor, cpu_features: Iterable[int]) -> Iterator[Foretold]:
    """Yield what becomes of a case's steps, up to the machine's death.

    The life of a payload ends where its upload is refused.
    """
    # The emulated processor is an AMD of family 15.
    host = Host(hypervisor, nops="k8", hook_runner=run_hook, cpu_features=cpu_features)
    tool = LivepatchTool(host, case.read)
    for command in case.commands:
        step = tool.press_x(command.line) if command.words == PRESS_X else tool.run(*command)
        yield _after(command, step, host, tool)
        if step.crash is not None or (case.kind == "payload" and command.words[0] == "upload" and not step.succeeded):
            return


def _after(command: Command, step: Step, host: Host, tool: LivepatchTool) -> Foretold:
    died = step.crash is not None
    listed = None if died else tool.run(*LIST)
    return Foretold(
        command=command,
        step=step,
        listing=() if listed is None else (*listed.out, *listed.err),
        x=None if died else _printed(host),
        images={} if died else {
            loaded.shown_name: Image(loaded.mapping.start, loaded.mapping.contents.tobytes())
            for loaded in host.payloads
        },
        written=dict(host.state.memory.written),
        sites={} if died else dict(_sites(host)),
        rules=tuple(_rules(step)),
    )


def _printed(host: Host) -> tuple[str, ...] | None:
    try:
        return tuple(part for line in host.dump() for part in line.split("\n"))
    except MemoryFault:
        return None


def _sites(host: Host) -> Iterator[tuple[Site, bytes]]:
    memory = host.state.memory
    for loaded in host.payloads:
        try:
            functions = list(loaded.table.functions(memory, host.state.release))
        except MemoryFault:
            continue
        for function in functions:
            yield Site(function.old_addr, SHOWN), memory.read_available(function.old_addr, SHOWN)


def _rules(step: Step) -> Iterator[str]:
    for finding in step.findings:
        if finding.severity == "error":
            yield finding.rule
            return
    yield from (finding.rule for finding in step.findings)
