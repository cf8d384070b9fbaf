"""Whole runs: baselines, severities, configuration, processes, a cluster, interruptions."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from checking.callbacks import DEADLY_PAGES
from checking.checks import HYPERVISORS, check, check_json

from xsplice_loader import load

if TYPE_CHECKING:
    from collections.abc import Iterator

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
COMMAND = Path(sys.executable).with_name("xsplice-check")


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(TESTS)}


def test_what_is_in_the_baseline_is_no_failure(samples: Path, tmp_path: Path) -> None:
    known = tmp_path / "known.json"
    old, new = samples / "far-data.livepatch", samples / "unknown-symbol.livepatch"
    assert check("--write-baseline", known, old).exit_code == 0
    document = check_json("--baseline", known, old, status=0)
    assert document["cells"][0]["verdict"] == "refused"
    assert document["cells"][0]["findings"][0]["known"] is True
    assert (document["summary"]["known"], document["summary"]["errors"]) == (1, 0)
    # The same mistake at another address, and on another hypervisor.
    assert check("--baseline", known, "--place", "0xffff82d060000000", old).exit_code == 0
    assert check("--baseline", known, old, new).exit_code == 1
    assert json.loads(known.read_text())["findings"][0]["rule"] == "XSP089"


def test_a_baseline_tells_functions_apart(samples: Path, tmp_path: Path) -> None:
    """Two functions that are too small for a jump are two mistakes, whichever comes first in the table."""
    known, fix = tmp_path / "known.json", tmp_path / "fix.livepatch"
    words = ("--select", "XSP122", "-x", HYPERVISORS["4.14.6"], fix)
    fix.write_bytes((samples / "metadata.livepatch").read_bytes())
    assert check("--write-baseline", known, *words).exit_code == 0
    fix.write_bytes((samples / "two-functions.livepatch").read_bytes())
    (cell,) = check_json("--baseline", known, *words, status=1)["cells"]
    known_of = {one["symbol"]: one.get("known", False) for one in cell["findings"] if one["rule"] == "XSP122"}
    assert known_of == {"xen_major_version": False, "xen_minor_version": True}


def test_a_baseline_is_not_lost_to_a_run_that_checked_nothing(samples: Path, tmp_path: Path) -> None:
    known = tmp_path / "known.json"
    assert check("--write-baseline", known, samples / "far-data.livepatch").exit_code == 0
    before = known.read_bytes()
    assert check("--write-baseline", known, "-x", tmp_path / "nothing", samples / "hello.livepatch").exit_code == 2
    assert known.read_bytes() == before


def test_a_baseline_goes_with_its_project(samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever a checkout lies, and wherever in it the command is typed."""
    project = tmp_path / "here"
    (project / "build").mkdir(parents=True)
    (project / "build" / "far.livepatch").write_bytes((samples / "far-data.livepatch").read_bytes())
    (project / "pyproject.toml").write_text('[tool.xsplice-check]\npayloads = ["build"]\nbaseline = "known.json"\n')
    monkeypatch.chdir(project)
    assert check("--write-baseline", "known.json").exit_code == 0
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(project, elsewhere)
    for place, words in ((elsewhere, ()), (elsewhere, (".//build/../build/far.livepatch",)), (elsewhere / "build", ())):
        monkeypatch.chdir(place)
        assert check(*words).exit_code == 0, (place, words)
    monkeypatch.chdir(elsewhere)
    (line,) = check("--baseline", os.devnull, "--write-baseline", os.devnull, "--format", "github").stdout.splitlines()
    assert "file=build/far.livepatch" in line


@pytest.mark.parametrize(
    ("contents", "said"),
    [
        pytest.param('{"x":' + "[" * 100_000, "is no baseline", id="deep"),
        ("no json", "is no baseline"),
        ("[1]", "is no baseline"),
        ('{"schema": "xsplice-check-baseline/9", "findings": []}', "--write-baseline"),
        (
            '{"schema": "xsplice-check-baseline/1", "findings": '
            '[{"fingerprint": "0", "rule": "XSP999", "payload": "p", "message": "m"}]}',
            "XSP999",
        ),
    ],
)
def test_baselines_that_cannot_be_used(contents: str, said: str, samples: Path, tmp_path: Path) -> None:
    path = tmp_path / "known.json"
    path.write_text(contents)
    result = check("--baseline", path, samples / "hello.livepatch")
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr


