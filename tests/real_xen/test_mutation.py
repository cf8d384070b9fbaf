"""Changes to payloads: the same for the same seed, and each where its description says."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from records import recorded_hypervisor

from real_xen.choice import Choice
from real_xen.elf_fields import SECTION, form_of
from real_xen.generator import Generator
from real_xen.mutation import Mutation, Mutator, mutated
from real_xen.seed_file import seed_files, with_room
from xsplice_loader import Host
from xsplice_loader.payload import PayloadFile

if TYPE_CHECKING:
    from pathlib import Path

    from forge_readback import Tool

HYPERVISOR = recorded_hypervisor("4.17.7")
SEEDS = seed_files(HYPERVISOR, 1, 8, lambda data: Host(HYPERVISOR, nops="k8").upload("p", data).accepted)


def test_the_same_seed_makes_the_same_changes() -> None:
    first, again, other = (Mutator(SEEDS[0], Choice(text)).mutations() for text in ("1-1", "1-1", "1-2"))
    assert first == again
    assert first != other


def test_room_changes_nothing_for_the_loader() -> None:
    generator, build_id = Generator(HYPERVISOR, 1), HYPERVISOR.build_id or b""
    verdicts = set()
    for number in (0, 1, 2, 3, 6):
        (recipe,) = generator.plot(number).recipes
        plain = recipe._replace(damages=()).made(build_id)
        one, two = (Host(HYPERVISOR, nops="k8").upload("p", data) for data in (plain, with_room(plain).data))
        assert (one.verdict, one.errno, one.log, one.image) == (two.verdict, two.errno, two.log, two.image)
        verdicts.add(one.verdict)
    assert verdicts == {"accepted", "refused"}


def test_readelf_sees_the_same_sections(run: Tool, tmp_path: Path) -> None:
    path = tmp_path / "seed.livepatch"
    path.write_bytes(SEEDS[0].data)
    printed = run("readelf", "--sections", "--wide", str(path))
    rows = [
        line.split("]", 1)[1].split() for line in printed.splitlines() if line.startswith("  [") and "[Nr]" not in line
    ]
    named = [row for row in rows if row[0] not in ("NULL", "PROGBITS")]
    sections = [section for section in form_of(SEEDS[0].data).sections if section.name]
    assert [(row[0], int(row[3], 16), int(row[4], 16)) for row in named] == [
        (section.name, section.offset, section.size) for section in sections
    ]


def test_writes_past_the_end_make_the_file_longer() -> None:
    assert mutated(b"abc", [Mutation("", ((1, b"x"), (5, b"y")))]) == b"axc\0\0y"
    assert mutated(b"abc", [Mutation("", size=2), Mutation("", ((4, b"z"),))]) == b"ab"
    assert mutated(b"abc", [Mutation("", size=5)]) == b"abc\0\0"


def test_changed_fields_are_read_back() -> None:
    """Every change of a single section field is where the section header table has that field."""
    seen = set()
    for number in range(400):
        seed = SEEDS[number % len(SEEDS)]
        for mutation in Mutator(seed, Choice(str(number))).mutations():
            words = mutation.what.split()
            if words[0] != "section" or words[-2] != "=" or words[-3] not in SECTION:
                continue
            index, field, value = int(words[1][1:-1]), words[-3], int(words[-1], 16)
            offset, size = SECTION[field]
            data = mutated(seed.data, [mutation])
            found = struct.unpack_from({4: "<I", 8: "<Q"}[size], data, seed.form.header_of(index) + offset)[0]
            assert found == value
            seen.add(field)
    assert seen == SECTION.keys()


def test_payloads_of_all_outcomes_are_made() -> None:
    outcomes = set()
    for number in range(150):
        seed = SEEDS[number % len(SEEDS)]
        data = mutated(seed.data, Mutator(seed, Choice(str(number))).mutations())
        result = Host(HYPERVISOR, nops="k8").upload("p", PayloadFile(data))
        outcomes.add(result.errno or result.verdict)
    assert {"accepted", 22, 95, 2} <= outcomes
