"""Sequences of `xen-livepatch` commands: what real hypervisors and their tool answered, step by step."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import zipfile
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from records import DATA

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xsplice_loader import Host, Hypervisor
    from xsplice_loader.results import Step

RECORDED = ("4.14.6", "4.17.7", "4.20.4")
CARRIED_OVER = ("list", "patched", "text_changes", "images")
"""What a step leaves out where it is as it was after the step before."""
OTHER_COMMAND = "!"


@dataclass(frozen=True)
class Sequence:
    """One sequence on one release."""

    release: str
    name: str
    shows: tuple[str, ...]
    runs_code: bool
    """The code of a hook or of a replaced function matters."""
    steps: tuple[dict[str, Any], ...] = field(repr=False)

    def read(self, file: str) -> bytes | OSError:
        """Return a payload's bytes."""
        if os.path.normpath(file) in ("dir", ".") and file:
            return IsADirectoryError(21, "Is a directory")
        contents = _payloads(self.release).get(os.path.normpath(file).removeprefix("/payloads/"))
        return contents if contents is not None else FileNotFoundError(2, "No such file or directory")


@lru_cache(maxsize=3)
def _payloads(release: str) -> dict[str, bytes]:
    with zipfile.ZipFile(DATA / f"real-xen-{release}" / "sequences.zip") as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def recorded() -> Iterator[Sequence]:
    """Yield every sequence."""
    for release in RECORDED:
        path = DATA / f"real-xen-{release}" / "sequences.jsonl"
        for row in map(_escaped, path.read_text(encoding="utf-8").splitlines()):
            yield Sequence(
                release, row["sequence"], tuple(row["shows"]), bool(row.get("run_hooks")), tuple(_whole(row["steps"]))
            )


def _escaped(line: str) -> Any:
    """Return a row, with what is no UTF-8 as this program shows it."""
    text = json.dumps(json.loads(line), ensure_ascii=False)
    return json.loads(re.sub("[\udc80-\udcff]", lambda found: f"\\\\x{ord(found[0]) - 0xDC00:02x}", text))


def _whole(steps: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    before: dict[str, Any] = {"list": [], "patched": [], "text_changes": [], "images": {}}
    for step in steps:
        whole = {"out": [], "err": [], "xen": [], "errno": None, **before, **step}
        before = {key: whole[key] for key in CARRIED_OVER}
        yield whole


def words(step: dict[str, Any]) -> list[str]:
    """Return a step's command as the words that a shell makes of it."""
    return shlex.split(step["command"])


def said(step: Step) -> dict[str, Any]:
    """Return what the tool and the console showed in a step, in the form of the record."""
    return {
        "rc": step.rc,
        "errno": step.errno,
        "out": list(step.out),
        "err": list(step.err),
        "messages": list(step.messages),
        "console": list(step.console),
        "list": list(step.list),
    }


def recorded_words(step: dict[str, Any]) -> dict[str, Any]:
    """Return the same of the record."""
    # A line that a hook leaves without an end runs into the next one, level and all.
    lines = [
        part for line in step["xen"] for part in re.sub(r"(.)<\d>livepatch: ", r"\1\nlivepatch: ", line).split("\n")
    ]
    return {
        **{key: step[key] for key in ("rc", "errno", "out", "err", "list")},
        "messages": [line.split("livepatch: ", 1)[1] for line in lines if "livepatch: " in line],
        "console": [line for line in lines if "livepatch: " not in line],
    }


def text_changes(host: Host, hypervisor: Hypervisor) -> list[list[str]]:
    """Return the runs of bytes of Xen's text and read-only data that are not what they were at first."""
    runs: list[list[Any]] = []
    end = hypervisor.symbols.address_of(b"__2M_rodata_end") or hypervisor.image_end
    for address, byte in host.state.memory.written.items():
        if address >= end:
            continue
        if runs and runs[-1][0] + len(runs[-1][1]) == address:
            runs[-1][1].append(byte)
        else:
            runs.append([address, bytearray([byte])])
    return [[f"{address:#018x}", contents.hex()] for address, contents in runs]


def images(host: Host) -> dict[str, str]:
    """Return the SHA-256 of each loaded payload's memory."""
    return {
        loaded.shown_name: hashlib.sha256(loaded.mapping.contents.tobytes()).hexdigest() for loaded in host.payloads
    }


def patched(step: Step, hypervisor: Hypervisor) -> dict[str, str]:
    """Return what stands at every address of Xen's own that was patched so far; `images` has those of payloads."""
    return {
        f"{function.address:#018x}": function.contents.hex()
        for function in step.patched
        if hypervisor.image_start <= function.address < hypervisor.image_end
    }


def recorded_at(step: dict[str, Any], ours: dict[str, str], hypervisor: Hypervisor) -> dict[str, str | None]:
    """Return the same of the record, which has the old addresses of payloads that were only uploaded, too.

    Of variables only what was written over them is foretold.
    """
    found = {}
    for row in step["patched"]:
        address = row["address"]
        if address in ours:
            section = hypervisor.at_run_time.section_at(int(address, 16))
            is_constant = section is not None and section.state == "constant"
            found[address] = (row["bytes"] or "")[: None if is_constant else len(ours[address])]
    return found


def recorded_results(step: dict[str, Any]) -> set[int]:
    """Return what the statuses of payloads hold, as far as the rows of the list show it."""
    shown = [re.search(r"(?:CHECKED|APPLIED) \((-?\d+), ", row) for row in step["list"]]
    return {-int(found[1]) if found else 0 for found in shown}