def test_chosen_rules_and_severities(samples: Path) -> None:
    far, warned = samples / "far-data.livepatch", samples / "short-nop.livepatch"
    assert check("--ignore", "XSP089", far).exit_code == 0
    assert check("--select", "XSP1,XSP2", far).exit_code == 0
    assert check("--severity", "XSP089=warning", far).exit_code == 0
    assert check(warned).exit_code == 0
    assert check("--fail-on", "warning", warned).exit_code == 1
    assert check("--severity", "XSP205=error", warned).exit_code == 1
    assert check("--exit-zero", far).exit_code == 0
    # What is left out is no longer reported; what Xen does stays what it is.
    assert check_json("--ignore", "XSP089", far)["cells"][0]["verdict"] == "refused"


@pytest.mark.parametrize(
    "words",
    [
        ("--select", "XSP9999"),
        ("--ignore", "nonsense"),
        ("--severity", "XSP089"),
        ("--severity", "XSP08=error"),
        ("--severity", "XSP089=fatal"),
        ("--policy", "gold"),
        ("--jobs", "0"),
        ("--jobs", "2", "--dask", "127.0.0.1:1"),
        ("--place", "0xffff82d060000000", "--any-placement"),
        ("--place", "0xffff82d060000000", "--stack"),
        ("--match-build-id",),
        ("--jobs", "2", "-"),
        ("--resume", "journal", "-"),
        ("--policy", "linux", "--stack"),
        ("--policy", "bfd", "--any-placement"),
        ("--write-baseline", "-"),
        ("--dask", "foo://x"),
        ("nothere/*.livepatch",),
        ("--release", "9.9.9x"),
        ("-v", "-q"),
        ("--config", "/nonexistent.toml"),
        ("-x", "/nonexistent-*"),
    ],
)
def test_wrong_usage(words: tuple[str, ...], samples: Path) -> None:
    result = check(*words, samples / "hello.livepatch")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr
    assert "Traceback" not in result.stderr


def test_nothing_to_check(tmp_path: Path) -> None:
    assert check().exit_code == 2
    result = check(tmp_path)
    assert result.exit_code == 2
    assert "no payloads" in result.stderr


def test_a_project_has_options_of_its_own(samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tmp_path / "project"
    inner = project / "deep" / "down"
    inner.mkdir(parents=True)
    (project / "far.livepatch").write_bytes((samples / "far-data.livepatch").read_bytes())
    (project / "pyproject.toml").write_text(
        '[tool.xsplice-check]\npayloads = ["far.livepatch"]\nignore = ["XSP089"]\nfail-on = "note"\nwindow = true\n'
        'jobs = 2\n[tool.xsplice-check.severity]\nXSP087 = "warning"\n'
    )
    monkeypatch.chdir(inner)
    result = check()
    assert result.exit_code == 0, result.output
    assert "fits at no address" in result.stdout
    # What is typed counts more.
    assert check("--ignore", "XSP070").exit_code == 1
    (project / "pyproject.toml").write_text("[tool.xsplice-check]\nfail_onn = 1\n")
    result = check(samples / "hello.livepatch")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "fail-on" in result.stderr
    # TOML has hexadecimal numbers.
    (project / "pyproject.toml").write_text(
        "[tool.xsplice-check]\nplace = 0xffff82d060000000\nverbose = true\njobs = 2\n"
    )
    assert check(samples / "hello.livepatch").exit_code == 0
    # What is typed counts more, and what it excludes counts nothing.
    assert check("--any-placement", "-q", samples / "hello.livepatch").exit_code == 0
    assert check("-", input=(samples / "hello.livepatch").read_bytes()).exit_code == 0
    for wrong in (
        "jobs = " + "1" * 5000,
        "x = " + "[" * 100_000,
        "window = 'yes'",
        'hypervisor = ["a\\u0000b"]',
        "broken = ",
        "jobs = 2.5",
    ):
        (project / "pyproject.toml").write_text(f"[tool.xsplice-check]\n{wrong}\n")
        result = check(samples / "hello.livepatch")
        assert (result.exit_code, result.stdout) == (2, ""), wrong


def test_processes_say_the_same(samples: Path) -> None:
    words = ("-x", HYPERVISORS["4.17.7"], "-x", HYPERVISORS["4.14.6"], samples)
    assert check_json("--jobs", "2", *words) == check_json(*words)


def test_a_cell_that_kills_its_process_is_reported(samples: Path) -> None:
    pages = {path: load(str(path)).pages for path in sorted(samples.iterdir())}
    deadly = {
        str(path) for path, count in pages.items() if count == DEADLY_PAGES and load(str(path)).regions is not None
    }
    assert deadly
    words: list[str | Path] = [
        COMMAND,
        "--jobs",
        "2",
        "--vmap",
        "checking.callbacks:deadly",
        "--format",
        "json",
        samples,
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment(), cwd=TESTS)
    assert done.returncode == 1, done.stderr
    cells = json.loads(done.stdout)["cells"]
    died = {cell["payload"] for cell in cells if cell["findings"][:1] and cell["findings"][0]["rule"] == "XSP304"}
    assert died
    assert died <= deadly
    assert sum(cell["verdict"] is not None for cell in cells) == len(pages) - len(died)


def test_an_interrupted_run_goes_on(samples: Path, tmp_path: Path) -> None:
    journal = tmp_path / "run.journal"
    words: list[str | Path] = [
        COMMAND,
        "--vmap",
        "checking.callbacks:slow",
        "--resume",
        journal,
        "--format",
        "json",
        samples,
    ]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(), cwd=TESTS) as run:
        while not journal.exists() or journal.read_bytes().count(b"\n") < 4:
            time.sleep(0.02)
        run.send_signal(signal.SIGINT)
        out, _ = run.communicate()
    assert (run.returncode, out) == (130, b"")
    before = journal.read_bytes()
    # A line that was cut off in the middle never happened.
    journal.write_bytes(before + before.splitlines()[-1][:40])
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment(), cwd=TESTS)
    assert done.returncode == 1, done.stderr
    assert journal.read_bytes().startswith(before)
    whole = subprocess.run(
        [*words[:3], *words[5:]], capture_output=True, text=True, check=False, env=environment(), cwd=TESTS
    )
    assert json.loads(done.stdout) == json.loads(whole.stdout)


