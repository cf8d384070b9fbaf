"""The order of a stack: payloads name what they stand on by its build-id."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from xsplice_loader.findings import Findings
from xsplice_loader.livepatch.prepare import BUILD_ID, DEPENDS, read_ids
from xsplice_loader.releases import NEWEST

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from xsplice_loader.payload import PayloadFile


class Link(NamedTuple):
    """What a payload is, and what it stands on."""

    build_id: bytes | None
    depends: bytes | None


def link_of(payload: PayloadFile) -> Link:
    """Return a payload's place in a stack; one that cannot be read has none."""
    read = payload.read(Findings(NEWEST))
    if read is None:
        return Link(None, None)
    ids = read_ids(read)
    return Link(ids[BUILD_ID], ids[DEPENDS])


def in_order(links: Mapping[str, Link]) -> list[str]:
    """Return files from the bottom of the stack to its top.

    Every payload comes after the one that it names. Where that leaves a choice, or the names run in a circle, the
    given order stands.
    """
    owners: dict[bytes | None, str] = {
        link.build_id: file for file, link in reversed(list(links.items())) if link.build_id is not None
    }
    below = {file: owners.get(link.depends) for file, link in links.items()}
    ordered: dict[str, None] = {}
    for file in links:
        for step in _down_from(file, below):
            ordered.setdefault(step)
    return list(ordered)


def _down_from(file: str, below: Mapping[str, str | None]) -> Sequence[str]:
    """Return a payload and all that it stands on, the lowest first."""
    way = [file]
    while (following := below[way[-1]]) is not None and following not in way:
        way.append(following)
    return way[::-1]
