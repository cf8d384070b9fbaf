"""A payload's bytes, and what was read of them: once for each release that they are loaded under."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.findings import Findings
from xsplice_loader.payload.reading import read

if TYPE_CHECKING:
    from xsplice_loader.payload.object_file import ObjectFile
    from xsplice_loader.releases import Release


class PayloadFile:
    """The bytes of a payload, for whoever loads them on many hypervisors: nothing is read twice."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._known: dict[tuple[Release, str], tuple[ObjectFile | None, Findings]] = {}

    def __len__(self) -> int:
        return len(self.data)

    def read(self, findings: Findings) -> ObjectFile | None:
        """Return the payload, or None where its form is wrong; `findings` says why, as `reading.read` does."""
        key = findings.release, findings.name
        if key not in self._known:
            found = Findings(*key)
            self._known[key] = read(self.data, found), found
        payload, found = self._known[key]
        findings.take_over(found)
        return payload
