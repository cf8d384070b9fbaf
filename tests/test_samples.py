"""Every sample says in its head what must become of it; here it does."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from forge_readback import elf, require
from hypothesis import given, settings
from hypothesis import strategies as st

from xsplice_loader import Host, Hypervisor
from xsplice_loader.emulation import run_hook
from xsplice_loader.forge import forge
from xsplice_loader.forge.sample import Case, Contents, read_sample
from xsplice_loader.host.tool import LivepatchTool

if TYPE_CHECKING:
    from collections.abc import Callable

    from xsplice_loader.results import ActionResult, LoadResult

SAMPLES = Path(__file__).parents[1] / "payloads"
CASES = [(path, case) for path in sorted(SAMPLES.glob("*.s")) for case in read_sample(path.read_text()).cases]
C_CASES = [(path, case) for path in sorted(SAMPLES.glob("gcc/*.c")) for case in read_sample(path.read_text()).cases]
WRITABLE = 1
ENTRY_SIZE, STATE, EXPECTATION = 104, 33, 72


def named(value: object) -> str:
    return (
        value.stem if isinstance(value, Path) else f"{value.release}{value.options}" if isinstance(value, Case) else ""
    )


@cache
def forged(name: str) -> bytes:
    return forge((SAMPLES / f"{name}.s").read_text())


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], bytes]:
    """The C samples as gcc makes them."""
    for tool in ("gcc", "as", "ld"):
        require(tool)
    folder = tmp_path_factory.mktemp("gcc")
    script = SAMPLES.parent / "scripts" / "make-samples"
    subprocess.run([sys.executable, script, folder, "--gcc"], check=True, capture_output=True)
    return lambda name: (folder / f"gcc-{name}.livepatch").read_bytes()


def host_for(case: Case) -> Host:
    parser = argparse.ArgumentParser()
    parser.add_argument("--vmap", default="xen")
    parser.add_argument("--nops", default="p6")
    parser.add_argument("--cpu-features", default="")
    parser.add_argument("--run-hooks", action="store_true")
    options = parser.parse_args(case.options)
    feature = re.fullmatch(r"(\d+)\*32\+(\d+)", options.cpu_features)
    return Host(
        Hypervisor.model(),
        vmap=options.vmap,
        nops=options.nops,
        release=case.release,
        cpu_features=[int(feature[1]) * 32 + int(feature[2])] if feature else [],
        hook_runner=run_hook if options.run_hooks else None,
    )


def check(path: Path, case: Case, read: Callable[[str], bytes]) -> None:
    """Load a sample as its head says, and compare what comes of it with what the head says."""
    # What the head says is what the rules in spec/ say; the log lines are those of the recorded hypervisors.
    tool = LivepatchTool(host_for(case), read)
    for below in read_sample(path.read_text()).below:
        for words in (["upload", below, below], ["apply", below]):
            assert tool.run("", words).succeeded
    tool.run("", ["upload", path.stem, path.stem])
    result = tool.uploads[-1]
    assert (result.verdict, result.errno, result.stage) == (case.verdict, case.errno, case.stage)
    if case.xen_message is not None:
        assert result.xen_message == case.xen_message
    check_contents(tool.host, path.stem, case.contents)
    for expected in case.steps:
        step = tool.run(str(expected), expected.words(path.stem))
        assert (step.rc, step.errno) == (expected.status, expected.errno), step
        assert (step.crash is None) == (expected.status is not None)
        lines = iter((line or "").removeprefix("livepatch: ").strip() for line in step.log)
        missing = [line for line in expected.logs if line not in lines]
        assert not missing, step.log
        check_contents(tool.host, path.stem, expected.contents)


def check_contents(host: Host, name: str, expected: tuple[Contents, ...]) -> None:
    loaded = host.state.payload_named(name)
    own = {} if loaded is None else {symbol.name: symbol.value for symbol in loaded.symbols}
    for symbol, contents in expected:
        address = host.hypervisor.symbols.address_of(symbol.encode()) or own[symbol.encode()]
        found = host.state.memory.read(address, len(contents))
        assert found is not None
        assert found.hex() == contents.hex(), symbol


def test_there_are_samples() -> None:
    assert len(CASES) >= 60
    assert len(C_CASES) >= 9
    assert len(HARMLESS) >= 19


@pytest.mark.parametrize(("path", "case"), CASES, ids=named)
def test_sample(path: Path, case: Case) -> None:
    check(path, case, forged)


@pytest.mark.parametrize(("path", "case"), C_CASES, ids=named)
def test_what_a_compiler_makes(path: Path, case: Case, compiled: Callable[[str], bytes]) -> None:
    check(path, case, compiled)


class Traits(NamedTuple):
    """What decides when a sample may be applied, read from its file."""

    has_variables: bool
    has_vetoing_hooks: bool
    expectations: tuple[bytes, ...]
    """Of each function; empty where there is none."""


@cache
def traits(name: str) -> Traits:
    sections = {section.name: section for section in elf(forged(name)).iter_sections()}
    written = {name for name, section in sections.items() if section["sh_flags"] & WRITABLE and section["sh_size"]}
    functions = sections[".livepatch.funcs"].data() if ".livepatch.funcs" in sections else b""
    fields = [functions[place + EXPECTATION :] for place in range(0, len(functions), ENTRY_SIZE)]
    return Traits(
        bool(written - {".livepatch.funcs"}),
        any(re.fullmatch(r"\.livepatch\.hooks\.(pre|post).*", section) for section in sections),
        tuple(field[1 : 1 + (field[0] >> 1 & 31)] if field[0] & 1 else b"" for field in fields),
    )


def is_applied_without_ado(path: Path) -> bool:
    cases = [case for case in read_sample(path.read_text()).cases if not case.options and case.release in RELEASES]
    return bool(cases) and all(
        case.verdict == "accepted" and all(step.status is not None for step in case.steps) for case in cases
    )


RELEASES = (None, "4.14.6", "4.17.7", "4.20.3")
# What others refer to comes first.
HARMLESS = sorted(
    (path.stem for path in SAMPLES.glob("*.s") if is_applied_without_ado(path)), key=lambda name: name != "stack-base"
)


ACTIONS = 2 * len(HARMLESS)
VERBS = st.sampled_from(["apply", "apply", "apply", "replace"])


class Stack:
    """All harmless samples on one host, and who is to be applied by rights."""

    def __init__(self, release: str) -> None:
        self.hypervisor = Hypervisor.model()
        self.host = Host(self.hypervisor, release=release)
        self.uploads: dict[str, LoadResult] = {name: self.host.upload(name, forged(name)) for name in HARMLESS}
        assert {result.verdict for result in self.uploads.values()} == {"accepted"}
        self.applied: list[str] = []
        self.reverted: set[str] = set()

    def apply(self, name: str) -> None:
        """Apply a sample if that is legal."""
        used_up = name in self.reverted and traits(name).has_variables
        if name in self.applied or used_up or not self.meets(name, self.host.state.memory.read):
            return
        below = self.uploads[self.applied[-1]].build_id if self.applied else self.hypervisor.build_id
        self.succeeds(self.host.apply(name, nodeps=self.uploads[name].depends != below))
        self.applied.append(name)

    def replace(self, name: str) -> None:
        """Put a sample in the place of all others if that is legal."""
        vetoing = any(traits(other).has_vetoing_hooks for other in (name, *self.applied))
        stands_on_xen = self.uploads[name].depends == self.hypervisor.build_id
        if (
            name in self.applied
            or vetoing
            or not stands_on_xen
            or not self.meets(name, self.hypervisor.at_run_time.as_linked)
        ):
            return
        self.succeeds(self.host.replace(name))
        self.reverted |= set(self.applied)
        self.applied = [name]

    def revert(self) -> None:
        """Revert the sample on top, if there is one."""
        if self.applied:
            self.succeeds(self.host.revert(self.applied[-1]))
            self.reverted.add(self.applied.pop())

    def meets(self, name: str, read: Callable[[int, int], bytes | None]) -> bool:
        functions = self.uploads[name].funcs
        return all(
            read(function.old_addr, len(expected)) == expected
            for function, expected in zip(functions, traits(name).expectations, strict=True)
            if expected
        )

    def succeeds(self, result: ActionResult) -> None:
        assert (result.rc, result.payload_rc, result.crash) == (0, 0, None), result

    def check(self) -> None:
        assert {row.name for row in self.host.list() if row.state == "APPLIED"} == set(self.applied)
        allowed = {
            address
            for name in self.applied
            for function in self.uploads[name].funcs
            for address in range(function.old_addr, function.old_addr + function.old_size)
        }
        assert set(self.host.state.memory.written) <= allowed


@pytest.mark.parametrize("release", ["4.14.6", "4.17.7", "4.20.3"])
@settings(max_examples=15)
@given(
    order=st.permutations(HARMLESS * 2),
    verbs=st.lists(VERBS, min_size=ACTIONS, max_size=ACTIONS),
    reverts=st.lists(st.integers(0, 2), min_size=ACTIONS, max_size=ACTIONS),
)
def test_whatever_is_applied_can_be_taken_back(
    release: str, order: list[str], verbs: list[str], reverts: list[int]
) -> None:
    stack = Stack(release)
    for name, verb, count in zip(order, verbs, reverts, strict=True):
        getattr(stack, verb)(name)
        stack.check()
        for _ in range(count):
            stack.revert()
    while stack.applied:
        stack.revert()
    assert not stack.host.state.memory.written
    for loaded in stack.host.payloads:
        before, after = bytearray(stack.uploads[loaded.name].image or b""), bytearray(loaded.mapping.contents)
        if release == "4.14.6":
            # There the states of functions are kept in the payload's own table.
            table = loaded.table.address - loaded.mapping.start
            for start in range(table, table + loaded.table.entries * ENTRY_SIZE, ENTRY_SIZE):
                before[start + STATE : start + EXPECTATION] = after[start + STATE : start + EXPECTATION]
        assert after == before
