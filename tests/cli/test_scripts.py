"""`xsplice-load --script`, `--apply` and `--run` as a user meets them, and the recorded life of every payload."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import pytest
from command_line import load_json, run
from records import DATA, RELEASES, Record, chain, single_uploads
from small_payloads import hook, payload

if TYPE_CHECKING:
    from pathlib import Path

KEYS = ["command", "rc", "errno", "out", "err", "messages", "console", "list", "payload_rc", "patched", "findings"]
# Xen replaces indirect calls in its own text when it boots; the records were read from a running one.
PATCHED_AT_BOOT = b"\x0f\x0b\x0f\xff\xff\x90"


def script(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "script"
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def write(tmp_path: Path, **payloads: bytes) -> None:
    for name, data in payloads.items():
        (tmp_path / f"{name}.livepatch").write_bytes(data)


def check_step(step: dict[str, Any], record: dict[str, Any]) -> None:
    assert [key for key in step if key != "crash"] == KEYS
    assert step["rc"] == record["rc"]
    number = None if step["errno"] is None else step["errno"]["number"]
    assert number == record["errno"]
    assert step["messages"] == record["livepatch"]
    assert [line.replace(shown_path(line), "FILE") for line in step["out"]] == [
        line.replace(shown_path(line), "FILE") for line in record["out"]
    ]
    assert step["err"] == record["err"]


def shown_path(line: str) -> str:
    """Return what a line of the tool names as the file of an upload."""
    return line.removeprefix("Uploading ").partition("...")[0] if line.startswith("Uploading ") else "FILE"


def check_bytes(step: dict[str, Any], rows: list[dict[str, str]] | None) -> None:
    shown = {row["address"]: bytes.fromhex(row["bytes"]) for row in step["patched"]}
    for row in rows or ():
        recorded = bytes.fromhex(row["bytes"])
        length = min(recorded.find(PATCHED_AT_BOOT) % (len(recorded) + 1), 32)
        assert shown[row["addr"]][:length] == recorded[:length]


SINGLE = [record for release in RELEASES for record in single_uploads(release) if record.fields.get("apply")]


@pytest.mark.parametrize("record", SINGLE, ids=lambda record: f"{record.release}-{record.name}")
def test_the_life_of_a_payload(record: Record, tmp_path: Path) -> None:
    """`verdicts.jsonl`: upload, apply, revert, unload, with the bytes before, patched and reverted."""
    hypervisor = DATA / f"real-xen-{record.release}" / "hypervisor.elf.gz"
    verbs = [verb for verb in ("apply", "revert", "unload") if record.fields.get(verb)]
    name = shlex.quote(record.name)
    path = script(tmp_path, f"upload {name} {shlex.quote(str(record.payload))}", *(f"{verb} {name}" for verb in verbs))
    steps = load_json("-x", hypervisor, "--nops", "k8", "--script", path)["steps"]
    for step, verb in zip(steps, ("upload", *verbs), strict=True):
        check_step(step, record.fields[verb])
        check_bytes(step, record.fields.get({"apply": "patched", "revert": "reverted"}.get(verb, "")))


@pytest.mark.parametrize("release", RELEASES)
def test_the_life_of_a_chain(release: str, tmp_path: Path) -> None:
    """`chain.jsonl`: all uploaded and applied one on the other, then taken off in the opposite order."""
    records = chain(release)
    lines, expected = [], []
    for record in records:
        for verb in ("upload", "apply"):
            if record.fields.get(verb):
                file = f" {shlex.quote(str(record.payload))}" if verb == "upload" else ""
                lines.append(f"{verb} {record.name}{file}")
                expected.append((record, verb))
    for record in reversed(records):
        for verb in ("revert", "unload"):
            if record.fields.get(verb):
                lines.append(f"{verb} {record.name}")
                expected.append((record, verb))
    hypervisor = DATA / f"real-xen-{release}" / "hypervisor.elf.gz"
    document = load_json("-x", hypervisor, "--nops", "k8", "--script", script(tmp_path, *lines))
    assert [entry["name"] for entry in document["payloads"]] == [record.name for record in records]
    for step, (record, verb) in zip(document["steps"], expected, strict=True):
        fields = record.fields[verb]
        assert (step["rc"], step["err"], step["messages"]) == (fields["rc"], fields["err"], fields["livepatch"])
        check_bytes(step, record.fields.get({"apply": "patched", "revert": "reverted"}.get(verb, "")))


def test_files_are_looked_for_beside_the_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder").mkdir()
    write(tmp_path / "folder", a=payload())
    path = script(tmp_path / "folder", "upload a a.livepatch", "apply a")
    monkeypatch.chdir(tmp_path)
    assert run("--script", path).exit_code == 0
    assert run("--script", "folder/script").exit_code == 0


def test_text_reads_like_a_terminal(tmp_path: Path) -> None:
    write(tmp_path, a=payload())
    path = script(tmp_path, "upload a a.livepatch", "apply a # now", "unload a", "xl debug-keys x")
    result = run("-q", "--script", path)
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "$ xen-livepatch upload a a.livepatch",
        "Uploading a.livepatch... completed",
        "$ xen-livepatch apply a # now",
        "Applying a... completed",
        "$ xen-livepatch unload a",
        "a is in the wrong state.",
        "Current state: APPLIED",
        "Expected state: CHECKED",
        "$ xl debug-keys x",
    ]
    everything = run("--script", path).stdout
    assert "  (XEN) livepatch: a finished APPLY with rc=0\n" in everything
    assert "  (XEN)  name=a state=APPLIED(2) " in everything


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "PAYLOAD"),
        (["--script", "script", "a.livepatch"], "--script stands in the place of PAYLOAD"),
        (["--script", "script", "--apply"], "--script stands in the place of PAYLOAD"),
        (["--script", "no-such-script"], "no-such-script cannot be read"),
        (["--script", "broken"], "broken: line 2: No closing quotation"),
        (["--nodeps", "a.livepatch"], "--nodeps goes with --apply"),
        (["--args", "1", "a.livepatch"], "--args goes with --run"),
        (["--run", "strlen", "--args", "1 two", "a.livepatch"], "'two' is no integer"),
        (["--run", "strlen", "--args", "1 2 3 4 5 6 7", "a.livepatch"], "at most 6 arguments"),
        (["--run", "no_such_function", "a.livepatch"], "there is no symbol no_such_function"),
    ],
)
def test_wrong_usage(words: list[str], complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, a=payload())
    script(tmp_path, "list")
    (tmp_path / "broken").write_text("list\nupload 'a b\n")
    result = run(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert complaint in result.stderr


def test_a_missing_file_of_a_script_is_unreadable(tmp_path: Path) -> None:
    write(tmp_path, a=payload())
    path = script(tmp_path, "upload b b.livepatch", "upload a a.livepatch")
    document = load_json("--script", path)
    assert [entry["verdict"] for entry in document["payloads"]] == [None, "accepted"]
    assert [step["rc"] for step in document["steps"]] == [1, 0]
    assert run("--script", path).exit_code == 2


def test_apply(tmp_path: Path) -> None:
    write(tmp_path, a=payload(build_id="a1"), b=payload(build_id="b2", depends="a1"), c=payload(build_id="c3"))
    files = [tmp_path / f"{name}.livepatch" for name in "abc"]
    document = load_json("--apply", *files)
    assert [step["command"] for step in document["steps"]] == [
        part for name, file in zip("abc", files, strict=True) for part in (f"upload {name} {file}", f"apply {name}")
    ]
    assert [step["rc"] for step in document["steps"]] == [0, 0, 0, 0, 0, 1]
    assert document["steps"][-1]["errno"] == {"number": 22, "name": "EINVAL"}
    assert run("--apply", *files).exit_code == 1
    assert run("--apply", "--nodeps", *files).exit_code == 0


def test_a_refused_payload_is_not_applied(tmp_path: Path) -> None:
    write(tmp_path, a=payload(), b=payload())
    document = load_json("--apply", tmp_path / "a.livepatch", tmp_path / "b.livepatch")
    assert [step["rc"] for step in document["steps"]] == [0, 0, 1]
    assert [entry["verdict"] for entry in document["payloads"]] == ["accepted", "refused"]


def test_a_crash_ends_the_steps_but_not_the_uploads(tmp_path: Path) -> None:
    deadly = '.section .livepatch.hooks.load, "aw", @progbits\n.quad 0\n'
    write(tmp_path, a=payload(deadly, build_id="a1"), b=payload(build_id="b2"))
    files = [tmp_path / "a.livepatch", tmp_path / "b.livepatch"]
    document = load_json("--apply", *files)
    assert [(step["rc"], step.get("crash")) for step in document["steps"]] == [(0, None), (None, "XSP233")]
    assert [entry["verdict"] for entry in document["payloads"]] == ["accepted", "accepted"]
    result = run("--apply", *files)
    assert result.exit_code == 1
    assert "the machine would die [XSP233]" in result.stdout


def test_without_steps_there_is_no_such_key(tmp_path: Path) -> None:
    write(tmp_path, a=payload())
    assert set(load_json(tmp_path / "a.livepatch")) == {"schema", "hypervisor", "payloads"}


def test_run_before_and_after(tmp_path: Path) -> None:
    write(tmp_path, a=payload('.section .rodata, "a"\ntext: .asciz "patched"\n'))
    document = load_json("--run", "xen_extra_version", tmp_path / "a.livepatch")
    before, after = document["runs"]
    assert (before["when"], before["outcome"], before["text"]) == ("before", "returned", ".7")
    assert [step["payload"] for step in before["path"]] == [None]
    assert (after["when"], after["outcome"], after["value"]) == ("after", "returned", f"{0:#018x}")
    assert [(step["payload"], step["via"]) for step in after["path"]] == [(None, "start"), ("a", "trampoline")]
    text = run("--run", "xen_extra_version", tmp_path / "a.livepatch").stdout
    assert "xen_extra_version before: returned" in text
    assert "through the trampoline to " in text


def test_run_with_arguments(tmp_path: Path) -> None:
    write(tmp_path, a=payload('.section .rodata, "a"\ntext: .asciz "patched"\n'))
    document = load_json("--run", "xen_extra_version", tmp_path / "a.livepatch")
    string = document["runs"][0]["value"]
    runs = load_json("--run", "strlen", "--args", f"{string}, -1", tmp_path / "a.livepatch")["runs"]
    assert [run["value"] for run in runs] == [f"{len('.7'):#018x}"] * 2


def test_what_a_payload_brings_along_is_run_after_only(tmp_path: Path) -> None:
    write(tmp_path, a=payload(".text\n.globl helper\nhelper:\nmov $7, %eax\nret\n"))
    runs = load_json("--run", "helper", tmp_path / "a.livepatch")["runs"]
    assert [(run["when"], run["value"]) for run in runs] == [("after", f"{7:#018x}")]


@pytest.mark.parametrize(("code", "status"), [("ret", 0), ("rdtsc\nret", 1), ("ud2", 1)])
def test_a_run_that_does_not_return_is_not_a_success(tmp_path: Path, code: str, status: int) -> None:
    write(tmp_path, a=payload(f".text\n.globl helper\nhelper:\n{code}\n"))
    assert run("--run", "helper", tmp_path / "a.livepatch").exit_code == status


def test_hooks_are_run_on_request(tmp_path: Path) -> None:
    write(tmp_path, a=payload(hook("preapply", "mov $-16, %eax\nret")))
    file = tmp_path / "a.livepatch"
    assert run("--apply", file).exit_code == 0
    _, step = load_json("--apply", "--run-hooks", file)["steps"]
    assert (step["rc"], step["errno"], step["payload_rc"]) == (2, {"number": 16, "name": "EBUSY"}, -16)


def test_an_unknown_outcome_ends_the_steps_and_is_not_a_success(tmp_path: Path) -> None:
    # rdtsc: no file says what the clock of a real machine shows.
    write(tmp_path, a=payload(hook("preapply", "rdtsc\nret")), b=payload())
    files = tmp_path / "a.livepatch", tmp_path / "b.livepatch"
    _, step = load_json("--apply", "--run-hooks", *files)["steps"]
    assert (step["rc"], step["errno"], step["payload_rc"], step["list"]) == (None, None, None, [])
    assert "rdtsc" in step["unknown"]
    assert "crash" not in step
    runs = load_json("--apply", "--run-hooks", "--run", "xen_minor_version", *files)["runs"]
    assert [one["when"] for one in runs] == ["before"]
    done = run("--apply", "--run-hooks", *files)
    assert done.exit_code == 1
    assert "unknown outcome: .livepatch.hooks.preapply of a" in done.stdout
    assert f"{files[1]}: only uploaded, to a host as it was before 'apply a'; not applied" in done.stdout.splitlines()
    assert "only uploaded" not in run("--apply", "--run-hooks", files[0]).stdout
    steps = load_json("--run-hooks", "--script", script(tmp_path, "load a.livepatch", "list"))["steps"]
    assert [step["rc"] for step in steps] == [None]


@pytest.mark.parametrize(
    ("kind", "code", "expected"),
    [
        # Seen on the real ones: the least int is its own opposite, what is below -4095 is no errno to a kernel, and
        # interrupts are enabled before patching.
        ("apply", "mov $0x80000000, %eax\nret", (1, ["Error -2147483648: Unknown error -2147483648"], -(1 << 31))),
        ("preapply", "mov $-4096, %eax\nret", (0, ["Error 0: Success"], -4096)),
        ("preapply", "pushfq\npop %rax\nand $0x200, %eax\nshr $9, %eax\nret", (0, ["Error 0: Success"], 1)),
    ],
)
def test_what_hooks_return(kind: str, code: str, expected: tuple[int, list[str], int], tmp_path: Path) -> None:
    write(tmp_path, a=payload(hook(kind, code)))
    _, step = load_json("--apply", "--run-hooks", tmp_path / "a.livepatch")["steps"]
    assert (step["rc"], step["err"], step["payload_rc"]) == expected


@pytest.mark.parametrize(
    ("release", "lines"),
    [
        ("4.17.7", ["up a a.livepatch", "a a", "rev a", "un a", "lo a.livepatch"]),
        ("4.20.3", ["--force upload a a.livepatch"]),
    ],
)
def test_what_the_tool_takes_the_script_takes(release: str, lines: list[str], tmp_path: Path) -> None:
    write(tmp_path, a=payload())
    steps = load_json("--release", release, "--script", script(tmp_path, *lines))["steps"]
    assert [step["rc"] for step in steps] == [0] * len(lines)


def test_a_dead_machine_runs_nothing(tmp_path: Path) -> None:
    write(tmp_path, a=payload('.section .livepatch.hooks.load, "aw", @progbits\n.quad 0\n'))
    runs = load_json("--run", "xen_extra_version", tmp_path / "a.livepatch")["runs"]
    assert [run["when"] for run in runs] == ["before"]


def test_what_was_let_go_of_is_told_all_the_same(tmp_path: Path) -> None:
    write(tmp_path, a=payload())
    path = script(tmp_path, "upload a a.livepatch", "unload a")
    plain, close = load_json("--script", path), load_json("--relocations", "--window", "--script", path)
    assert plain["payloads"][0]["image_sha256"] == close["payloads"][0]["image_sha256"] is not None
    assert close["payloads"][0]["relocations"]["items"]
    assert close["payloads"][0]["window"] is not None


def test_a_script_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "script"
    path.write_bytes(b"\xef\xbb\xbflist\n")
    assert run("-q", "--script", path).stdout == "$ xen-livepatch list\nNothing to list\n"


def test_uploads_are_told_once(tmp_path: Path) -> None:
    write(tmp_path, a=payload())
    text = run("--vmap", "loader", "--apply", tmp_path / "a.livepatch").stdout
    told = [line for line in text.splitlines() if "XSP209:" in line]
    assert told
    assert len(told) == len(set(told))
