"""What `xen-livepatch` says, and when it goes to Xen at all (`spec/04 §9`), beyond the three recorded releases."""

from __future__ import annotations

import pytest
from small_payloads import payload

from xsplice_loader import Host, Hypervisor
from xsplice_loader.host.tool import LivepatchTool

FILES = {"a": payload(version=1), "data": payload(".data\n.long 1\n", version=1, build_id="d1"), "b": payload()}


def tool_of(release: str) -> LivepatchTool:
    return LivepatchTool(
        Host(Hypervisor.model(), release=release), lambda file: FILES.get(file, FileNotFoundError(2, "?"))
    )


def run(tool: LivepatchTool, command: str) -> tuple[int | None, tuple[str, ...], tuple[str, ...]]:
    step = tool.run(command, command.split())
    return step.rc, step.out, step.err


def test_the_old_way_of_speaking() -> None:
    tool = tool_of("4.7.0")
    size = len(FILES["a"])
    assert run(tool, "upload a a") == (0, (f"Uploading a ({size} bytes)",), ())
    error = "Upload failed: a, error: 17(File exists)!"
    assert run(tool, "upload a a") == (1, (f"Uploading a ({size} bytes)",), (error,))
    assert run(tool, "apply a") == (0, ("Performing apply:. completed",), ())
    assert run(tool, "apply a") == (0, ("No action needed",), ())
    assert run(tool, "unload a") == (1, ("a: in wrong state (APPLIED), expected (unknown)",), ())
    assert run(tool, "revert nobody") == (1, (), ("nobody failed to get status 2(No such file or directory)!",))
    heading = (
        " ID                                     | status",
        "----------------------------------------+------------",
    )
    assert run(tool, "list") == (0, (*heading, "a                                       | APPLIED"), ())
    assert run(tool, "revert a") == (0, ("Performing revert:. completed",), ())
    # Xen unloads at once, so the tool does not wait.
    assert run(tool, "unload a") == (0, ("Performing unload: completed",), ())


OLD_COMMANDS = """\
Commands:
  help                   display this help
  upload <name> <file>   upload file <file> with <name> name
  list                   list payloads uploaded.
  apply <name>           apply <name> patch.
  revert <name>          revert name <name> patch.
  replace <name>         apply <name> patch and revert all others.
  unload <name>          unload name <name> patch.
  load  <file>           upload and apply <file>.
                         name is the <file> name"""


@pytest.mark.parametrize(
    ("release", "title"),
    [
        ("4.7.0", "xen-livepatch: live patching test tool"),
        ("4.7.6", "xen-livepatch: live patching test tool"),
        ("4.8.0", "xen-livepatch: live patching tool"),
        ("4.13.0", "xen-livepatch: live patching tool"),
    ],
)
def test_usage_up_to_4_13(release: str, title: str) -> None:
    rc, out, err = run(tool_of(release), "help")
    assert (rc, out) == (0, ())
    assert err[:3] == (
        title,
        "Usage: xen-livepatch <command> [args]",
        " <name> An unique name of payload. Up to 128 characters.",
    )
    assert "\n".join(err[3:]) == OLD_COMMANDS


def test_usage_since_4_14() -> None:
    assert (
        "  load <file> [flags]    upload and apply <file> with name as the <file> name"
        in run(tool_of("4.14.0"), "help")[2]
    )


def test_a_dirty_payload_in_4_8() -> None:
    tool = tool_of("4.8.0")
    for command in ("upload data data", "apply data", "revert data"):
        assert run(tool, command)[0] == 0
    assert run(tool, "apply data") == (1, ("Performing apply:",), ("data failed with 22(Invalid argument)",))
    assert run(tool, "list")[1][2:] == ("data                                    | CHECKED (22, Invalid argument)",)


def test_4_9_to_4_13_speak_the_new_way_but_know_no_metadata_and_no_flags() -> None:
    tool = tool_of("4.11.0")
    assert run(tool, "list")[1] == (
        " ID                                     | status",
        "----------------------------------------+------------",
    )
    assert run(tool, "upload a a") == (0, ("Uploading a... completed",), ())
    rc, out, err = run(tool, "apply a --nodeps")
    assert (rc, out, err[0]) == (1, (), "xen-livepatch: live patching tool")
    assert run(tool, "list")[1][2:] == ("a                                       | CHECKED",)


@pytest.mark.parametrize(
    ("release", "command", "known"),
    [
        ("4.18.0", "li", True),
        ("4.19.0", "li", False),
        ("4.18.0", "--force list", False),
        ("4.19.0", "--force list", True),
        ("4.19.0", "list", True),
    ],
)
def test_verbs(release: str, command: str, known: bool) -> None:
    rc, out, err = run(tool_of(release), command)
    if known:
        assert (rc, out, err) == (0, ("Nothing to list",), ())
    else:
        wrong = command.split(maxsplit=1)[0]
        assert (rc, out, err) == (1, (), (f"Unrecognised command '{wrong}' -- try 'xen-livepatch help'",))


@pytest.mark.parametrize(
    ("prefix", "verb"),
    [
        ("h", "help"),
        ("l", "list"),
        ("u", "upload"),
        ("lo", "load"),
        ("a", "apply"),
        ("r", "revert"),
        ("un", "unload"),
        ("rep", "replace"),
    ],
)
def test_the_first_verb_with_a_beginning_is_meant(prefix: str, verb: str) -> None:
    """`spec/04 §9`: in the order help, list, upload, load, apply, revert, unload, replace."""
    assert run(tool_of("4.17.7"), prefix) == run(tool_of("4.17.7"), verb)


def test_a_file_that_is_not_there_is_no_upload() -> None:
    tool = tool_of("4.17.7")
    assert run(tool, "upload x missing") == (
        1,
        (),
        ("Could not open missing.", "Error 2: No such file or directory"),
    )
    assert [result.verdict for result in tool.uploads] == [None]


def test_load_unloads_what_cannot_be_applied() -> None:
    tool = tool_of("4.17.7")
    FILES["other.livepatch"] = payload(depends="5555", build_id="66")
    assert run(tool, "load other.livepatch") == (
        1,
        ("Uploading other.livepatch... completed", "Applying other... failed", "Unloading other... completed"),
        ("Error 22: Invalid argument",),
    )
    assert tool.host.list() == []


def test_metadata_that_was_left_in_the_upload_cannot_be_listed() -> None:
    """Seen on 4.20: `.modinfo` without SHF_ALLOC is accepted, then Xen cannot copy it, and dies of it at apply."""
    tool = tool_of("4.20.3")
    FILES["loose"] = payload('.section .modinfo, "", @progbits\n.asciz "a=1"\n')
    assert run(tool, "upload loose loose")[0] == 0
    assert run(tool, "list") == (1, (), ("Failed to list 0/1.", "Error 14: Bad address"))
    step = tool.run("apply loose", ["apply", "loose"])
    assert (step.rc, step.crash) == (None, "XSP235")
