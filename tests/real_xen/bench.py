"""One release of the real hypervisor beside the program: cases go in, comparisons come out."""

from __future__ import annotations

import contextlib
import struct
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from real_xen import legitimate
from real_xen.capture import memory_of
from real_xen.comparison import Comparer, Comparison
from real_xen.core_file import runs_of
from real_xen.foretelling import Foretold, foretell
from real_xen.machine import snapshot_of
from real_xen.observation import Laboratory, Observed, Text
from real_xen.packages import fetch
from real_xen.problem import DomainFellError, HarnessError
from xsplice_loader import Hypervisor
from xsplice_loader.livepatch.processor import ALWAYS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from real_xen.case import Case
    from real_xen.core_file import Run

TRIES = 3
# Family, vendor, model and stepping, two numbers, then the words of features.
PROCESSOR_HEAD = struct.Struct("<4BiI")
FAMILY, AMD = 15, 2


class Trial(NamedTuple):
    """A case that was tried on both sides."""

    case: Case
    foretold: tuple[Foretold, ...]
    observed: tuple[Observed, ...]
    comparison: Comparison

    @property
    def agrees(self) -> bool:
        """Whether nothing differs."""
        return not self.comparison.differences


class Bench:
    """A real hypervisor and the program's, side by side."""

    def __init__(self, release: str, say: Callable[[str], None], *, with_memory: bool = True) -> None:
        """Fetch and boot what is missing.

        Args:
            release: X.Y, one of `XENS`.
            say: called with what takes time.
            with_memory: whether the program has the captured memory of the machine that it is compared with.

        Raises:
            HarnessError: something cannot be had, or does not belong together.
        """
        self.parts = fetch(release, say)
        from_file = Hypervisor.open(self.parts.xen_syms)
        self.snapshot = snapshot_of(self.parts, say)
        self.build_id = from_file.build_id or b""
        if self.snapshot.build_id != self.build_id.hex():
            raise HarnessError(f"Xen runs as build {self.snapshot.build_id}, its symbols are of {self.build_id.hex()}")
        memory = memory_of(self.snapshot, from_file)
        self.hypervisor = Hypervisor.open(self.parts.xen_syms, memory=memory) if with_memory else from_file
        text = Text.of(self.hypervisor)
        self._laboratory = Laboratory(self.snapshot, self.hypervisor)
        self.memory = runs_of(memory.read_bytes())
        """Of the machine after its boot."""
        words = self.hypervisor.release.alternatives_feature_words
        processor = self.hypervisor.symbols.address_of(b"boot_cpu_data")
        if processor is None:
            raise HarnessError("the symbols do not say where Xen keeps what the processor can do")
        self.cpu_features = features_in(read(self.memory, processor, PROCESSOR_HEAD.size + 4 * words))
        self.comparer = Comparer(self.hypervisor, text, read(self.memory, text.start, text.end - text.start))
        wrong = wrong_constants(from_file, self.memory)
        if wrong:
            raise HarnessError(
                f"{len(wrong)} bytes are said to be as in xen-syms while Xen runs, the first at {wrong[0]:#x}"
            )

    def foretell(self, case: Case) -> tuple[Foretold, ...]:
        """Return what the program says of a case."""
        return tuple(foretell(case, self.hypervisor, self.cpu_features))

    def observe(self, case: Case, foretold: tuple[Foretold, ...]) -> tuple[Observed, ...]:
        """Return what the real hypervisor does with it; once more where its machine, not Xen, was at fault.

        Raises:
            DomainFellError: its machine fell each time before anything was asked.
        """
        for _ in range(TRIES - 1):
            with contextlib.suppress(DomainFellError):
                observed = self._observe(case, foretold)
                if not any(map(legitimate.is_fault_of_machine, observed, foretold)):
                    return observed
        return self._observe(case, foretold)

    def _observe(self, case: Case, foretold: tuple[Foretold, ...]) -> tuple[Observed, ...]:
        return tuple(self._laboratory.observe(case, unprintable(foretold)))

    def attempt(self, case: Case) -> Trial:
        """Try a case on both sides, and compare."""
        foretold = self.foretell(case)
        observed = self.observe(case, foretold)
        return Trial(case, foretold, observed, self.comparer.compare(foretold, observed))


def read(runs: Sequence[Run], address: int, size: int) -> bytes:
    """Return bytes of captured memory.

    Raises:
        HarnessError: they were not mapped.
    """
    for run in runs:
        if run.address <= address and address + size <= run.end:
            return run.contents[address - run.address : address - run.address + size]
    raise HarnessError(f"{address:#x} is not mapped in the running hypervisor")


def wrong_constants(hypervisor: Hypervisor, runs: Sequence[Run]) -> list[int]:
    """Return the addresses at which the running hypervisor is not what the program takes from the file alone."""
    wrong = []
    for run in runs:
        found = hypervisor.at_run_time.read_partly(run.address, len(run.contents))
        differs = np.frombuffer(found.contents, np.uint8) != np.frombuffer(run.contents, np.uint8)
        is_known = np.frombuffer(found.unknown, np.uint8) == 0
        wrong += [run.address + offset for offset in np.flatnonzero(differs & is_known).tolist()]
    return wrong


def unprintable(foretold: Sequence[Foretold]) -> dict[int, dict[str, tuple[int, int]]]:
    """Return the steps after which printing payloads would be the machine's end, and where these are said to lie."""
    return {
        number: {name: (image.address, len(image.contents)) for name, image in step.images.items()}
        for number, step in enumerate(foretold)
        if step.x is None and step.step.crash is None
    }


def features_in(data: bytes) -> frozenset[int]:
    """Return the features of a processor, as numbers `word * 32 + bit`, from Xen's own record of it.

    Raises:
        HarnessError: the record does not look like that of the emulated processor.
    """
    family, vendor, *_ = PROCESSOR_HEAD.unpack_from(data)
    words = struct.unpack_from(f"<{(len(data) - PROCESSOR_HEAD.size) // 4}I", data, PROCESSOR_HEAD.size)
    features = frozenset(32 * index + bit for index, word in enumerate(words) for bit in range(32) if word >> bit & 1)
    if (family, vendor) != (FAMILY, AMD) or ALWAYS not in features:
        raise HarnessError("Xen keeps what the processor can do in another form than before")
    return features
