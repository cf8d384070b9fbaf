"""What whoever tells of a step can look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from xsplice_loader.findings import Findings

if TYPE_CHECKING:
    from xsplice_loader.host import Host
    from xsplice_loader.host_state import LoadedPayload
    from xsplice_loader.payload import ObjectFile
    from xsplice_loader.releases import Release
    from xsplice_loader.relocation.trace import LoadTrace
    from xsplice_loader.results import LoadResult

MOST_ROWS = 1000
"""Rows of a table that are made at most; whoever reads more reads a list."""


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """One upload, looked back at."""

    host: Host
    result: LoadResult
    data: bytes
    payload: ObjectFile | None
    """The file as read; None where its form is wrong."""
    loaded: LoadedPayload | None
    """What it became on the host; None where it was refused."""
    below: tuple[LoadedPayload, ...]
    """What was loaded before it."""

    @property
    def release(self) -> Release:
        """Whose rules apply."""
        return self.host.state.release

    @property
    def trace(self) -> LoadTrace | None:
        """What the steps made; None if the payload was never placed."""
        return self.result.trace


def silent(release: Release) -> Findings:
    """Return findings that nobody will look at: for reading a file again."""
    return Findings(release)
