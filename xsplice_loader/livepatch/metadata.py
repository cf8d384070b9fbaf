"""What a payload says of itself in `.modinfo` (`spec/04 §5.5`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from xsplice_loader.findings import raw

if TYPE_CHECKING:
    from xsplice_loader.memory.address_space import AddressSpace
    from xsplice_loader.memory.placement import Placement
    from xsplice_loader.payload import ObjectFile
    from xsplice_loader.releases import Release

SECTION = ".modinfo"


class Metadata(NamedTuple):
    """Where it stands: NUL-terminated strings, one behind the other."""

    address: int = 0
    size: int = 0

    def strings(self, memory: AddressSpace) -> list[str]:
        """Return the strings as Xen prints them, in the form of `findings.raw`.

        Raises:
            MemoryFault: they stood in the upload's buffer, which is gone.
        """
        contents = memory.read(self.address, self.size) if self.size else b""
        strings = (contents or b"").removesuffix(b"\0").split(b"\0") if contents else []
        return [raw(string) for string in strings]


def metadata_of(payload: ObjectFile, placement: Placement, release: Release) -> Metadata:
    """Return where a loaded payload's metadata stands."""
    section = payload.section_named(SECTION) if release.has_metadata else None
    if section is None:
        return Metadata()
    return Metadata(placement.addresses.get(section.index, 0), section.size)
