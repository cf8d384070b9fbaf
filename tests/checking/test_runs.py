"""Whole runs: baselines, severities, configuration, processes, a cluster, interruptions."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

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


@pytest.mark.parametrize(
    ("contents", "said"),
    [
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
    for wrong in ("window = 'yes'", 'hypervisor = ["a\\u0000b"]', "broken = ", "jobs = 2.5"):
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


def test_a_journal_of_another_run_is_refused(samples: Path, tmp_path: Path) -> None:
    journal = tmp_path / "run.journal"
    hello = samples / "hello.livepatch"
    assert check("--resume", journal, hello).exit_code == 0
    assert check("--resume", journal, hello).exit_code == 0
    for words in (("--window", hello), (hello, samples / "nop.livepatch")):
        result = check("--resume", journal, *words)
        assert (result.exit_code, result.stdout) == (2, "")
        assert "start again" in result.stderr
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
    (builds / "xen.gz").write_bytes(b"\x1f\x8b truncated")
    (builds / "xen-syms").write_bytes((ROOT / "xsplice_loader/hypervisor/model.elf").read_bytes())
    cells = check_json("-x", builds, payloads, status=1)["cells"]
    found = {(Path(cell["hypervisor"]).name, Path(cell["payload"]).name): cell["verdict"] for cell in cells}
    assert found == {
        ("xen-syms", "empty.livepatch"): "refused",
        ("xen-syms", "hello.livepatch"): "accepted",
        ("xen.gz", "empty.livepatch"): None,
        ("xen.gz", "hello.livepatch"): None,
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


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """A scheduler of dask and two workers, on the loopback."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port)]
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-dashboard"]
    with ExitStack() as started:
        for words in ([*dask, "--no-dashboard"], worker, worker):
            process = started.enter_context(
                subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment())
            )
            started.callback(process.terminate)
        import distributed  # noqa: PLC0415 - half a second that only this needs

        with distributed.Client(address, timeout=60, set_as_default=False) as client:  # type: ignore[no-untyped-call]
            client.wait_for_workers(2, timeout=60)
        yield address


def test_a_cluster_says_the_same(samples: Path, cluster: str) -> None:
    words: list[str | Path] = [
        COMMAND,
        "-x",
        HYPERVISORS["4.17.7"],
        "-x",
        HYPERVISORS["4.20.3"],
        "--format",
        "json",
        samples,
    ]
    here = subprocess.run(words, capture_output=True, text=True, check=False, env=environment())
    there = subprocess.run([*words, "--dask", cluster], capture_output=True, text=True, check=False, env=environment())
    assert there.stdout, there.stderr
    assert (json.loads(there.stdout), there.returncode) == (json.loads(here.stdout), here.returncode)


def test_a_cluster_that_is_not_there(samples: Path) -> None:
    words: list[str | Path] = [COMMAND, "--dask", "127.0.0.1:1", samples / "hello.livepatch"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment(), timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no scheduler of dask answers at 127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr


def test_only_the_report_is_on_standard_output(samples: Path) -> None:
    done = subprocess.run(
        [COMMAND, "--format", "json", "--jobs", "2", samples], capture_output=True, text=True, check=False
    )
    json.loads(done.stdout)
    assert done.stderr == ""


def test_a_full_disk_is_told(samples: Path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    result = check("-o", "/dev/full", samples / "hello.livepatch")
    assert result.exit_code == 2
    assert "cannot be written" in result.stderr
