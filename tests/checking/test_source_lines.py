"""Source lines of findings, against what binutils says of the same object."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from checking.checks import check_json
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from known_hypervisors import missing

SOURCE = """extern int first_unknown(void), second_unknown(int);
int other(void)
{
    return 1;
}

int replacement(void)
{
    int a = first_unknown();

    return second_unknown(a);
}
"""


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("more", [(), ("-ffunction-sections",)])
def test_lines_are_those_of_addr2line(version: int, more: tuple[str, ...], tmp_path: Path) -> None:
    for tool in ("gcc", "addr2line", "readelf"):
        if shutil.which(tool) is None:
            missing(f"{tool} is not installed")
    source, path = tmp_path / "fix.c", tmp_path / "fix.o"
    source.write_text(SOURCE, encoding="utf-8")
    flags = (f"-gdwarf-{version}", "-O1", "-fno-pic", "-mcmodel=large", *more)
    subprocess.run(["gcc", *flags, "-c", "-o", path, source], check=True)
    # The large code model asks for 64-bit addresses, in a section for each function or in one for all; the field that
    # Xen does not apply is a finding with a place.
    listed = subprocess.run(["readelf", "-rW", path], capture_output=True, text=True, check=True).stdout
    assert "first_unknown" in listed
    (cell,) = check_json("--policy", "xen", "--allow-assumed", _with_unhandled(path), status=1)["cells"]
    told = [finding for finding in cell["findings"] if "source_line" in finding]
    found = {(finding["section"], finding["offset"]): finding for finding in told if "section" in finding}
    assert found
    # An unknown symbol is used somewhere.
    uses = {finding["symbol"]: finding["source_line"] for finding in told if finding["rule"] == "XSP071"}
    assert uses == {
        name: next(n for n, line in enumerate(SOURCE.splitlines(), 1) if f"{name}(" in line and "extern" not in line)
        for name in uses
    }
    for (section, offset), finding in found.items():
        words = ["addr2line", "-j", section, "-e", path, f"{offset:#x}"]
        name, _, line = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip().rpartition(":")
        assert int(line.split()[0]) == finding["source_line"]
        assert name.rpartition("/")[2] == finding["source_file"].rpartition("/")[2]


def test_files_below_are_named_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build that changes into directories names its files from there."""
    if shutil.which("gcc") is None:
        missing("gcc is not installed")
    inner = tmp_path / "src" / "sub"
    inner.mkdir(parents=True)
    (inner / "two.c").write_text(SOURCE, encoding="utf-8")
    words = ("gcc", "-g", "-O1", "-fno-pic", "-c", "-o", "two.o", "two.c")
    subprocess.run(words, check=True, cwd=inner)
    for place, expected in ((tmp_path, "src/sub/two.c"), (inner.parent, "sub/two.c"), (tmp_path / "..", None)):
        monkeypatch.chdir(place)
        (cell,) = check_json(inner / "two.o", status=1)["cells"]
        names = {finding["source_file"] for finding in cell["findings"] if "source_file" in finding}
        assert names == {expected or str(inner.relative_to(Path(place).resolve()) / "two.c")}
    monkeypatch.chdir("/usr")
    (cell,) = check_json(inner / "two.o", status=1)["cells"]
    assert {finding["source_file"] for finding in cell["findings"] if "source_file" in finding} == {"two.c"}


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_wild_debug_information_costs_no_cell(data: st.DataObject, tmp_path: Path) -> None:
    for tool in ("gcc", "readelf"):
        if shutil.which(tool) is None:
            missing(f"{tool} is not installed")
    path = tmp_path / "fix.o"
    if not path.exists():
        (tmp_path / "fix.c").write_text(SOURCE, encoding="utf-8")
        words: list[str | Path] = [
            "gcc",
            "-g",
            "-O1",
            "-fno-pic",
            "-mcmodel=large",
            "-c",
            "-o",
            path,
            tmp_path / "fix.c",
        ]
        subprocess.run(words, check=True)
        _with_unhandled(path)
    changed = bytearray((tmp_path / "changed.o").read_bytes())
    listed = subprocess.run(["readelf", "-SW", path], capture_output=True, text=True, check=True).stdout
    columns = [line.partition("]")[2].split() for line in listed.splitlines() if "] .debug_" in line]
    places = [(int(column[3], 16), int(column[4], 16)) for column in columns]
    for start, size in data.draw(st.lists(st.sampled_from(places), min_size=1, max_size=4)):
        if size:
            changed[start + data.draw(st.integers(0, min(size, 200) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "wild.o").write_bytes(changed)
    (cell,) = check_json(tmp_path / "wild.o", status=1)["cells"]
    assert "XSP304" not in {finding["rule"] for finding in cell["findings"]}


def _with_unhandled(path: Path) -> Path:
    """Give the relocations of code a type that Xen does not apply: R_X86_64_PC64 in the place of R_X86_64_64."""
    data = bytearray(path.read_bytes())
    listed = subprocess.run(["readelf", "-SW", path], capture_output=True, text=True, check=True).stdout
    for line in listed.splitlines():
        columns = line.partition("]")[2].split()
        if columns and columns[0].startswith(".rela.text"):
            start, size = int(columns[3], 16), int(columns[4], 16)
            for entry in range(start, start + size, 24):
                data[entry + 8] = 24
    changed = path.with_name("changed.o")
    changed.write_bytes(data)
    return changed
