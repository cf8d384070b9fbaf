"""From what the options say to a host with payloads on it, the same for every command that loads."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from xsplice_loader.host import Host
    from xsplice_loader.hypervisor import Hypervisor
    from xsplice_loader.results import LoadResult

UNUSABLE = 2


class UnusableError(click.ClickException):
    """What was given cannot be used, though the command was typed rightly."""

    exit_code = UNUSABLE


def find_hypervisor(
    file: str | None,
    payloads: dict[str, bytes],
    *,
    directories: Sequence[str],
    release: str | None,
    require: bool,
    memory: str | None,
) -> Hypervisor:
    """Return the hypervisor of a file, or without one that which the payloads name, with its captured memory.

    Raises:
        UnusableError: the file is no hypervisor, or no single one can be chosen.
    """
    from xsplice_loader.hypervisor import Hypervisor, HypervisorFileError  # noqa: PLC0415 - numpy, not for --help

    try:
        with enough_memory():
            if file is not None:
                return Hypervisor.open(file, release, memory=memory)
            chosen = _chosen_hypervisor(payloads, directories, release, require=require)
            return chosen if memory is None else chosen.with_memory(memory)
    except HypervisorFileError as error:
        raise UnusableError(safe(str(error))) from None


def _chosen_hypervisor(
    payloads: dict[str, bytes], directories: Sequence[str], release: str | None, *, require: bool
) -> Hypervisor:
    from xsplice_loader.host.choosing import ChoiceError, choose_hypervisor  # noqa: PLC0415 - numpy, as above

    try:
        return choose_hypervisor(payloads, directories=directories, release=release, require=require)
    except ChoiceError as error:
        raise UnusableError(safe(str(error))) from None


def upload_file(host: Host, file: str, data: bytes | OSError) -> LoadResult:
    """Upload a file under the name that it goes by; one that cannot be read has a result that says so."""
    from xsplice_loader.host.files import name_of, unreadable  # noqa: PLC0415 - numpy, as above

    if isinstance(data, OSError):
        return unreadable(file, data)
    with enough_memory():
        return host.upload(name_of(file), data, file=file)


@contextmanager
def enough_memory() -> Iterator[None]:
    """Report in one sentence what does not fit into memory.

    Raises:
        UnusableError: it cannot be allocated.
    """
    try:
        yield
    except MemoryError as error:
        raise UnusableError(str(error) or "out of memory") from None


def safe(text: str) -> str:
    """Return a text that may hold names of files as a terminal can show it."""
    from xsplice_loader.report.escaping import for_terminal, path_text  # noqa: PLC0415 - only for messages

    return for_terminal(path_text(text))
