"""SARIF, JUnit and GitHub's commands, each held to what its own readers say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema
import junitparser
import pytest
from checking.checks import HYPERVISORS, check, check_json
from known_hypervisors import missing

from xsplice_loader import Hypervisor
from xsplice_loader.forge import forge

HOSTILE = "\x1b[31m<b>&\"'%0A::error::x,y\u202e]]>"
SOURCE = """
        .text
        .globl replacement
        .type replacement, @function
replacement:
        call    "{name}"
        ret
        .size replacement, . - replacement
        .livepatch_func "xen_extra_version", replacement, 16
        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id sha1
"""


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    """The schema of SARIF 2.1.0."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    path = cache / "xsplice-loader" / "sarif-2.1.0.json"
    if not path.is_file():
        missing(f"{path} is not there; scripts/fetch-sarif-schema fetches it")
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A payload that asks for a symbol with a name that means something everywhere."""
    path = tmp_path_factory.mktemp("hostile") / "evil,%0A::name.livepatch"
    data = forge(SOURCE.format(name="x" * len(HOSTILE.encode())))
    path.write_bytes(data.replace(b"x" * len(HOSTILE.encode()), HOSTILE.encode()))
    return path


def test_sarif_is_valid(samples: Path, hostile: Path, schema: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "out.sarif"
    words = ("-x", HYPERVISORS["4.17.7"], "-x", HYPERVISORS["4.14.6"], "--format", "sarif", "-o", out)
    assert check(*words, samples, hostile).exit_code == 1
    document = json.loads(out.read_text(encoding="utf-8"))
    jsonschema.Draft7Validator(schema).validate(document)
    (run,) = document["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert len({rule["id"] for rule in rules}) == len(rules)
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
    # The tools that others use read it, too.
    tool = Path(sys.executable).with_name("sarif")
    done = subprocess.run([tool, "summary", out], capture_output=True, text=True, check=True)
    assert f"error: {sum(result['level'] == 'error' for result in run['results'])}" in done.stdout


def test_fingerprints_survive_another_build(samples: Path) -> None:
    def marks(release: str) -> set[tuple[str, str]]:
        words = ("-x", HYPERVISORS[release], "--format", "sarif", "--select", "XSP089,XSP087", samples)
        results = json.loads(check(*words).stdout)["runs"][0]["results"]
        return {(result["ruleId"], result["partialFingerprints"]["xsplice/v1"]) for result in results}

    assert marks("4.14.6") == marks("4.17.7")
    assert len(marks("4.17.7")) >= 2


def test_addresses_in_sarif_are_text(samples: Path) -> None:
    document = json.loads(check("--format", "sarif", samples / "far-data.livepatch").stdout)
    (result,) = document["runs"][0]["results"]
    assert result["properties"]["s"] == "0xffff830000000000"
    assert result["locations"][0]["physicalLocation"]["address"]["offsetFromParent"] == 3


def test_junit_is_read_back(samples: Path, hostile: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.xml"
    check("--format", "junit", "-o", out, samples, hostile, tmp_path / "missing.livepatch")
    expected = json.loads(check("--format", "json", samples, hostile, tmp_path / "missing.livepatch").stdout)["cells"]
    document = junitparser.JUnitXml.fromfile(str(out))
    (suite,) = list(document)
    cases = {case.name.rpartition("/")[2]: case for case in suite}
    assert len(cases) == len(expected) == suite.tests
    for cell in expected:
        kinds = [type(result) for result in cases[cell["payload"].rpartition("/")[2]].result]
        wanted = {"accepted": [], "refused": [junitparser.Failure], None: [junitparser.Error]}[cell["verdict"]]
        assert kinds == wanted, cell["payload"]
    assert suite.failures == sum(cell["verdict"] == "refused" for cell in expected)
    assert suite.errors == 1


def test_github_commands_stay_one_line_each(samples: Path, hostile: Path) -> None:
    lines = check("--format", "github", hostile, samples / "short-nop.livepatch").stdout.splitlines()
    assert [line.partition(" ")[0] for line in lines] == ["::error", "::warning"]
    properties = lines[0].removeprefix("::error ").partition("::")[0]
    names = [part.partition("=")[0] for part in properties.split(",")]
    assert names == ["file", "line", "title"]
    assert "%0A" not in lines[0].replace("%250A", "")


@pytest.mark.parametrize("form", ["text", "json", "sarif", "junit", "github"])
def test_names_mean_nothing(form: str, hostile: Path) -> None:
    result = check("--format", form, hostile)
    assert result.exit_code == 1
    assert "\x1b" not in result.stdout
    assert "\u202e" not in result.stdout or form in ("json", "sarif")
    assert not result.stderr


def test_text_has_each_finding_once(samples: Path) -> None:
    """Findings stand below their payload; where the numbers are those of one hypervisor, it says of which."""
    hypervisors = [word for path in HYPERVISORS.values() for word in ("-x", path)]
    names = ("two-functions.livepatch", "common-symbol.livepatch")
    lines = check("-v", *hypervisors, *(samples / name for name in names)).stdout.splitlines()
    for name in names:
        heading = lines.index(str(samples / name))
        below = lines[
            heading + 1 : heading + 1 + next(n for n, line in enumerate(lines[heading + 1 :]) if line[:1] != " ")
        ]
        wrong_build = [line for line in below if "this one has" in line]
        told = [below[below.index(line) + 1].strip() for line in wrong_build]
        # 4.20.3 compares build-ids by another rule than 4.14.6 and 4.17.7, of which each has one of its own.
        assert told == ["on 1, 2; numbers as on 1", "on 3"]


def test_many_hypervisors_are_summed_up(samples: Path, tmp_path: Path) -> None:
    """A line for each payload tells what the document tells cell by cell."""
    for number in range(12):
        (tmp_path / f"xen-{number:02}").symlink_to(list(HYPERVISORS.values())[number % 3])
    (tmp_path / "xen-broken").write_bytes(b"\x7fELF, and no more")
    words = ("-x", tmp_path, samples / "hello.livepatch", samples / "two-functions.livepatch")
    lines = check("--window", *words).stdout.splitlines()
    cells = check_json(*words)["cells"]
    for line, name in zip(lines, ("hello.livepatch", "two-functions.livepatch"), strict=False):
        verdicts = Counter(
            "?" if cell["verdict"] is None else cell["errno"]["name"]
            for cell in cells
            if cell["payload"].endswith(name)
        )
        (usual, count), *others = verdicts.most_common()
        assert line.split(None, 1) == [name, f"{usual} on {count} of 13; ? on 13"]
        assert [word for word, _ in others] == ["?"]
    assert sum("the least of all" in line for line in lines) == 2


def test_other_words_are_another_finding(samples: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "text").write_text("no hypervisor")
    words = ("-x", tmp_path / "empty", "-x", tmp_path / "text", "-x", tmp_path / "lost", samples / "hello.livepatch")
    for form in ("text", "github", "sarif"):
        said = check("--format", form, *words).stdout
        for words_of in ("is empty", "is no hypervisor", "No such file"):
            assert words_of in said, (form, words_of)


def test_numbers_are_those_of_the_type(samples: Path) -> None:
    """S + A where the type has no P, and the width that its field has."""
    said = check("--policy", "linux", samples / "reloc-32s.livepatch").stdout
    assert "R_X86_64_32S: S + A = " in said
    assert "[---" not in said
    assert "the field has 32;" in said


def test_a_jump_is_drawn_the_way_it_leads(samples: Path) -> None:
    for place, side in (("0xffff82d0c0235000", "~~> S"), ("0xffff82cfbf000000", "S <~~")):
        lines = check(
            "--select", "XSP126", "--place", place, samples / "nop.livepatch", samples / "hello.livepatch"
        ).stdout
        (bar,) = [line for line in lines.splitlines() if "GiB [" in line]
        assert side in bar


def test_rows_of_policies_say_whose_they_are(samples: Path) -> None:
    files = [samples / f"{name}.livepatch" for name in ("far-data", "reloc-32s")]
    lines = check("--compare-policies", *files).stdout.splitlines()
    for file, symbol in zip(files, ("direct_map", ".rodata"), strict=True):
        assert symbol in lines[lines.index(str(file)) + 1]


def test_what_is_ignored_is_not_hinted_at(samples: Path, tmp_path: Path) -> None:
    listed = tmp_path / "xen-syms.map"
    listed.write_text("\n".join(f"{a:016x} {t} {n.decode()}" for n, a, t in Hypervisor.model().symbols))
    words = ("-x", listed, samples / "hello.livepatch")
    assert "ok*" in check(*words).stdout
    assert "*" not in check("--ignore", "XSP2", *words).stdout
