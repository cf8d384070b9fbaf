"""Scripts: lines as a shell would split them, run until the machine dies."""

from __future__ import annotations

import pytest
from small_payloads import hook, payload

from xsplice_loader import Host, Hypervisor
from xsplice_loader.host.script import ScriptError, files_of, read_script, run_script
from xsplice_loader.host.tool import LivepatchTool


def test_lines_are_split_and_quoted_as_by_a_shell() -> None:
    script = "# first\n\nupload 'a b' \"c d.o\"   # why\nxen-livepatch apply a\\ b --nodeps\n  list\n"
    commands = read_script(script)
    assert [command.words for command in commands] == [
        ("upload", "a b", "c d.o"),
        ("apply", "a b", "--nodeps"),
        ("list",),
    ]
    assert [command.line for command in commands][1:] == ["xen-livepatch apply a\\ b --nodeps", "list"]
    assert list(files_of(commands)) == ["c d.o"]


def test_a_quote_without_an_end() -> None:
    with pytest.raises(ScriptError, match="line 2"):
        read_script("list\nupload 'a b\n")


def test_the_files_of_a_script() -> None:
    assert list(files_of(read_script("upload a x.o\nload y.o\nload\nupload a\napply a\nxen-livepatch\n"))) == [
        "x.o",
        "y.o",
    ]


def test_a_dead_machine_ends_the_script() -> None:
    data = payload(hook("load") + '.section .livepatch.hooks.load, "aw"\n.quad 0\n')
    tool = LivepatchTool(Host(Hypervisor.model()), lambda _file: data)
    steps = list(run_script(tool, read_script("upload a a\napply a\nlist\n")))
    assert [(step.command, step.rc, step.crash) for step in steps] == [
        ("upload a a", 0, None),
        ("apply a", None, "XSP233"),
    ]


def test_key_x_is_pressed() -> None:
    tool = LivepatchTool(Host(Hypervisor.model()), lambda _file: payload())
    _, step = run_script(tool, read_script("upload a a\nxl debug-keys x\n"))
    assert step.log[0] == "'x' pressed - Dumping all livepatch patches"
    assert step.log == tool.host.dump()
    assert step.rc == 0


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("upload x h#2.livepatch", ("upload", "x", "h#2.livepatch")),
        ("upload x '#2' # two", ("upload", "x", "#2")),
        ('upload "a # b" c', ("upload", "a # b", "c")),
        (
            "upload a\\ #b c",
            (
                "upload",
                "a ",
            ),
        ),
        ("apply a\t#why", ("apply", "a")),
        ("#only", ()),
    ],
)
def test_comments_begin_where_a_word_could(line: str, words: tuple[str, ...]) -> None:
    assert tuple(word for command in read_script(line) for word in command.words) == words


def test_files_of_verbs_that_are_only_begun() -> None:
    assert list(files_of(read_script("up a x.o\nlo y.o\n--force upload b z.o\nl\nu\n"))) == ["x.o", "y.o", "z.o"]
