"""Options that several commands have: the hypervisor, rules and places, and the schema of what they write."""

from __future__ import annotations

import importlib
import re
from typing import TYPE_CHECKING, Any, TypeVar

import click

from xsplice_loader.cli.output import emit
from xsplice_loader.cli.parameters import AddressRange, PageAddress, VmapName

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DEFAULT_MAX_SIZE = 2 << 20
MAX_FEATURE = (1 << 15) - 1
"""The highest number of a feature that an alternative can name."""
_FEATURE = re.compile(r"(?:(?P<word>[0-9]{1,5})\s*\*\s*32\s*\+\s*)?(?P<bit>[0-9]{1,5})")
Command = TypeVar("Command", bound="Callable[..., Any]")


def _features(_context: click.Context, _parameter: click.Parameter, text: str) -> frozenset[int]:
    """Return the numbers of a comma separated list."""
    items = [item.strip() for item in text.split(",")] if text.strip() else []
    found = [_FEATURE.fullmatch(item) for item in items]
    numbers = {int(match["word"] or 0) * 32 + int(match["bit"]) for match in found if match is not None}
    if None in found:
        wrong = items[found.index(None)]
        raise click.BadParameter(f"{wrong!r} is no feature; expected a number, or WORD*32+BIT with both numbers")
    if max(numbers, default=0) > MAX_FEATURE:
        raise click.BadParameter(f"{max(numbers)} is no feature; the highest number is {MAX_FEATURE}")
    return frozenset(numbers)


_HYPERVISOR = (
    click.option(
        "-x",
        "--hypervisor",
        metavar="FILE",
        help="what to load against: xen-syms, the boot image xen or xen.gz, xen.efi, or a list of symbols; "
        "default: the build that the payload names, else a built-in model",
    ),
    click.option(
        "--hypervisor-path", multiple=True, metavar="DIR", help="look here first for the build that the payload names"
    ),
)
_MEMORY = click.option(
    "--memory",
    metavar="FILE",
    help="captured memory of the running hypervisor: an ELF core file whose segments have virtual addresses; supplies "
    "what Xen wrote at boot; captured while no live patch is applied",
)
_MEMORIES = click.option(
    "--memory",
    metavar="FILE",
    multiple=True,
    help="captured memory of a running hypervisor, as xsplice-load takes it; used for the hypervisor that has its "
    "build-id",
)
_LOADING = (
    click.option("--release", metavar="X.Y.Z", help="whose rules apply; default: what the image itself reports"),
    click.option(
        "--vmap",
        type=VmapName(),
        default="xen",
        show_default=True,
        help="who finds the address: xen (next to Xen's text), "
        "default (Xen's ordinary vmap area, too far away), callback, slots, tree, loader (designs of 2016, next to the "
        "text too), or MODULE:CALLABLE, a callback (mfns, pages) -> address",
    ),
    click.option("--place", type=PageAddress(), metavar="ADDR", help="what if it stood here: any page address"),
    click.option("--arena", type=AddressRange(), metavar="START-END", help="another range for the payloads"),
    click.option(
        "--max-size",
        type=click.IntRange(0, 1 << 40),
        default=DEFAULT_MAX_SIZE,
        metavar="BYTES",
        help="the largest payload, 0 for no limit; Xen's own is 2 MiB",
    ),
    click.option(
        "--nops",
        type=click.Choice(["p6", "k8"]),
        default="p6",
        show_default=True,
        help="the processor's NOP instructions",
    ),
    click.option(
        "--cpu-features",
        metavar="LIST",
        default="",
        callback=_features,
        help="the processor's features beside the one that all have, for alternatives: numbers WORD*32+BIT, "
        "comma separated, for example 111 or 3*32+15",
    ),
)


def hypervisor_options(command: Command) -> Command:
    """Add what names the one hypervisor that a command loads against, and its memory."""
    return _with((*_HYPERVISOR, _MEMORY), command)


def memory_options(command: Command) -> Command:
    """Add captured memory of any number of hypervisors."""
    return _with((_MEMORIES,), command)


def loading_options(command: Command) -> Command:
    """Add rules and places."""
    return _with(_LOADING, command)


def _with(options: Sequence[Callable[[Command], Command]], command: Command) -> Command:
    for option in reversed(options):
        command = option(command)
    return command


def schema_option(maker: str) -> Callable[[Command], Command]:
    """Add `--schema` to a command; `maker` names what makes the schema, as `MODULE:FUNCTION`."""

    def show(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
        if not wanted or context.resilient_parsing:
            return
        import msgspec  # noqa: PLC0415 - only here

        module, _, function = maker.partition(":")
        schema = getattr(importlib.import_module(module), function)()
        emit(None, msgspec.json.format(msgspec.json.encode(schema), indent=2) + b"\n")
        context.exit(0)

    return click.option(
        "--schema",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=show,
        help="print the JSON Schema of --format json, and exit",
    )


def check_standard_input(**files: str | None) -> None:
    """Refuse more than one use of standard input; `files` are the files by the options that name them.

    Raises:
        UsageError: several of them are `-`.
    """
    uses = ["- as PAYLOAD" if name == "payload" else f"--{name} -" for name, file in files.items() if file == "-"]
    if len(uses) > 1:
        raise click.UsageError(f"{uses[0]} and {uses[1]} are mutually exclusive: standard input can be read only once")


def check_places(place: int | None, vmap: object) -> None:
    """Refuse an address by hand together with somebody who looks for one.

    Raises:
        UsageError: both were asked for.
    """
    if place is not None and vmap != "xen":
        raise click.UsageError("--place and --vmap exclude each other: with --place nobody looks for an address")
