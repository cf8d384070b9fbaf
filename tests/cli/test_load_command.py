"""`xsplice-load` as a user meets it: statuses, formats, files, and what happens to bad input."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import load_json, run
from elftools.elf.elffile import ELFFile
from forge_readback import require
from records import DATA, single_uploads

from xsplice_loader.forge import forge

PAYLOADS = DATA / "real-xen-4.17.7" / "payloads"
HYPERVISOR = str(DATA / "real-xen-4.17.7" / "hypervisor.elf.gz")
SAMPLES = Path(__file__).parents[2] / "payloads"
RECORDS = {record.name: record for record in single_uploads("4.17.7")}


def sample(name: str, folder: Path) -> Path:
    path = folder / f"{name}.livepatch"
    path.write_bytes(forge((SAMPLES / f"{name}.s").read_text()))
    return path


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["ok-plain"], 0),
        (["ok-plain", "ok-nop"], 0),
        (["bad-magic"], 1),
        (["ok-plain", "bad-magic"], 1),
        (["ok-plain", "no-such-file"], 2),
        (["bad-magic", "no-such-file"], 2),
    ],
)
def test_status(words: list[str], status: int) -> None:
    assert run("-x", HYPERVISOR, *(PAYLOADS / f"{word}.livepatch" for word in words)).exit_code == status


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "PAYLOAD"),
        (["--nonsense", "x"], "--nonsense"),
        (["--release", "4.17", "x"], "X.Y.Z"),
        (["--release", "4.6.0", "x"], "4.7.0"),
        (["--place", "1234", "x"], "0x"),
        (["--place", "0x1234", "x"], "page"),
        (["--place", "0xfffffffffffff000f", "x"], "0x"),
        (["--arena", "0x1000", "x"], "range"),
        (["--arena", "0x2000-0x1000", "x"], "empty"),
        (["--vmap", "nowhere", "x"], "nowhere"),
        (["--vmap", "no_such_module:f", "x"], "no_such_module"),
        (["--vmap", "os:sep", "x"], "callable"),
        (["--vmap", "default", "--place", "0x1000", "x"], "--place"),
        (["--max-size", "-1", "x"], "max-size"),
        (["-v", "-q", "x"], "exclude"),
        (["-x", "/no/such/file", "x"], "/no/such/file"),
        (["-x", "/", "x"], "/"),
        (["-x", __file__, "x"], "hypervisor"),
    ],
)
def test_wrong_usage(words: list[str], complaint: str) -> None:
    result = run(*words)
    assert result.exit_code == 2
    assert complaint in result.stderr
    assert "Traceback" not in result.stderr


def test_help_has_examples_and_version_is_one_line() -> None:
    assert "Examples:" in run("--help").stdout
    assert run("--version").stdout.count("\n") == 1


def test_document_agrees_with_the_record() -> None:
    record = RECORDS["ok-calls-xen"]
    document = load_json("-x", HYPERVISOR, "--nops", "k8", record.payload)
    assert list(document) == ["schema", "hypervisor", "payloads"]
    assert document["hypervisor"] == {
        "file": HYPERVISOR,
        "release": "4.17.7",
        "build_id": record.fields["xen_build_id"],
        # nm of the package's xen-syms: _stext, _etext; the end of the range is in arch_livepatch_init.
        "text": {"start": "0xffff82d040200000", "end": "0xffff82d040360783"},
        "arena": {"start": "0xffff82d0405a7000", "end": "0xffff82d07feff000"},
        "symbols": 6883,
        "built_in": False,
        "assumed": False,
        "memory": None,
    }
    (payload,) = document["payloads"]
    placed = record.placed
    assert placed is not None
    assert payload["verdict"] == "accepted"
    assert payload["errno"] is payload["stage"] is payload["rule"] is payload["xen_message"] is None
    assert [payload["regions"][name]["address"] for name in ("text", "rw", "ro")] == [
        placed["text_addr"],
        placed["rw_addr"],
        placed["ro_addr"],
    ]
    assert payload["image_sha256"] == placed["image_sha256"]
    assert payload["build_id"] == placed["build-id"]
    # readelf -rW of the file: three in .rela.text, two in .rela.livepatch.funcs.
    assert payload["relocations"] == {
        "total": 5,
        "by_type": {"R_X86_64_64": 2, "R_X86_64_PC32": 2, "R_X86_64_PLT32": 1},
    }
    (function,) = payload["funcs"]
    assert function["before"].startswith(record.fields["before"][0]["bytes"])
    assert function["patched"].startswith(record.fields["patched"][0]["bytes"])


def test_overflow_in_json() -> None:
    record = RECORDS["bad-pc32-overflow-entry2"]
    (payload,) = load_json("-x", HYPERVISOR, record.payload)["payloads"]
    assert payload["errno"] == {"number": 75, "name": "EOVERFLOW"}
    assert (payload["stage"], payload["xen_message"]) == ("relocation", record.log)
    finding = payload["findings"][0]
    # far is 0xffff830000000000 by its maker; lea far(%rip), %rax is the second instruction of 7 bytes at ..5b0000.
    assert finding["rule"] == payload["rule"]
    assert (finding["s"], finding["a"], finding["p"]) == ("0xffff830000000000", "-4", "0xffff82d0405b000a")
    value = 0xFFFF830000000000 - 4 - 0xFFFF82D0405B000A
    assert (finding["value"], finding["bits"]) == (str(value), 39)
    assert finding["range"] == ["-2147483648", "2147483648"]
    assert finding["overrun"] == str(value - 2**31 + 1)
    low = value % 2**32
    landing = 0xFFFF830000000000 + (low - 2**32 if low >= 2**31 else low) - value
    assert finding["lands_at"] == f"{landing:#018x}"
    assert finding["cause"] == "absolute"
    assert finding["symbol"] == "far"
    assert "far(%rip)" in finding["instruction"]
    assert payload["image_sha256"] is None
    assert payload["funcs"] == []


def test_every_relocation_is_listed() -> None:
    (payload,) = load_json("-x", HYPERVISOR, "--relocations", PAYLOADS / "ok-calls-xen.livepatch")["payloads"]
    items = payload["relocations"]["items"]
    assert len(items) == 5
    with (PAYLOADS / "ok-calls-xen.livepatch").open("rb") as stream:
        file: Any = ELFFile(stream)
        table = file.get_section_by_name(".rela.text")
        expected = [(entry["r_offset"], entry["r_addend"]) for entry in table.iter_relocations()]
    assert [(item["offset"], int(item["a"])) for item in items if item["section"] == ".text"] == expected
    call = next(item for item in items if item["type"] == "R_X86_64_PLT32")
    assert call["symbol"] == "strlen"
    assert int(call["value"]) == int(call["s"], 16) + int(call["a"]) - int(call["p"], 16)


def test_image_and_elf(tmp_path: Path) -> None:
    record = RECORDS["ok-data-bss"]
    out = tmp_path / "new" / "folder"
    assert (
        run("-x", HYPERVISOR, "--image", out, "--elf", out, record.payload, PAYLOADS / "bad-magic.livepatch").exit_code
        == 1
    )
    assert sorted(path.name for path in out.iterdir()) == ["ok-data-bss.elf", "ok-data-bss.image"]
    placed = record.placed
    assert placed is not None
    image = (out / "ok-data-bss.image").read_bytes()
    assert hashlib.sha256(image).hexdigest() == placed["image_sha256"]
    base = int(placed["text_addr"], 16)
    file: Any = ELFFile(io.BytesIO((out / "ok-data-bss.elf").read_bytes()))
    assert file["e_type"] == "ET_EXEC"
    for segment in file.iter_segments("PT_LOAD"):
        start = segment["p_vaddr"] - base
        assert segment.data() == image[start : start + segment["p_filesz"]]
    (function,) = placed["funcs"]
    (replacement,) = file.get_section_by_name(".symtab").get_symbol_by_name("replacement")
    assert replacement["st_value"] == int(function["new_addr"], 16)


def test_elf_is_read_by_objdump_and_nm(tmp_path: Path) -> None:
    require("objdump")
    run("-x", HYPERVISOR, "--elf", tmp_path, PAYLOADS / "ok-calls-xen.livepatch")
    elf = tmp_path / "ok-calls-xen.elf"
    disassembly = subprocess.run(["objdump", "-d", elf], check=True, capture_output=True, text=True)
    assert "ffff82d0405b0000 <replacement>:" in disassembly.stdout
    assert "ffff82d04035f1e0 <strlen>" in disassembly.stdout
    assert not disassembly.stderr
    names = subprocess.run(["nm", elf], check=True, capture_output=True, text=True)
    assert "ffff82d0405b0000 T replacement" in names.stdout
    headers = subprocess.run(["readelf", "-aW", elf], check=True, capture_output=True, text=True)
    assert "Warning" not in headers.stdout + headers.stderr


def test_output_goes_to_a_file_or_nowhere(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    result = run("-x", HYPERVISOR, "--format", "json", "-o", out, PAYLOADS / "ok-plain.livepatch")
    assert (result.exit_code, result.stdout) == (0, "")
    assert json.loads(out.read_text())["payloads"][0]["verdict"] == "accepted"
    missing = tmp_path / "no" / "such" / "folder" / "out.json"
    result = run("-x", HYPERVISOR, "-o", missing, PAYLOADS / "ok-plain.livepatch")
    assert result.exit_code == 2
    assert "cannot be written" in result.stderr
    assert list(tmp_path.iterdir()) == [out]


def test_standard_input_and_names(tmp_path: Path) -> None:
    data = (PAYLOADS / "ok-plain.livepatch").read_bytes()
    result = run("-x", HYPERVISOR, "--format", "json", "-", input=data)
    assert json.loads(result.stdout)["payloads"][0]["name"] == "stdin"
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        shutil.copy(PAYLOADS / "ok-plain.livepatch", tmp_path / folder / "fix.tar.livepatch")
    document = load_json("-x", HYPERVISOR, tmp_path / "a" / "fix.tar.livepatch", tmp_path / "b" / "fix.tar.livepatch")
    assert [payload["name"] for payload in document["payloads"]] == ["fix.tar", "fix.tar"]
    assert document["payloads"][1]["errno"] == {"number": 17, "name": "EEXIST"}
    assert document["payloads"][1]["stage"] is None


def test_empty_large_and_missing_files(tmp_path: Path) -> None:
    empty, large = tmp_path / "empty", tmp_path / "large"
    empty.touch()
    large.write_bytes(bytes((2 << 20) + 1))
    document = load_json("-x", HYPERVISOR, empty, large, tmp_path / "missing", tmp_path)
    verdicts = [(payload["verdict"], payload["errno"]) for payload in document["payloads"]]
    assert verdicts == [("refused", {"number": 22, "name": "EINVAL"})] * 2 + [(None, None)] * 2
    assert all(payload["findings"] for payload in document["payloads"])
    assert load_json("-x", HYPERVISOR, "--max-size", "0", large)["payloads"][0]["xen_message"] == "Not an ELF payload"


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null"])
def test_devices(device: str) -> None:
    assert load_json("-x", HYPERVISOR, device)["payloads"][0]["errno"] == {"number": 22, "name": "EINVAL"}


def test_two_releases_two_answers(tmp_path: Path) -> None:
    story = sample("empty-altinstr-replacement", tmp_path)
    assert run("--release", "4.14.0", story).exit_code == 1
    assert run("--release", "4.17.7", story).exit_code == 0


def test_vmap_default_place_and_arena(tmp_path: Path) -> None:
    hello = sample("hello", tmp_path)
    (default,) = load_json("--vmap", "default", hello)["payloads"]
    assert default["errno"]["name"] == "EOVERFLOW"
    # spec/02 §6.5: the first address of the default range.
    assert default["regions"]["text"]["address"] == "0xffff82c000201000"
    assert {finding["cause"] for finding in default["findings"] if "cause" in finding} == {"other-area"}
    (place,) = load_json("--place", "0xffff82d07fe00000", hello)["payloads"]
    assert (place["verdict"], place["regions"]["text"]["address"]) == ("accepted", "0xffff82d07fe00000")
    (taken,) = load_json("--place", "0xffff82d040200000", hello)["payloads"]
    assert taken["verdict"] == "accepted"
    assert "image" in taken["findings"][0]["message"]
    # The range begins with 8 pages of bitmap, then comes the guard page (spec/02 §6.5).
    (arena,) = load_json("--arena", "0xffff82d050000000-0xffff82d080000000", hello)["payloads"]
    assert arena["regions"]["text"]["address"] == "0xffff82d050007000"


def test_callback_of_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hello = sample("hello", tmp_path)
    monkeypatch.chdir(SAMPLES)
    (payload,) = load_json("--vmap", "vmap_near_top:from_the_top", hello)["payloads"]
    assert (payload["verdict"], payload["regions"]["text"]["address"]) == ("accepted", "0xffff82d07fdfd000")
    (tmp_path / "broken.py").write_text("def raises(mfns, pages): raise RuntimeError('no idea')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    result = run("--vmap", "broken:raises", hello)
    assert result.exit_code == 2
    assert "RuntimeError: no idea" in result.stderr


def test_an_interrupt_is_no_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "impatient.py").write_text("def user(mfns, pages): raise KeyboardInterrupt\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    result = run("--vmap", "impatient:user", sample("hello", tmp_path))
    assert result.exit_code == 130
    assert "Traceback" not in result.stderr


def test_hostile_names_arrive_escaped(tmp_path: Path) -> None:
    data = forge((SAMPLES / "hello.s").read_text()).replace(b"\0strlen\0", b"\0\x1b[1m\n\xff\0")
    path = tmp_path / "hostile.livepatch"
    path.write_bytes(data)
    text = run(path)
    assert text.exit_code == 1
    assert "\x1b" not in text.stdout
    assert "Unknown symbol" in text.stdout
    document = run("--format", "json", path).stdout
    assert "\x1b" not in document
    (payload,) = json.loads(document)["payloads"]
    assert payload["errno"]["name"] == "ENOENT"
    name = payload["findings"][0]["symbol"]
    assert name.startswith("\x1b")
    assert payload["xen_message"] == f"Unknown symbol: {name}"


def test_window_on_request(tmp_path: Path) -> None:
    hello = sample("hello", tmp_path)
    (without,) = load_json(hello)["payloads"]
    assert without["window"] is None
    (measured,) = load_json("--window", hello)["payloads"]
    window = measured["window"]
    assert window["covers_arena"] is True
    assert run("--place", window["lowest"], hello).exit_code == 0
    assert run("--place", window["highest"], hello).exit_code == 0
    assert run("--place", f"{int(window['highest'], 16) + 4096:#x}", hello).exit_code == 1
    assert [edge["side"] for edge in window["tightest"]] == ["low", "high"]
    assert window["lowest"] in run("--window", hello).stdout


def test_the_map_of_the_range() -> None:
    shown = run("-x", HYPERVISOR, PAYLOADS / "ok-plain.livepatch", PAYLOADS / "ok-nop.livepatch").stdout
    rows = [line.split() for line in shown.splitlines() if line.startswith("  0xffff82d0") and "page" in line]
    # A range of 260440 pages with a bitmap of 8 (spec/02 §6.5), 3 pages, 2 pages, and a guard page before each.
    assert rows == [
        ["0xffff82d0405a7000", "8", "pages", "bitmap"],
        ["0xffff82d0405af000", "1", "page", "guard"],
        ["0xffff82d0405b0000", "3", "pages", "ok-plain"],
        ["0xffff82d0405b3000", "1", "page", "guard"],
        ["0xffff82d0405b4000", "2", "pages", "ok-nop"],
        ["0xffff82d0405b6000", str(260440 - 8 - 1 - 3 - 1 - 2), "pages", "free"],
    ]
    assert "fragmentation 0.0%" in shown


@pytest.mark.parametrize("design", ["callback", "slots", "tree", "loader"])
def test_every_design_has_its_map(design: str) -> None:
    payloads = [PAYLOADS / "ok-plain.livepatch", PAYLOADS / "ok-nop.livepatch"]
    result = run("-x", HYPERVISOR, "--vmap", design, *payloads)
    assert result.exit_code == 0
    has_guards = any(line.endswith("  guard") for line in result.stdout.splitlines())
    assert has_guards == (design in ("slots", "tree"))


def test_no_colour_when_piped_and_quiet_is_one_line_each() -> None:
    result = run("-x", HYPERVISOR, "-q", PAYLOADS / "ok-plain.livepatch", PAYLOADS / "bad-unknown-symbol.livepatch")
    assert result.stdout.splitlines() == [
        f"{PAYLOADS / 'ok-plain.livepatch'}: accepted",
        f"{PAYLOADS / 'bad-unknown-symbol.livepatch'}: refused, ENOENT (2) at resolution [XSP071]",
    ]


def test_the_installed_command_survives_a_closed_pipe() -> None:
    script = Path(sys.executable).with_name("xsplice-load")
    process = subprocess.Popen(
        [script, "-x", HYPERVISOR, *[PAYLOADS / "ok-plain.livepatch"] * 200],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() in (0, 1)