def test_a_run_that_is_killed_leaves_nobody_behind(samples: Path, tmp_path: Path) -> None:
    journal = tmp_path / "run.journal"
    words: list[str | Path] = [
        COMMAND,
        "--jobs",
        "2",
        "--vmap",
        "checking.callbacks:slow",
        "--resume",
        journal,
        samples,
    ]
    options: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(words, env=environment(), cwd=TESTS, **options) as run:
        while not journal.exists() or journal.read_bytes().count(b"\n") < 2:
            time.sleep(0.02)
        run.kill()
    deadline = time.monotonic() + 30
    with journal.open("rb") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                assert time.monotonic() < deadline, "processes of the run live on and hold its journal"
                time.sleep(0.05)
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment(), cwd=TESTS)
    assert done.returncode == 1, done.stderr


def test_hypervisors_that_are_searched_are_part_of_a_run(samples: Path, tmp_path: Path) -> None:
    """A file that is written in place leaves the directory as it was."""
    builds, journal = tmp_path / "builds", tmp_path / "run.journal"
    builds.mkdir()
    (builds / "xen-syms").write_bytes((ROOT / "xsplice_loader/hypervisor/model.elf").read_bytes())
    words = ("--resume", journal, "--hypervisor-path", builds, samples / "hello.livepatch")
    assert check(*words).exit_code == 0
    state = builds.stat()
    with (builds / "xen-syms").open("ab") as file:
        file.write(b"\0")
    assert builds.stat().st_mtime_ns == state.st_mtime_ns
    assert "start again" in check(*words).stderr


def test_a_callback_may_not_end_the_program(samples: Path) -> None:
    for jobs in ("1", "2"):
        words: list[str | Path] = [COMMAND, "--jobs", jobs, "--vmap", "checking.callbacks:leaving", "--format", "json"]
        done = subprocess.run(
            [*words, samples / "hello.livepatch"], capture_output=True, check=False, env=environment(), cwd=TESTS
        )
        (cell,) = json.loads(done.stdout)["cells"]
        assert (done.returncode, cell["findings"][0]["rule"]) == (2, "XSP304")


