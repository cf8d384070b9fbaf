"""The samples: each can be forged, and says in its head what must become of it."""

from __future__ import annotations

import errno
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from forge_readback import elf, relas, require

from xsplice_loader.forge import ForgeError, forge
from xsplice_loader.forge.sample import Case, Contents, SampleStep, read_sample

ROOT = Path(__file__).parents[2]
SAMPLES = sorted((ROOT / "payloads").glob("*.s"))
C_SAMPLES = sorted((ROOT / "payloads" / "gcc").glob("*.c"))


def test_there_are_samples() -> None:
    assert len(SAMPLES) >= 32
    assert len(C_SAMPLES) >= 7


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_a_sample_is_forged_and_explained(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    sample = read_sample(source)
    assert sample.title
    assert len(sample.explanation) > 80
    assert sample.cases
    data = forge(source)
    assert data == forge(source)
    assert data[:4] == b"\x7fELF"
    file = elf(data)
    assert file["e_type"] == "ET_REL"
    # Nothing but what the loader takes, unless the sample is about just that.
    types = {type_ for section in file.iter_sections() for _, type_, _, _ in relas(data, section.name)}
    allowed = {"R_X86_64_64", "R_X86_64_PC32", "R_X86_64_PLT32"}
    assert (types <= allowed) == (path.stem != "reloc-32s")


def test_the_second_relocation_of_hello_is_the_first_that_leads_to_xen() -> None:
    data = forge((ROOT / "payloads" / "hello.s").read_text(encoding="utf-8"))
    assert [name for _, _, name, _ in relas(data, ".text")] == [
        ".rodata",
        "strlen",
        "system_state",
        ".rodata",
    ]


def test_the_story_of_march_2022() -> None:
    data = forge((ROOT / "payloads" / "empty-altinstr-replacement.s").read_text(encoding="utf-8"))
    assert elf(data).get_section_by_name(".altinstr_replacement")["sh_size"] == 0
    assert elf(data).get_section_by_name(".altinstructions")["sh_size"] == 14
    assert relas(data, ".altinstructions")[1] == (4, "R_X86_64_PC32", ".altinstr_replacement", 0)


HEAD = """# A title
#
# Words.
#! expect: refused EINVAL header
#! xen-message: Some words: with a colon
#! expect[4.14.0]: accepted
#! expect[4.17.7  --vmap default]: crash prepare
#! options: --nops k8
#! damage: truncate 0

        nop     # not part of the head
"""


def test_the_head_of_a_sample_is_read() -> None:
    sample = read_sample(HEAD)
    assert (sample.title, sample.explanation) == ("A title", "Words.")
    assert sample.damages == ("truncate 0",)
    assert sample.cases == (
        Case(None, ("--nops", "k8"), "refused", errno.EINVAL, "header", "Some words: with a colon"),
        Case("4.14.0", ("--nops", "k8"), "accepted", None, None, None),
        Case("4.17.7", ("--nops", "k8", "--vmap", "default"), "crash", None, "prepare", None),
    )


def test_releases_repeat_a_case_that_names_none() -> None:
    sample = read_sample("#! release: 4.8.0\n#! release: 4.9.0\n#! expect: accepted\n#! expect[4.20.0]: accepted")
    assert [case.release for case in sample.cases] == ["4.8.0", "4.9.0", "4.20.0"]


@pytest.mark.parametrize(
    "head",
    [
        "#! expect: perhaps",
        "#! expect: refused",
        "#! expect: refused EBOGUS header",
        "#! expect: refused EINVAL nowhere",
        "#! expect: accepted with pleasure",
        "#! expct: accepted",
        "#! expect accepted",
        "#! xen-message[4.7.0]: alone",
        "#! step: apply -> 0",
        "#! step[4.8.0]: apply",
        "#! step[4.8.0]: apply -> 3",
        "#! step[4.8.0]: apply -> 1 EBOGUS",
        "#! step[4.8.0]: apply -> crash EINVAL",
        "#! step[4.8.0]: apply --force -> 0",
        "#! step[4.8.0]: upload -> 0",
        "#! logs[4.8.0]: before any step",
        "#! bytes[4.8.0]: f 0",
        "#! bytes[4.8.0]: f00f",
    ],
)
def test_a_head_that_is_not_understood_names_its_line(head: str) -> None:
    with pytest.raises(ForgeError, match="line 2: "):
        read_sample(f"#! expect[4.8.0]: accepted\n{head}")


STORY = """// A title
//! on: first  second
//! expect: accepted
//! bytes: site 0f0b
//! step: apply -> 0
//! step:   revert  first -> 2 EBUSY
//! logs: stack: words -> more words
//! bytes: f 0102
//! bytes: g 03
//! logs:   two spaces
//! step: apply --nodeps -> crash
//! expect[4.20.3]: accepted
//! step[4.20.3]: unload a-b.c -> 1
"""


def test_a_head_tells_a_story() -> None:
    sample = read_sample(STORY)
    assert sample.below == ("first", "second")
    first, second = sample.cases
    assert first.contents == (Contents("site", b"\x0f\x0b"),)
    assert first.steps == (
        SampleStep("apply", None, (), 0, None),
        SampleStep(
            "revert",
            "first",
            (),
            2,
            errno.EBUSY,
            ("stack: words -> more words", "two spaces"),
            (Contents("f", b"\x01\x02"), Contents("g", b"\x03")),
        ),
        SampleStep("apply", None, ("--nodeps",), None, None),
    )
    assert second.steps == (SampleStep("unload", "a-b.c", (), 1, None),)
    assert [step.words("own") for step in first.steps] == [
        ("apply", "own"),
        ("revert", "first"),
        ("apply", "own", "--nodeps"),
    ]


@pytest.mark.parametrize("steps", ["#! expect: refused EINVAL header", "#! expect: accepted\n#! step: apply -> crash"])
def test_there_is_no_step_after_the_end(steps: str) -> None:
    with pytest.raises(ForgeError, match="nothing can be done"):
        read_sample(f"{steps}\n#! step: revert -> 0")


def test_a_sample_without_expectation_is_refused() -> None:
    with pytest.raises(ForgeError, match="a sample needs a line"):
        read_sample("# title\nnop")


def test_the_script_makes_every_sample(tmp_path: Path) -> None:
    script = [sys.executable, str(ROOT / "scripts" / "make-samples"), str(tmp_path)]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {path.stem for path in tmp_path.iterdir()} == {path.stem for path in SAMPLES}
    assert len(done.stdout.splitlines()) == len(SAMPLES)


def test_the_script_builds_what_gcc_makes(tmp_path: Path) -> None:
    for tool in ("gcc", "as", "ld"):
        require(tool)
    assert shutil.which("gcc")
    script = [sys.executable, str(ROOT / "scripts" / "make-samples"), str(tmp_path), "--gcc"]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    built = sorted(tmp_path.glob("gcc-*.livepatch"))
    assert [path.stem for path in built] == [f"gcc-{path.stem}" for path in C_SAMPLES]
    for path in built:
        data = path.read_bytes()
        file = elf(data)
        assert file.get_section_by_name(".livepatch.funcs")["sh_size"] == 104
        for note in (".livepatch.depends", ".livepatch.xen_depends", ".note.gnu.build-id"):
            assert file.get_section_by_name(note)["sh_size"] == 36
        types = {t for section in file.iter_sections() for _, t, _, _ in relas(data, section.name)}
        assert types <= {"R_X86_64_64", "R_X86_64_PC32", "R_X86_64_PLT32"}
