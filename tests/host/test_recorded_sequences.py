"""Every recorded sequence of commands, run again here: what the tool says, what Xen logs, and every byte it leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from recorded_sequences import (
    OTHER_COMMAND,
    images,
    patched,
    recorded,
    recorded_at,
    recorded_results,
    recorded_words,
    said,
    text_changes,
    words,
)
from records import recorded_hypervisor

from xsplice_loader import Host
from xsplice_loader.emulation import run_hook
from xsplice_loader.host.tool import LivepatchTool

if TYPE_CHECKING:
    from recorded_sequences import Sequence

NOT_OURS = {
    "load ''": "the tool itself dies, of a NULL pointer",
}
PATCHES_A_VARIABLE = ("literal-data",)
CALLED_BY_XEN = ("bad-function-called",)
"""Xen itself calls the function that this patches, and dies of what it then finds there."""


@pytest.mark.parametrize("sequence", list(recorded()), ids=lambda sequence: f"{sequence.release}-{sequence.name}")
def test_sequence(sequence: Sequence) -> None:
    hypervisor = recorded_hypervisor(sequence.release)
    host = Host(hypervisor, nops="k8", hook_runner=run_hook)
    tool = LivepatchTool(host, sequence.read)
    for recorded_step in sequence.steps:
        if recorded_step["command"].startswith(OTHER_COMMAND) or recorded_step["command"] in NOT_OURS:
            continue
        step = tool.run(recorded_step["command"], words(recorded_step))
        if recorded_step.get("died"):
            assert said(step)["messages"] == recorded_words(recorded_step)["messages"]
            assert (step.crash is not None) is (sequence.name not in CALLED_BY_XEN)
            return
        assert step.crash is None
        assert said(step) == recorded_words(recorded_step)
        ours = patched(step, hypervisor)
        assert ours == recorded_at(recorded_step, ours, hypervisor)
        assert step.payload_rc in (None, *recorded_results(recorded_step))
        assert text_changes(host, hypervisor) == recorded_step["text_changes"]
        # What is saved of a variable is unknown, and so is the payload that it is saved in.
        unknown = {loaded.shown_name for loaded in host.payloads if loaded.mapping.unknown}
        assert not unknown or sequence.name in PATCHES_A_VARIABLE
        ours, theirs = (
            {name: digest for name, digest in found.items() if name not in unknown}
            for found in (images(host), recorded_step["images"])
        )
        assert ours == theirs
        if "x" in recorded_step:
            assert [part for line in host.dump() for part in line.split("\n")] == recorded_step["x"]
