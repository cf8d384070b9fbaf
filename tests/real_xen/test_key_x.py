"""What debug key `x` printed on real hypervisors, read back."""

from __future__ import annotations

import pytest
from recorded_sequences import RECORDED, recorded

from real_xen.key_x import PrintedFunction, read_key_x


def test_every_part_of_a_payload_is_read() -> None:
    (payload,) = read_key_x(
        [
            "'x' pressed - Dumping all livepatch patches",
            "build-id: 151b373fd64b321593bf987fd923cd10dabadac4",
            " name=ok state=APPLIED(2) ffff82d0405b0000 "
            "(.data=ffff82d0405b1000, .rodata=ffff82d0405b2000) using 3 pages.",
            "livepatch: module metadata:",
            "livepatch:   author=x",
            "    xen_extra_version patch ffff82d040234b20(12) with ffff82d0405b0000 (8)",
            "build-id=8b7b",
            "depend-on=151b",
            "depend-on-xen=151c",
        ]
    )
    assert (payload.name, payload.state, payload.pages) == ("ok", "APPLIED", 3)
    assert (payload.text, payload.rw, payload.ro) == (0xFFFF82D0405B0000, 0xFFFF82D0405B1000, 0xFFFF82D0405B2000)
    assert payload.functions == (PrintedFunction("xen_extra_version", 0xFFFF82D040234B20, 12, 0xFFFF82D0405B0000, 8),)
    assert payload.ids == {"build-id": "8b7b", "depend-on": "151b", "depend-on-xen": "151c"}


@pytest.mark.parametrize("release", RECORDED)
def test_every_recorded_list_names_the_payloads_that_x_prints(release: str) -> None:
    steps = [step for sequence in recorded() if sequence.release == release for step in sequence.steps if "x" in step]
    assert steps
    for step in steps:
        names = [payload.name for payload in read_key_x(step["x"])]
        assert len(names) == sum(line.startswith(" name=") for line in step["x"])
        assert all(any(row.startswith(name) for row in step["list"]) for name in names)
