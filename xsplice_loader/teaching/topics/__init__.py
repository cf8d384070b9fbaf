"""Short lessons. Each runs the loader while it talks, so that its numbers are what the loader says."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xsplice_loader.teaching.blocks import Block


class Topic(NamedTuple):
    """A lesson: its title, and the module here that tells it."""

    title: str
    module: str


TOPICS: dict[str, Topic] = {
    "relocation": Topic("What a relocation is, with numbers", "relocation"),
    "overflow": Topic("What does not fit 32 bits, and where it would lead", "overflow"),
    "vmap": Topic("Why a payload cannot live in Xen's ordinary vmap area", "vmap"),
    "window": Topic("At which addresses a payload fits", "window"),
    "placement": Topic("Where each section of a payload goes", "placement"),
    "allocators": Topic("Six ways to find an address, and what each costs", "allocators"),
    "history": Topic("From the mail of April 2016 to vm_init_type", "history"),
    "symbols": Topic("Where the addresses behind names come from", "symbols"),
    "trampoline": Topic("How a running function is replaced", "trampoline"),
    "endbr": Topic("Why some jumps begin four bytes further on", "endbr"),
    "stack": Topic("How payloads stand on one another", "stack"),
    "release": Topic("One file, many releases, other answers", "release"),
    "refusal": Topic("How to read a refusal", "refusal"),
}
"""By the word that asks for it, in the order in which they are best read."""


def lesson(name: str) -> Iterator[Block]:
    """Yield a lesson.

    Raises:
        KeyError: there is none of that name.
    """
    told: Iterator[Block] = import_module(f"{__name__}.{TOPICS[name].module}").tell()
    return told