def test_a_journal_of_another_run_is_refused(samples: Path, tmp_path: Path) -> None:
    journal = tmp_path / "run.journal"
    hello = samples / "hello.livepatch"
    assert check("--resume", journal, hello).exit_code == 0
    assert check("--resume", journal, hello).exit_code == 0
    for words in (("--window", hello), (hello, samples / "nop.livepatch")):
        result = check("--resume", journal, *words)
        assert (result.exit_code, result.stdout) == (2, "")
        assert "start again" in result.stderr
    refused = check("--resume", "/dev/zero", hello)
    assert (refused.exit_code, "no ordinary file" in refused.stderr) == (2, True)
    first = journal.read_text().splitlines(keepends=True)[0]
    journal.write_text(first + '{"type":"cell","x":' + "[" * 100_000 + "\n")
    assert check("--resume", journal, hello).exit_code == 2
    for nonsense in ("nonsense\n", '{"my": "precious"}', "{"):
        journal.write_text(nonsense)
        assert check("--resume", journal, hello).exit_code == (0 if nonsense == "{" else 2)
    assert journal.read_text().startswith('{"type":"journal"')


def test_a_journal_is_of_one_run_at_a_time(samples: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.journal"
    with path.open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        result = check("--resume", path, samples / "hello.livepatch")
    assert result.exit_code == 2
    assert "another run" in result.stderr


def test_a_file_that_is_written_anew_is_read_anew(samples: Path, tmp_path: Path) -> None:
    path = tmp_path / "fix.livepatch"
    for name, status in (("far-data", 1), ("hello", 0), ("far-data", 1)):
        path.write_bytes((samples / f"{name}.livepatch").read_bytes())
        assert check(path).exit_code == status


def test_nothing_in_a_directory_is_passed_over(samples: Path, tmp_path: Path) -> None:
    builds, payloads = tmp_path / "builds", tmp_path / "payloads"
    builds.mkdir()
    payloads.mkdir()
    (payloads / "hello.livepatch").write_bytes((samples / "hello.livepatch").read_bytes())
    (payloads / "empty.livepatch").write_bytes(b"")
    (payloads / "README").write_text("no payload")
    (payloads / "lost.livepatch").symlink_to("nowhere")
    (payloads / "circle").symlink_to("circle")
    (builds / "xen.gz").write_bytes(b"\x1f\x8b truncated")
    (builds / "xen-empty").write_bytes(b"")
    (builds / "xen-lost").symlink_to("nowhere")
    (builds / "xen-4.17-amd64.config").write_text("CONFIG_X86=y\n")
    (builds / "xen-syms").write_bytes((ROOT / "xsplice_loader/hypervisor/model.elf").read_bytes())
    cells = check_json("-x", builds, payloads, status=1)["cells"]
    found = {(Path(cell["hypervisor"]).name, Path(cell["payload"]).name): cell["verdict"] for cell in cells}
    unreadable = {
        (build, payload): None
        for build in ("xen.gz", "xen-empty", "xen-lost")
        for payload in ("empty.livepatch", "hello.livepatch", "lost.livepatch")
    }
    assert found == {
        ("xen-syms", "empty.livepatch"): "refused",
        ("xen-syms", "hello.livepatch"): "accepted",
        ("xen-syms", "lost.livepatch"): None,
        **unreadable,
    }


def test_directories_are_not_searched_but_patterns_are(samples: Path, tmp_path: Path) -> None:
    """A build tree has thousands of objects that are no payloads."""
    below = tmp_path / "deep" / "er"
    below.mkdir(parents=True)
    (below / "hello.livepatch").write_bytes((samples / "hello.livepatch").read_bytes())
    refused = check(tmp_path)
    assert refused.exit_code == 2
    pattern = refused.stderr.strip().rpartition(": ")[2].strip("'")
    assert check(pattern).exit_code == 0
    assert "**" not in check(below.parent.parent / "deep" / "er" / ".." / ".." / "nothing*").stderr


def test_what_nobody_could_check_is_never_known(samples: Path, tmp_path: Path) -> None:
    known = tmp_path / "known.json"
    words = ("-x", HYPERVISORS["4.17.7"], "-x", tmp_path / "nothing", samples / "far-data.livepatch")
    assert check("--write-baseline", known, "--baseline", known, *words).exit_code == 0
    assert check("--baseline", known, *words).exit_code == 1


@contextmanager
def scheduler() -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run a scheduler of dask and two workers, on the loopback; yield its address and its process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port)]
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-dashboard"]
    with ExitStack() as started:
        processes = []
        for words in ([*dask, "--no-dashboard"], worker, worker):
            process = started.enter_context(
                subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment())
            )
            started.callback(process.terminate)
            processes.append(process)
        import distributed  # noqa: PLC0415 - half a second that only this needs

        with distributed.Client(address, timeout=60, set_as_default=False) as client:  # type: ignore[no-untyped-call]
            client.wait_for_workers(2, timeout=60)
        yield address, processes[0]


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Return the address of a scheduler with two workers."""
    with scheduler() as (address, _):
        yield address


def test_a_cluster_says_the_same(samples: Path, cluster: str) -> None:
    # Workers have directories of their own; what is said has the paths that were given.
    words: list[str | Path] = [
        COMMAND,
        "-x",
        HYPERVISORS["4.17.7"],
        "-x",
        os.path.relpath(HYPERVISORS["4.20.3"], samples),
        "--format",
        "json",
        ".",
    ]
    options: dict[str, Any] = {"capture_output": True, "text": True, "env": environment(), "cwd": samples}
    here = subprocess.run(words, check=False, **options)
    there = subprocess.run([*words, "--dask", cluster], check=False, **options)
    assert there.stdout, there.stderr
    assert (json.loads(there.stdout), there.returncode) == (json.loads(here.stdout), here.returncode)


def test_a_cluster_that_is_not_there(samples: Path) -> None:
    words: list[str | Path] = [COMMAND, "--dask", "127.0.0.1:1", samples / "hello.livepatch"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment(), timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no scheduler of dask answers at 127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_listens_is_no_scheduler(samples: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        for scheme, said in (("tcp", "no scheduler of dask answers"), ("tls", "certificates")):
            address = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}"
            words: list[str | Path] = [COMMAND, "--dask", address, samples / "hello.livepatch"]
            done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment(), timeout=60)
            assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
            assert said in done.stderr


def test_a_scheduler_that_dies(samples: Path, tmp_path: Path) -> None:
    """What was done is reported, and the rest can be done later."""
    hello = (samples / "hello.livepatch").read_bytes()
    for number in range(400):
        (tmp_path / f"{number:03}.livepatch").write_bytes(hello)
    with scheduler() as (address, process):
        words: list[str | Path] = [COMMAND, "--dask", address, "--resume", tmp_path / "journal", "-q", tmp_path]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
            while not (tmp_path / "journal").exists() or (tmp_path / "journal").read_bytes().count(b"\n") < 2:
                time.sleep(0.005)
            process.kill()
            out, err = run.communicate(timeout=60)
    done = (tmp_path / "journal").read_bytes().count(b"\n") - 1
    assert out.startswith(f"{done} cells: {done} accepted"), (tmp_path / "journal").read_text()[-600:]
    if done < 400:
        assert run.returncode == 2
        assert "went away" in err
        assert f"{400 - done} of 400 cells are not done" in err
        assert "Traceback" not in err
    rest = check("--resume", tmp_path / "journal", "-q", tmp_path)
    assert rest.stdout == "400 cells: 400 accepted; nothing found\n"


def test_only_the_report_is_on_standard_output(samples: Path) -> None:
    done = subprocess.run(
        [COMMAND, "--format", "json", "--jobs", "2", samples], capture_output=True, text=True, check=False
    )
    json.loads(done.stdout)
    assert done.stderr == ""


def test_a_journal_that_has_no_room_is_told(samples: Path, tmp_path: Path) -> None:
    for resume in ("", f"--resume {tmp_path / 'run.journal'}"):
        words = f"ulimit -f 1; exec {COMMAND} --window {resume} {samples}"
        done = subprocess.run(["sh", "-c", words], capture_output=True, text=True, check=False, env=environment())
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
        assert "the cells cannot be kept" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_directory_that_is_gone(samples: Path, tmp_path: Path) -> None:
    words = f"cd {tmp_path} && rmdir {tmp_path} && exec {COMMAND} {samples / 'hello.livepatch'}"
    done = subprocess.run(["sh", "-c", words], capture_output=True, text=True, check=False, env=environment())
    assert (done.returncode, done.stderr) == (0, "")


def test_a_full_disk_is_told(samples: Path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    result = check("-o", "/dev/full", samples / "hello.livepatch")
    assert result.exit_code == 2
    assert "cannot be written" in result.stderr
