"""Fuzzing, with a bench on which a payload disagrees if it is for another machine, or of another type."""

from __future__ import annotations

import itertools
import struct
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

from records import recorded_hypervisor

from real_xen.comparison import Difference
from real_xen.elf_fields import HEADER
from real_xen.fuzzing import Found, Fuzzer, keep, kind_of
from real_xen.loader_oracle import Verdict
from real_xen.mutation import Mutation, mutated
from real_xen.upload_comparison import Upload

if TYPE_CHECKING:
    from pathlib import Path

    from real_xen.upload_comparison import UploadBench

ET_REL, EM_X86_64 = 1, 62
TYPE, MACHINE = HEADER["e_type"][0], HEADER["e_machine"][0]
ACCEPTED = Verdict(None, 0, (), (), None)


def difference(program: str, real: str) -> Difference:
    return Difference("upload", "verdict", program, real)


class Bench:
    """Disagrees about `e_machine`, else about `e_type`, and says which it was."""

    hypervisor = recorded_hypervisor("4.17.7")
    oracle = SimpleNamespace(upload=lambda _name, _data: ACCEPTED)

    def __init__(self) -> None:
        self.tried: list[bytes] = []

    def try_payload(self, _name: str, data: bytes) -> Upload:
        self.tried.append(data)
        return Upload((), ACCEPTED, self.differences_of(data))

    @staticmethod
    def differences_of(data: bytes) -> tuple[Difference, ...]:
        if len(data) < 64:
            return ()
        kind, machine = (struct.unpack_from("<H", data, place)[0] for place in (TYPE, MACHINE))
        if machine != EM_X86_64:
            return (difference(f"errno 95 at {machine:#x}", "accepted"),)
        return () if kind == ET_REL else (difference(f"errno 22 at {kind:#x}", "accepted"),)


def fuzzer(seed: int) -> tuple[Bench, Fuzzer]:
    bench = Bench()
    return bench, Fuzzer(cast("UploadBench", bench), seed)


def test_the_same_seed_tries_the_same() -> None:
    (_, one), (_, same), (_, other) = fuzzer(1), fuzzer(1), fuzzer(2)
    assert [one.input(number).data for number in range(50)] == [same.input(number).data for number in range(50)]
    assert [one.input(number).data for number in range(50)] != [other.input(number).data for number in range(50)]


def test_only_what_matters_is_left(tmp_path: Path) -> None:
    bench, made = fuzzer(1)
    tried = made.input(0)
    wanted = Mutation("for ARM", ((MACHINE, struct.pack("<H", 40)),))
    others = tuple(Mutation(f"byte {place}", ((place, b"x"),)) for place in (700, 800, 900))
    tried = tried._replace(name="odd", mutations=(*others[:2], wanted, *others[2:]))
    upload = bench.try_payload(tried.name, tried.data)
    small = made.minimized(Found(kind_of(upload), tried, upload))
    assert small.input.name == "p"
    assert [change.what for change in small.input.mutations if not change.what.startswith("without")] == ["for ARM"]
    assert small.input.data == mutated(tried.seed.data, small.input.mutations)
    kept = keep(small, tmp_path, "it")
    assert (kept / "payload.livepatch").read_bytes() == small.input.data
    assert "change: for ARM" in (kept / "differences.txt").read_text()


def test_numbers_and_names_do_not_make_a_kind() -> None:
    first, second, third = (
        Upload((), ACCEPTED, (Difference("upload", "log", program, "()"),))
        for program in ("('livepatch: p: at 0x12',)", "('livepatch: yyy: at 0x345',)", "('livepatch: p: in 0x12',)")
    )
    assert kind_of(first) == kind_of(second)
    assert kind_of(first) != kind_of(third)


def test_the_first_of_each_kind_is_found() -> None:
    bench, made = fuzzer(1)
    found = list(made.run(iter(range(400)), 600))
    count = sum(bool(bench.differences_of(data)) for data in bench.tried)
    assert len(bench.tried) == 400
    assert made.outcomes.total() == 400
    assert [one.kind for one in found] == list(made.kinds)
    assert len(found) == 2
    assert made.kinds.total() == count
    assert list(itertools.islice(made.run(iter(range(400)), 0), 1)) == []
