"""Every recorded life on self-built releases, lived again: verdict, errno, both consoles, list, key x, memory."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from self_built_lives import RULES, lives, self_built_hypervisor

from xsplice_loader import Host
from xsplice_loader.emulation import run_hook
from xsplice_loader.host.tool import LivepatchTool
from xsplice_loader.releases import release
from xsplice_loader.rules import actions, tables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from self_built_lives import Life

    from xsplice_loader.results import Step

SAVED_BYTES = "a table entry holds the old bytes of a function whose code is not recorded"
HOOK = "a hook reads bytes that a symbol list does not have, so it is not followed"
TARGET = "an alternative call leads to a function whose first bytes a symbol list does not have"
ENDBR64_UNKNOWN = "whether a function starts with ENDBR64, so that its jump is 4 bytes on, is not in a symbol list"
ELSEWHERE = "an old address outside Xen's image, where the running Xen has something mapped"

# What only the bytes of Xen's code decide, by build and file.
NAMED = {
    ("4.18.0", "generated-22.livepatch"): ENDBR64_UNKNOWN,
    ("4.18.5", "generated-22.livepatch"): ENDBR64_UNKNOWN,
    ("master-2026-08", "generated-22.livepatch"): ENDBR64_UNKNOWN,
    ("4.7.0", "generated-39.livepatch"): ELSEWHERE,
}
UNKNOWN = {
    "4.7.0": {SAVED_BYTES: 16, ELSEWHERE: 1},
    "4.8.0": {SAVED_BYTES: 26},
    "4.11.0": {SAVED_BYTES: 26},
    "4.13.0": {SAVED_BYTES: 30},
    "4.16.0": {SAVED_BYTES: 30, HOOK: 2},
    "4.18.0": {SAVED_BYTES: 30, HOOK: 2, ENDBR64_UNKNOWN: 24},
    "4.18.5": {HOOK: 2, ENDBR64_UNKNOWN: 29},
    "master-2026-08": {HOOK: 2, ENDBR64_UNKNOWN: 29, TARGET: 1},
}
"""How often each thing is not known, in steps; all else is compared."""


def cpu_features(build: str) -> list[int]:
    """Return which of the features that the payloads ask for the emulated processor has.

    These are FPU, SSE3 and, from 4.13.0 on, the first bug in Xen's last word, which processors of AMD have.
    """
    words = release(RULES[build]).alternatives_feature_words
    return [0, 32, *([(words - 1) * 32] if words > 11 else [])]


def test_there_are_74_lives_on_each_build() -> None:
    counts = {build: sum(1 for _ in lives(build)) for build in RULES}
    assert counts == dict.fromkeys(RULES, 74)


@pytest.mark.parametrize("build", RULES)
def test_lives(build: str) -> None:
    unknown: Counter[str] = Counter()
    differences = [
        f"{life.file}: {difference}" for life in lives(build) for difference in _relived(build, life, unknown)
    ]
    assert not differences
    assert unknown == UNKNOWN[build]


def _relived(build: str, life: Life, unknown: Counter[str]) -> Iterator[str]:
    """Yield in what the program differs; add to `unknown` what cannot be compared."""
    host = Host(self_built_hypervisor(build), nops="k8", cpu_features=cpu_features(build), hook_runner=run_hook)
    tool = LivepatchTool(host, lambda _file: life.payload)
    for number, recorded in enumerate(life.steps, 1):
        step = tool.run(recorded["do"], recorded["do"].split())
        why = _why_unknown(step) or (NAMED.get((build, life.file)) if step.rc != recorded["rc"] else None)
        if why is not None:
            unknown[why] += 1
            return
        if life.crashes and number == len(life.steps):
            if step.crash is None:
                yield f"{recorded['do']}: the host crashes"
            yield from _differing(recorded["do"], "log", list(step.log), _before_the_crash(recorded["xen"]))
            return
        yield from _differing(recorded["do"], "what is said", _said(step), _recorded(recorded))
        if "x" in recorded:
            console = [line for said in host.dump() for line in said.split("\n")]
            yield from _differing(recorded["do"], "key x", console, recorded["x"])
        yield from _memory(host, recorded, unknown)


def _differing(command: str, what: str, program: object, real: object) -> Iterator[str]:
    if program != real:
        yield f"{command}: {what}: {program} instead of {real}"


def _why_unknown(step: Step) -> str | None:
    rules = {finding.rule for finding in step.findings}
    if actions.HOOK_NOT_FOLLOWED.id in rules:
        return HOOK
    if tables.CONTENTS_UNKNOWN.id in rules:
        return TARGET
    return None


def _said(step: Step) -> dict[str, Any]:
    return {
        "rc": step.rc,
        "errno": step.errno,
        "out": _without_dots(step.out),
        "err": list(step.err),
        "xen": list(step.log),
        "list": list(step.list),
    }


def _recorded(step: dict[str, Any]) -> dict[str, Any]:
    rows = step["list"][2:] if step["list"] != ["Nothing to list"] else []
    return {
        **{key: step[key] for key in ("rc", "errno", "err", "xen")},
        "out": _without_dots(step["out"]),
        "list": rows,
    }


def _without_dots(lines: list[str] | tuple[str, ...]) -> list[str]:
    """Leave out the dots of the older tool: whether there is one is a matter of time."""
    return [re.sub(r"^(Performing \w+:)\.+", r"\1", line) for line in lines]


def _before_the_crash(lines: list[str]) -> list[str]:
    """Return what is printed up to the report of the crash, a panic in a frame or a BUG with its line."""
    report = next((number for number, line in enumerate(lines) if not line or line.startswith("Xen BUG at ")), None)
    return lines[:report]


def _memory(host: Host, recorded: dict[str, Any], unknown: Counter[str]) -> Iterator[str]:
    """Compare where every payload is, what its memory holds, and what its functions start with."""
    command = recorded["do"]
    ours = {loaded.shown_name: loaded for loaded in host.payloads}
    images = recorded["images"]
    places = {name: (f"{loaded.mapping.start:#x}", len(loaded.mapping.contents)) for name, loaded in ours.items()}
    yield from _differing(
        command, "places", places, {name: (image["address"], image["size"]) for name, image in images.items()}
    )
    for name in ours.keys() & images.keys():
        if host.state.release.keeps_state_in_payload and any(ours[name].status.unknown_saved.values()):
            unknown[SAVED_BYTES] += 1
            continue
        digest = hashlib.sha256(ours[name].mapping.contents.tobytes()).hexdigest()
        yield from _differing(command, f"memory of {name}", digest, images[name]["sha256"])
    for address, contents in recorded.get("patched", {}).items():
        written = host.state.memory.written_at(int(address, 16), len(contents) // 2)
        shown = bytes.fromhex(contents)
        for place, byte in written.items():
            yield from _differing(command, f"byte at {place:#x}", byte, shown[place - int(address, 16)])
        if not written and host.state.release.endbr64_forms and host.state.memory.read(int(address, 16), 4) is None:
            unknown[ENDBR64_UNKNOWN] += 1
        elif not written:
            yield f"{command}: nothing is written at {address}"
