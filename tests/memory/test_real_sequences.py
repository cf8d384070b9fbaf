"""Uploads and unloads at random on real hypervisors: the same addresses here."""

from __future__ import annotations

import json
from typing import Any

import pytest
from records import DATA

from xsplice_loader.memory.address_map import VMAP
from xsplice_loader.memory.vmap import Bitmap, XenVmap

SEQUENCES = [json.loads(line) for line in (DATA / "vmap-sequences.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("sequence", SEQUENCES, ids=lambda sequence: sequence["release"])
def test_addresses_of_a_running_xen(sequence: dict[str, Any]) -> None:
    start, end = (int(address, 16) for address in sequence["arena"])
    arena = Bitmap(start, end)
    vmap = XenVmap(Bitmap(*VMAP), arena, chosen=arena)
    where: dict[str, int] = {}
    for step in sequence["steps"]:
        if "upload" in step:
            address = vmap.reserve(list(range(step["pages"])))
            assert address == int(step["address"], 16)
            assert vmap.size(address) == step["pages"]
            where[step["upload"]] = address
        else:
            vmap.release(where.pop(step["unload"]))
