"""What commands read: no command writes over it, and standard input is read once."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from checking.checks import check
from command_line import explain, explained, run
from hypervisor.cores import core
from records import DATA

from xsplice_loader import Hypervisor

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result

RECORDED = DATA / "real-xen-4.17.7"
COMMANDS = (run, explain, check)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a payload, its hypervisor, and captured memory of that."""
    shutil.copy(RECORDED / "hypervisor.elf.gz", tmp_path / "xen.gz")
    shutil.copy(RECORDED / "payloads" / "ok-plain.livepatch", tmp_path / "fix.livepatch")
    xen = Hypervisor.open(tmp_path / "xen.gz")
    genapic = xen.symbols.address_of(b"genapic")
    assert genapic is not None
    (tmp_path / "xen.core").write_bytes(core({genapic: bytes(8)}, xen.build_id))
    (tmp_path / "commands").write_text("upload fix fix.livepatch\n")
    (tmp_path / "link").symlink_to("xen.core")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def refuses(command: Callable[..., Result], folder: Path, output: str, *words: str) -> None:
    before = contents(folder)
    result = command(*words)
    assert (result.exit_code, result.stdout) == (2, ""), words
    assert f"{output} is an input of this command, and is not written over" in result.stderr
    assert contents(folder) == before


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("output", ["xen.gz", "xen.core", "link", "fix.livepatch", "./fix.livepatch"])
def test_the_result_is_not_written_over_an_input(command: Callable[..., Result], output: str, here: Path) -> None:
    words = ("-x", "xen.gz", "--memory", "xen.core", "fix.livepatch")
    refuses(command, here, output, "-o", output, *words)
    assert command("-o", "out", *words).exit_code == 0
    # What was written earlier is no input.
    assert command("-o", "out", *words).exit_code == 0


def test_a_file_that_standard_input_is_read_from(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (here / "fix.livepatch").open() as file:
        monkeypatch.setattr("xsplice_loader.cli.output.sys.stdin", file)
        # CliRunner puts another standard input in place.
        from xsplice_loader.cli.output import keep_inputs  # noqa: PLC0415

        with pytest.raises(Exception, match=r"fix\.livepatch is an input of this command"):
            keep_inputs(["fix.livepatch"], ["-"])


def test_a_hypervisor_that_was_looked_for(here: Path) -> None:
    for command in COMMANDS:
        refuses(command, here, "xen.gz", "-o", "xen.gz", "--hypervisor-path", ".", "fix.livepatch")


@pytest.mark.parametrize("option", ["image", "elf"])
def test_images_are_not_written_over_an_input(option: str, here: Path) -> None:
    (here / f"fix.{option}").write_bytes((here / "fix.livepatch").read_bytes())
    refuses(run, here, f"./fix.{option}", f"--{option}", ".", "-o", "out", "-x", "xen.gz", f"fix.{option}")
    (here / f"fix.{option}").unlink()
    (here / f"fix.{option}").hardlink_to(here / "xen.gz")
    refuses(run, here, f"./fix.{option}", f"--{option}", ".", "-x", "xen.gz", "fix.livepatch")


def test_scripts_pages_and_baselines(here: Path) -> None:
    script = ("-x", "xen.gz", "--script", "commands")
    refuses(run, here, "commands", "-o", "commands", *script)
    refuses(run, here, "fix.livepatch", "-o", "fix.livepatch", *script)
    refuses(explain, here, "xen.gz", "--html", "xen.gz", "-x", "xen.gz", "fix.livepatch")
    words = ("-x", "xen.gz", "fix.livepatch")
    refuses(check, here, "fix.livepatch", "--write-baseline", "fix.livepatch", *words)
    refuses(check, here, "xen.gz", "--resume", "xen.gz", *words)
    assert check("--write-baseline", "known.json", *words).exit_code == 0
    refuses(check, here, "known.json", "-o", "known.json", "--baseline", "known.json", *words)
    # A new baseline does not ask what the old one says.
    assert check("--write-baseline", "known.json", "--baseline", "known.json", *words).exit_code == 0


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("-x", "-", "--memory", "-", "fix.livepatch"), "--hypervisor - and --memory - are mutually exclusive"),
        (("-x", "-", "-"), "--hypervisor - and - as PAYLOAD are mutually exclusive"),
        (("-x", "xen.gz", "--memory", "-", "-"), "--memory - and - as PAYLOAD are mutually exclusive"),
    ],
)
@pytest.mark.parametrize("command", [run, explain])
def test_standard_input_is_read_once(
    command: Callable[..., Result], words: tuple[str, ...], complaint: str, here: Path
) -> None:
    result = command(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert complaint in " ".join(result.stderr.split())


def test_a_script_and_memory_from_standard_input(here: Path) -> None:
    result = run("-x", "xen.gz", "--memory", "-", "--script", "-", input="list\n")
    assert result.exit_code == 2
    assert "--memory - and --script - are mutually exclusive" in result.stderr


def test_memory_that_does_not_fit(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: object) -> None:
        raise MemoryError

    monkeypatch.setattr("xsplice_loader.hypervisor.captured.Pieces", full)
    result = run("-x", "xen.gz", "--memory", "xen.core", "fix.livepatch")
    assert (result.exit_code, result.stderr) == (2, "Error: out of memory\n")


def test_explanations_name_the_captured_memory(here: Path) -> None:
    words = ("-x", "xen.gz", "fix.livepatch")
    assert explained(*words)[0]["memory"] is None
    assert explained("--memory", "xen.core", *words)[0]["memory"] == "xen.core"
