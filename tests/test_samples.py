"""Every sample says in its head what must become of it; here it does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from forge_readback import require

from xsplice_loader import Hypervisor, load
from xsplice_loader.forge import forge
from xsplice_loader.forge.sample import Case, read_sample

SAMPLES = Path(__file__).parents[1] / "payloads"
CASES = [(path, case) for path in sorted(SAMPLES.glob("*.s")) for case in read_sample(path.read_text()).cases]


def test_there_are_samples() -> None:
    assert len(CASES) >= 16


@pytest.mark.parametrize(
    ("path", "case"),
    CASES,
    ids=lambda value: value.stem if isinstance(value, Path) else f"{value.release}{value.options}",
)
def test_sample(path: Path, case: Case) -> None:
    # What the head says is what the rules in spec/ say; the log lines are those of the recorded hypervisors.
    vmap = "default" if "--vmap default" in " ".join(case.options) else "xen"
    result = load(forge(path.read_text()), Hypervisor.model(), vmap=vmap, release=case.release)
    assert (result.verdict, result.errno, result.stage) == (case.verdict, case.errno, case.stage)
    if case.xen_message is not None:
        assert result.xen_message == case.xen_message


def test_what_a_compiler_makes(tmp_path: Path) -> None:
    for tool in ("gcc", "as", "ld"):
        require(tool)
    script = SAMPLES.parent / "scripts" / "make-samples"
    subprocess.run([sys.executable, script, tmp_path, "--gcc"], check=True, capture_output=True)
    sources = sorted((SAMPLES / "gcc").glob("*.c"))
    assert len(sources) == 2
    for source in sources:
        for case in read_sample(source.read_text()).cases:
            vmap = "default" if "--vmap default" in " ".join(case.options) else "xen"
            payload = tmp_path / f"gcc-{source.stem}.livepatch"
            result = load(payload, Hypervisor.model(), vmap=vmap, release=case.release)
            assert (result.verdict, result.errno, result.stage) == (case.verdict, case.errno, case.stage)
