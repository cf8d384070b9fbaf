"""`xsplice-explain` as a user meets it: what a word means, statuses, widths, the pager, bad input."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import explain, explained
from records import DATA, Record, single_uploads

from xsplice_loader.forge import forge
from xsplice_loader.rules import RULES
from xsplice_loader.teaching.topics import TOPICS

PAYLOADS = DATA / "real-xen-4.17.7" / "payloads"
HYPERVISOR = DATA / "real-xen-4.17.7" / "hypervisor.elf.gz"
SAMPLES = Path(__file__).parents[2] / "payloads"
RECORDS = single_uploads("4.17.7")
HERE = Path(sys.executable).parent
STEPS = (
    "upload", "header", "sections", "names", "symbols", "placement", "resolution", "relocation", "special-sections",
    "patching-sections", "prepare", "build-id", "symbol-table", "permissions",
)  # fmt: skip
"""`spec/01 §3` for 4.14 to 4.18.3, where the wish for a Xen is looked at late."""


@pytest.fixture
def hello(tmp_path: Path) -> Path:
    path = tmp_path / "hello.livepatch"
    path.write_bytes(forge((SAMPLES / "hello.s").read_text()))
    return path


def test_without_a_word_it_lists_every_lesson_and_every_rule() -> None:
    told = explain().stdout
    assert [name for name in (*TOPICS, *RULES) if f"  {name}  " not in told] == []


@pytest.mark.parametrize("word", ["XSP012", "xsp012", "Xsp012", "overflow", "Overflow", "VMAP"])
def test_words_are_rules_and_lessons_in_any_case(word: str) -> None:
    result = explain(word)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(("XSP012:", "What does not fit", "Why not vmalloc"))


def test_several_lessons_follow_one_another() -> None:
    told = explain("XSP011", "window").stdout
    assert told.index("XSP011:") < told.index("At which addresses a payload fits")


def test_a_refused_payload_was_explained() -> None:
    result = explain("-x", HYPERVISOR, PAYLOADS / "bad-magic.livepatch")
    assert result.exit_code == 0
    assert "refused" in result.stdout


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["overflov"], "did you mean overflow?"),
        (["XSP088", "XSP0890"], "XSP089"),
        (["quite-something-else"], "lists what there is"),
        (["overflow", "./x"], "one at a time"),
        (["--reloc", ".text:1"], "PAYLOAD"),
        (["--html", "x.html", "overflow"], "PAYLOAD"),
        (["--html", "x.html", "--reloc", ".text:1", "./x"], "--html"),
        (["--html", "x.html", "--format", "json", "./x"], "--html"),
        (["--reloc", ".text", "./x"], "SECTION:INDEX"),
        (["--reloc", ":1", "./x"], "SECTION:INDEX"),
        (["--reloc", ".text:-1", "./x"], "SECTION:INDEX"),
        (["--reloc", ".text:²", "./x"], "SECTION:INDEX"),
        (["--reloc", ".text:0x1", "./x"], "SECTION:INDEX"),
        (["-v", "-q", "overflow"], "exclude"),
        (["--vmap", "default", "--place", "0x1000", "./x"], "--place"),
        (["--release", "4.6.0", "hello"], "4.7.0"),
        (["-x", "/no/such/file", "hello"], "/no/such/file"),
        (["-x", __file__, "hello"], "hypervisor"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_wrong_usage(words: list[str], complaint: str, hello: Path) -> None:
    result = explain(*(str(hello) if word == "hello" else word for word in words))
    assert result.exit_code == 2
    assert complaint in result.stderr
    assert result.stdout == ""


def test_unreadable_files_do_not_keep_the_others_from_being_explained(hello: Path, tmp_path: Path) -> None:
    result = explain(hello, tmp_path / "missing.o", tmp_path)
    assert result.exit_code == 2
    assert result.stderr.count("cannot be read") == 2
    assert "hello.livepatch: accepted" in result.stdout
    alone = explain(tmp_path / "missing.o")
    assert (alone.exit_code, alone.stdout) == (2, "")


def test_a_file_called_like_a_lesson_needs_a_slash(
    hello: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("vmap", "mine"):
        (tmp_path / name).write_bytes(hello.read_bytes())
    monkeypatch.chdir(tmp_path)
    assert "vmalloc" in explain("vmap").stdout.splitlines()[0]
    assert "./vmap: accepted" in explain("./vmap").stdout
    assert "mine: accepted" in explain("mine").stdout


def test_standard_input_and_a_closed_one(hello: Path) -> None:
    assert "-: accepted" in explain("-", input=hello.read_bytes()).stdout
    command = f"{HERE / 'xsplice-explain'} - <&-"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)


def test_help_has_examples_and_is_light() -> None:
    told = explain("--help").stdout
    assert "Examples:" in told
    assert "./vmap for a file called vmap" in " ".join(told.split())
    code = "import sys; sys.argv = ['xsplice-explain', '--help']; from xsplice_loader.cli.explain import main\n"
    code += "try: main()\nexcept SystemExit: print(*sorted({'numpy', 'capstone', 'keystone'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == ""
    assert explain("--version").stdout.count("\n") == 1


def test_the_steps_are_those_of_the_release(hello: Path) -> None:
    for release, at in (("4.17.7", 11), ("4.20.3", 5), ("4.13.0", None)):
        steps = [step["step"] for step in explained("--release", release, hello)[1]["steps"]]
        expected = [step for step in STEPS if step != "build-id"]
        if at is not None:
            expected.insert(at, "build-id")
        assert steps == expected


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.name)
def test_the_step_that_refuses_is_the_recorded_one(record: Record) -> None:
    walk = explained("-x", HYPERVISOR, "--nops", "k8", record.payload)[1]
    outcomes = [step["outcome"] for step in walk["steps"]]
    assert walk["verdict"] == record.verdict
    assert walk["xen_message"] == record.log
    if record.verdict == "accepted":
        assert set(outcomes) == {"passed"}
        return
    refusing = outcomes.index("refused")
    assert set(outcomes[:refusing]) <= {"passed"}
    assert set(outcomes[refusing + 1 :]) <= {"never reached", "would be refused", "would crash"}
    assert walk["steps"][refusing]["step"] == walk["stage"]


def test_a_stack_is_told_of_in_order(tmp_path: Path) -> None:
    files = []
    for name in ("stack-base", "stack-top"):
        files.append(tmp_path / f"{name}.livepatch")
        files[-1].write_bytes(forge((SAMPLES / f"{name}.s").read_text()))
    told = " ".join(explain(*files).stdout.split())
    assert "the payload stack-base, loaded before" in told
    assert "1 payload was loaded before it" in told
    # On its own the upper one finds nobody who knows what it calls.
    assert "Unknown symbol" in explain(files[1]).stdout


def test_quiet_says_how_far_it_came_and_verbose_what_each_rule_says(hello: Path) -> None:
    quiet, usual, verbose = (explain(*flag, hello).stdout for flag in (["-q"], [], ["-v"]))
    assert len(quiet.splitlines()) < 24
    assert RULES["XSP043"].title not in usual
    assert RULES["XSP043"].title in " ".join(verbose.split())


def test_hostile_names_arrive_escaped(hello: Path) -> None:
    data = hello.read_bytes()
    hello.write_bytes(
        data.replace(b"\0strlen\0", b"\0\x1b[1m\n\xff\0").replace(b".rodata.str\0", b".\x1b]0;x\x07wxyz\0")
    )
    for words in ([], ["-v"], ["-q"], ["--reloc", ".text:1"], ["--reloc", ".livepatch.funcs:0"]):
        told = explain(*words, hello)
        assert told.exit_code == 0
        assert not set(told.stdout + told.stderr) & set("\x1b\x07\r")
    refused = explain("--reloc", ".\x1b[1m:0", hello)
    assert (refused.exit_code, "\x1b" in refused.stderr) == (2, False)
    missing = explain("./\x1b[1m")
    assert (missing.exit_code, "\x1b" in missing.stderr) == (2, False)
    unknown = explain("\x1b[1m")
    assert (unknown.exit_code, "\x1b" in unknown.stderr) == (2, False)


def test_output_goes_to_a_file_80_columns_wide(hello: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out.txt"
    monkeypatch.chdir(tmp_path)
    result = explain("-o", out, hello.name, env={"COLUMNS": ""})
    assert (result.exit_code, result.stdout) == (0, "")
    assert max(map(len, out.read_text().splitlines())) <= 80
    assert explain("-o", tmp_path / "no" / "such" / "out", hello).exit_code == 2


@pytest.mark.parametrize("columns", [60, 80, 120, 200])
def test_text_keeps_to_the_width(columns: int, hello: Path) -> None:
    told = explain("overflow", env={"COLUMNS": str(columns)}).stdout
    paragraphs = [line for line in told.splitlines() if line[:1].isalpha()]
    longest = max(map(len, paragraphs))
    assert min(columns, 120) - 20 < longest <= min(columns, 120)


def test_an_example_that_runs_code_asks_for_the_emulator(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Error" not in explain("XSP219").stdout
    assert "pre-apply hook failed (rc=-16), aborting!" in explain("XSP219").stdout
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    result = explain("XSP219")
    assert result.exit_code == 0
    assert "pip install unicorn" in result.stdout


def test_the_page_holds_uploads_and_the_way_there_and_back(hello: Path, tmp_path: Path) -> None:
    out = tmp_path / "hello.html"
    result = explain("--html", out, hello, tmp_path / "missing.o")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "missing.o: the file cannot be read" in result.stderr
    (data,) = re.findall(r"<script[^>]*application/json[^>]*>(.*?)</script>", out.read_text(), re.DOTALL)
    load = json.loads(data)["load"]
    assert [payload["verdict"] for payload in load["payloads"]] == ["accepted", None]
    assert [step["command"] for step in load["steps"]] == ["apply hello", "revert hello"]
    assert explain("--html", "-", hello).stdout.startswith("<!doctype html>")
    assert explain("--html", tmp_path / "no" / "such.html", hello).exit_code == 2


def on_a_terminal(*words: str | Path, **environment: str) -> str:
    """Return what the command writes to a terminal of 90 columns."""
    master, slave = pty.openpty()
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "PAGER", "LESS", "NO_COLOR")}
    process = subprocess.Popen(
        [HERE / "xsplice-explain", *words],
        stdout=slave,
        stderr=subprocess.STDOUT,
        stdin=slave,
        env={**kept, "COLUMNS": "90", "TERM": "xterm", **environment},
    )
    os.close(slave)
    pieces = []
    while True:
        try:
            piece = os.read(master, 1 << 16)
        except OSError:
            break
        if not piece:
            break
        pieces.append(piece)
    os.close(master)
    assert process.wait() == 0
    return b"".join(pieces).decode()


def test_a_terminal_gets_a_pager(tmp_path: Path) -> None:
    paged = tmp_path / "paged"
    assert on_a_terminal("overflow", PAGER=f"cat > {paged}") == ""
    assert "The same payload in two places" in paged.read_text()
    assert "The same payload" in on_a_terminal("--no-pager", "overflow", PAGER=f"cat > {tmp_path / 'none'}")
    assert not (tmp_path / "none").exists()
    assert "The same payload" in on_a_terminal("overflow", PAGER="/no/such/pager")
    assert "The same payload" in on_a_terminal("overflow", PAGER="")
    assert on_a_terminal("overflow", PAGER=f'printf %s "$LESS" > {paged}') == ""
    assert paged.read_text() == "FRX"


def test_a_pager_that_ends_early_is_no_error() -> None:
    assert len(on_a_terminal("-v", PAGER="head -n 2").splitlines()) == 2


def test_colours_add_nothing_but_colour() -> None:
    coloured, plain = (on_a_terminal("XSP089", PAGER="cat", **extra) for extra in ({}, {"NO_COLOR": "1"}))
    assert "\x1b[" in coloured
    assert "\x1b[" not in plain
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured).split() == plain.split()
