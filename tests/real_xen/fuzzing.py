"""Payloads changed by chance, here and in the code of the real Xen without a boot; what disagrees is minimized."""

from __future__ import annotations

import itertools
import multiprocessing
import re
import time
import warnings
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from real_xen.choice import Choice
from real_xen.elf_fields import SECTION
from real_xen.mutation import Mutation, Mutator, mutated
from real_xen.seed_file import seed_files
from real_xen.upload_comparison import UploadBench
from xsplice_loader import loading

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from real_xen.legitimate import Rule
    from real_xen.seed_file import SeedFile
    from real_xen.upload_comparison import Upload

SEED_FILES = 60
MINIMIZED = 50
"""Disagreements that are minimized in one run."""
NAMES = (*("p",) * 12, "x" * 126, "y" * 127, "z" * 128, "a b", "ü", "%s%n", "l\nm", "\udcff", "")
"""What payloads are uploaded as."""
_NUMBER = re.compile(r"0x[0-9a-f]+|\b[0-9a-f]{16}\b|(?<![A-Za-z.])\d+")

_NAME = re.compile(r"livepatch: [^:]*:? ")
_BYTES = re.compile(r"(\\+x[0-9a-f]{2}.?)+")


class Input(NamedTuple):
    """A changed payload."""

    number: int
    name: str
    seed: SeedFile
    mutations: tuple[Mutation, ...]

    @property
    def data(self) -> bytes:
        """The file."""
        return mutated(self.seed.data, self.mutations)


class Found(NamedTuple):
    """A kind of disagreement, and an input that shows it."""

    kind: str
    input: Input
    upload: Upload


class Report(NamedTuple):
    """What a run found."""

    outcomes: Counter[str]
    """What the real loader made of the uploads."""
    kinds: Counter[str]
    """How often each kind of disagreement was seen."""
    excused: Counter[Rule]
    """How often each rule of legitimate differences applied."""
    kept: dict[str, Path]
    """Where the first of each kind is."""

    @property
    def uploads(self) -> int:
        """How many were compared."""
        return self.outcomes.total()

    @property
    def disagreements(self) -> int:
        """How many disagreed."""
        return self.kinds.total()


class Fuzzer:
    """Makes inputs from a seed and tries them."""

    def __init__(self, bench: UploadBench, seed: int) -> None:
        self._bench = bench
        self._seed = seed
        self._files = seed_files(
            bench.hypervisor, seed, SEED_FILES, lambda data: bench.oracle.upload("p", data).verdict == "accepted"
        )
        self.outcomes: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.excused: Counter[Rule] = Counter()

    def input(self, number: int) -> Input:
        """Return the input of a number."""
        choose = Choice(f"{self._seed}-{number}")
        file = choose.choice(self._files)
        return Input(number, choose.choice(NAMES), file, tuple(Mutator(file, choose).mutations()))

    def run(self, numbers: Iterator[int], seconds: float) -> Iterator[Found]:
        """Try inputs for some time; yield the first of each kind that disagrees."""
        end = time.monotonic() + seconds
        for number in numbers:
            if time.monotonic() > end:
                return
            tried = self.input(number)
            upload = self._bench.try_payload(tried.name, tried.data)
            self.outcomes[outcome_of(upload)] += 1
            if upload.excused is not None:
                self.excused[upload.excused] += 1
            if upload.differences:
                kind = kind_of(upload)
                self.kinds[kind] += 1
                if self.kinds[kind] == 1:
                    yield Found(kind, tried, upload)

    def minimized(self, found: Found) -> Found:
        """Return the smallest input found that disagrees in the same way: fewer changes, fewer sections."""
        changes = list(found.input.mutations)
        best = found

        def still(mutations: list[Mutation]) -> bool:
            nonlocal best
            less = best.input._replace(mutations=tuple(mutations))
            upload = self._bench.try_payload(less.name, less.data)
            if not upload.differences or kind_of(upload) != found.kind:
                return False
            best = Found(found.kind, less, upload)
            return True

        if best.input.name != "p":
            plain = best.input._replace(name="p")
            upload = self._bench.try_payload("p", plain.data)
            if upload.differences and kind_of(upload) == found.kind:
                best = Found(found.kind, plain, upload)
        index = 0
        while index < len(changes):
            without = changes[:index] + changes[index + 1 :]
            if still(without):
                changes = without
            else:
                index += 1
        form = best.input.seed.form
        for index in reversed(range(len(form.sections))):
            start = form.header_of(index) + SECTION["sh_type"][0]
            # SHT_NULL with neither flags nor size: as if there was no such section.
            writes = ((start, bytes(12)), (form.header_of(index) + SECTION["sh_size"][0], bytes(8)))
            if form.sections[index].type and still([Mutation(f"without section [{index}]", writes), *changes]):
                changes.insert(0, best.input.mutations[0])
        return best


