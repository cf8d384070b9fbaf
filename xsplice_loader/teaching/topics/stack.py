"""How payloads stand on one another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.host import Host
from xsplice_loader.hypervisor import Hypervisor
from xsplice_loader.teaching.blocks import Block, Heading, Paragraph, Table
from xsplice_loader.teaching.examples.recipe import IDENTITY, REPLACEMENT, payload
from xsplice_loader.teaching.outcomes import action_text
from xsplice_loader.teaching.topics.cases import load

if TYPE_CHECKING:
    from collections.abc import Iterator

BASE = payload()
TOP = payload(
    replacement=REPLACEMENT.replace("replacement", "second").replace("minor", "major"),
    identity=IDENTITY.replace(".livepatch_depends xen", ".livepatch_depends a1").replace("build_id a1", "build_id b2"),
)
ALL = payload(
    replacement=REPLACEMENT.replace("replacement", "third"), identity=IDENTITY.replace("build_id a1", "build_id c3")
)
ACTIONS = (
    ("apply", "top"),
    ("apply", "base"),
    ("apply", "top"),
    ("revert", "base"),
    ("revert", "top"),
    ("apply", "top"),
    ("replace", "all"),
    ("unload", "base"),
)


def tell() -> Iterator[Block]:
    """Yield the lesson."""
    yield Heading("How payloads stand on one another")
    yield Paragraph(
        "A patch is made by comparing two builds, and fits the one it was compared with: Xen itself for the first "
        "patch, Xen with the patches before it for every later one. So a payload names, by build-id, what it stands "
        "on. At the upload nobody asks; when it is applied, that must be what is on top. And what was applied last "
        "is reverted first. A cumulative patch holds all fixes and stands on Xen: replace reverts the others and "
        "applies it in one go."
    )
    host = Host(Hypervisor.model())
    scenes = {name: load(source, name, host=host) for name, source in (("base", BASE), ("top", TOP), ("all", ALL))}
    xen = host.hypervisor.build_id
    yield Table(
        ("payload", "its id", "stands on"),
        tuple(
            (name, _hex(scene.result.build_id), "Xen" if scene.result.depends == xen else _hex(scene.result.depends))
            for name, scene in scenes.items()
        ),
    )
    yield Table(("action", "came to", "applied afterwards"), tuple(_steps(host)))


def _hex(value: bytes | None) -> str:
    return value.hex() if value is not None else "none"


def _steps(host: Host) -> Iterator[tuple[str, str, str]]:
    for verb, name in ACTIONS:
        result = getattr(host, verb)(name)
        applied = ", ".join(loaded.name for loaded in host.state.applied) or "none"
        yield f"{verb} {name}", action_text(result), applied