def fuzz_in_jobs(release: str, seed: int, seconds: float, jobs: int, folder: Path) -> Report:
    """Share the inputs of a seed among processes: each takes every `jobs`-th."""
    if jobs == 1:
        return _fuzz(release, seed, seconds, 0, 1, folder)
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(_fuzz, release, seed, seconds, job, jobs, folder) for job in range(jobs)]
        reports = [future.result() for future in futures]
    return Report(
        sum((report.outcomes for report in reports), Counter()),
        sum((report.kinds for report in reports), Counter()),
        sum((report.excused for report in reports), Counter()),
        {kind: path for report in reversed(reports) for kind, path in report.kept.items()},
    )


def _fuzz(release: str, seed: int, seconds: float, job: int, jobs: int, folder: Path) -> Report:
    # A warning of numpy's is a wrong number.
    warnings.simplefilter("error")
    # Advice on names that are nearly right takes most of the time, and is not Xen's.
    loading.MAX_HINTS = 0
    fuzzer = Fuzzer(UploadBench(release, lambda _: None), seed)
    kept: dict[str, Path] = {}
    for found in fuzzer.run(itertools.count(job, jobs), seconds):
        small = fuzzer.minimized(found) if len(kept) < MINIMIZED else found
        kept[found.kind] = keep(small, folder, f"fuzz-{release}-{seed}-{found.input.number}")
    return Report(fuzzer.outcomes, fuzzer.kinds, fuzzer.excused, kept)


def outcome_of(upload: Upload) -> str:
    """Return the real loader's verdict in short."""
    real = upload.real
    return "crash" if real.crash else f"errno {-real.rc}" if real.rc else "accepted"


def kind_of(upload: Upload) -> str:
    """Return what two disagreements of one kind have in common: the field, and what each says, without numbers."""
    difference = upload.differences[0]
    field = f"{difference.command} {difference.field}"
    if difference.field in ("memory", "text"):
        return field
    return f"{field}: {_plain(difference.program)} / {_plain(difference.real)}"


def _plain(text: str) -> str:
    verdict = re.match(r"errno \d+|accepted|crash", text)
    if verdict:
        rule = re.search(r"\(XSP[^)]*\)", text)
        return f"{verdict[0]} {rule[0] if rule else ''}".strip()
    return _NUMBER.sub("N", _BYTES.sub("BYTES", _NAME.sub("livepatch: ", text)))[:120]


def keep(found: Found, folder: Path, name: str) -> Path:
    """Write a disagreement: the payload, how it was made, and what each side says."""
    target = folder / name
    target.mkdir(parents=True, exist_ok=True)
    (target / "payload.livepatch").write_bytes(found.input.data)
    rules = (finding.rule for finding in found.upload.findings)
    lines = [
        f"uploaded as {found.input.name!a}",
        *(f"change: {mutation.what}" for mutation in found.input.mutations),
        *(str(difference) for difference in found.upload.differences),
        f"rules of the program: {', '.join(rules)}",
        f"the real one: {found.upload.real.crash or found.upload.real.rc}",
        *found.upload.real.console,
    ]
    text = "".join(f"{line}\n" for line in lines)
    (target / "differences.txt").write_text(text, encoding="utf-8", errors="backslashreplace")
    return target
