"""`struct payload` and its neighbours in memory, read by hooks at every moment of an action.

Offsets are those of debug information: `struct-payload.json` was taken from probe files compiled with the headers of
every release. What the members hold is worked out here from the payload's file and where its sections were placed.
"""

from __future__ import annotations

import json
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import Symbol, SymbolTableSection
from known_hypervisors import DATA, KNOWN

from xsplice_loader import Host, Hypervisor
from xsplice_loader.emulation import run_hook
from xsplice_loader.forge import forge
from xsplice_loader.host.layouts import payload_layout
from xsplice_loader.host.structures import Structures
from xsplice_loader.releases import release as release_named

if TYPE_CHECKING:
    from collections.abc import Mapping

    from xsplice_loader.results import LoadResult

ERAS: list[dict[str, Any]] = json.loads((DATA / "struct-payload.json").read_text())
BY_RELEASE = {name: era for era in ERAS for name in era["releases"]}
SIZE = max(era["size"] for era in ERAS)
WITH_ARGUMENT = ["4.14.6", "4.17.2", "4.17.3", "4.17.7", "4.18.1", "4.18.3", "4.18.6", "4.19.0", "4.20.3", "4.22.0"]
"""Releases that pass hooks the structure: all eras, and either side of what else links depend on."""
POISON = 0x0100100100100100, 0x0200200200200200
BUSY = (1 << 32) - 11
HOOKS = ("preapply", "load", "postapply", "prerevert", "unload", "postrevert")


def find_payload(release: str) -> str:
    """Return code that finds the structure of the payload that was uploaded first, through Xen's list."""
    offset = BY_RELEASE[release]["members"]["list.next"][0]
    return "\n".join([f"movabs ${xen(PAYLOADS):#x}, %rdi", "mov (%rdi), %rdi", f"sub ${offset}, %rdi"])


def source(buffers: Mapping[str, str], more: str, *, release: str = "4.17.7", mark: str = "") -> str:
    """Return a payload whose hooks of some kinds copy the structure to buffers; `more` follows.

    `mark` ends the names that all of these payloads have, since a host takes each name once.
    """
    hooks = ""
    size = BY_RELEASE[release]["size"]
    for kind, name in buffers.items():
        argument = find_payload(release) if kind in ("load", "unload") else f"mov %rdi, saved{mark}(%rip)"
        hooks += f"""
            .text
            on_{name}:
            {argument}
            lea seen_{name}(%rip), %rsi
            jmp copy{mark}
            .livepatch_hook {kind}, on_{name}
            .bss
            seen_{name}: .zero {SIZE}
        """
    return f"""
        .text
        .type copy{mark}, @function
        copy{mark}:
        xchg %rdi, %rsi
        mov ${size}, %ecx
        rep movsb
        mov result{mark}(%rip), %eax
        ret
        .size copy{mark}, . - copy{mark}
        {hooks}
        .bss
        .balign 8
        saved{mark}: .zero 8
        .section .rodata, "a", @progbits
        .balign 8
        result{mark}: .long 0
        {more}
        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id sha1
    """


FUNCTIONS = """
        .text
        .globl replacement, other
        .type replacement, @function
        replacement: ret
        .size replacement, 1
        .type other, @function
        other: ud2
        ret
        .size other, . - other
        fixed: ret
        .livepatch_func "xen_extra_version", replacement, 12
        .livepatch_func "strlen", other, 16
        .modinfo "name=structures"
        .xen_exception other, fixed
        .text
        .xen_warn "file.c", 42
"""


@cache
def hypervisor() -> Hypervisor:
    return Hypervisor.open(KNOWN[1].path)


class Loaded(NamedTuple):
    """A payload on a host, and what its file says."""

    host: Host
    name: str
    release: str
    result: LoadResult
    elf: ELFFile
    symbols: Mapping[str, int]

    @property
    def members(self) -> dict[str, tuple[int, int]]:
        found: dict[str, tuple[int, int]] = BY_RELEASE[self.release]["members"]
        return found

    def memory(self, address: int, size: int) -> bytes:
        """Return bytes of a mapping, as a hook left them: those that depend on addresses of the heap too."""
        (mapping,) = (found for found in self.host.state.memory.mappings if found.start <= address < found.end)
        return bytes(mapping.contents[address - mapping.start :][:size])

    def number(self, address: int) -> int:
        return int.from_bytes(self.memory(address, 8), "little")

    @property
    def own(self) -> int:
        """The address of its structure, as a hook was passed it."""
        return self.number(self.symbols["saved"])

    def seen(self, name: str) -> dict[str, int | bytes]:
        """Return the members as a hook found them."""
        return self.fields(self.memory(self.symbols[f"seen_{name}"], SIZE))

    def fields(self, contents: bytes) -> dict[str, int | bytes]:
        parts = {name: contents[start : start + size] for name, (start, size) in self.members.items()}
        covered = {place for start, size in self.members.values() for place in range(start, start + size)}
        size = BY_RELEASE[self.release]["size"]
        assert not any(contents[place] for place in range(size) if place not in covered)
        return {
            name: part.rstrip(b"\0") if name == "name" else int.from_bytes(part, "little")
            for name, part in parts.items()
        }

    def place(self, section: str) -> tuple[int, int]:
        found = {placed.name: (placed.address, placed.size) for placed in self.result.sections}
        return found.get(section, (0, 0))

    def link(self, member: str, base: int | None = None) -> int:
        """Return the address of a link of a structure; by default of its own."""
        return (self.own if base is None else base) + self.members[f"{member}.next"][0]


def load(host: Host, name: str, release: str, text: str) -> Loaded:
    data = forge(text, xen_build_id=host.hypervisor.build_id)
    result = host.upload(name, data)
    assert result.accepted, result.findings
    elf = ELFFile(BytesIO(data))
    loaded = host.state.payload_named(name)
    assert loaded is not None
    return Loaded(host, name, release, result, elf, {symbol.name.decode(): symbol.value for symbol in loaded.symbols})


def host_of(release: str) -> Host:
    return Host(hypervisor(), release=release, hook_runner=run_hook)


def xen(name: str) -> int:
    address = hypervisor().symbols.address_of(name.encode())
    assert address is not None
    return address


PAYLOADS, APPLIED = "common/livepatch.c#payload_list", "common/livepatch.c#applied_list"
REGIONS, CORE = "common/virtual_region.c#virtual_region_list", "common/virtual_region.c#core"


def kept_symbols(elf: ELFFile) -> list[Symbol]:
    """Return the symbols of a payload's file that Xen keeps."""
    symbols = elf.get_section_by_name(".symtab")
    assert isinstance(symbols, SymbolTableSection)
    return [
        symbol
        for symbol in symbols.iter_symbols()
        if symbol.name and symbol["st_shndx"] not in ("SHN_UNDEF", "SHN_ABS") and not symbol.name.startswith(".L")
    ]


def constant_members(loaded: Loaded) -> dict[str, int | bytes]:
    """Return what does not change while a payload is loaded."""
    regions = loaded.result.regions
    assert regions is not None
    text, _, ro = regions
    counts_frames = loaded.release not in ("4.19.0", "4.20.3", "4.22.0")
    kept = kept_symbols(loaded.elf)
    expected: dict[str, int | bytes] = {
        "list.next": xen(PAYLOADS),
        "list.prev": xen(PAYLOADS),
        "pages": loaded.result.pages,
        "safe_to_reapply": 0,
        "funcs": loaded.place(".livepatch.funcs")[0],
        "nfuncs": loaded.place(".livepatch.funcs")[1] // 104,
        "nsyms": len(kept),
        "region.text_start": text.address,
        "region.text_end": text.address + text.size,
        "region.rodata_start": ro.address,
        "region.rodata_end": ro.address + ro.size,
        "region.symbols_lookup": xen("common/livepatch.c#livepatch_symbols_lookup"),
        "region.ex": loaded.place(".ex_table")[0],
        "region.ex_end": sum(loaded.place(".ex_table")),
        "name": loaded.name.encode(),
        "metadata.data": loaded.place(".modinfo")[0],
        "metadata.len": loaded.place(".modinfo")[1],
        "load_funcs": loaded.place(".livepatch.hooks.load")[0],
        "n_load_funcs": loaded.place(".livepatch.hooks.load")[1] // 8,
        "unload_funcs": loaded.place(".livepatch.hooks.unload")[0],
        "n_unload_funcs": loaded.place(".livepatch.hooks.unload")[1] // 8,
    }
    for region in regions:
        expected |= {f"{region.name}_addr": region.address, f"{region.name}_size": region.size}
    for kind in range(4):
        start, size = loaded.place(f".bug_frames.{kind}")
        expected[f"region.frame[{kind}].first"] = start
        expected[f"region.frame[{kind}].second"] = size // 8 if counts_frames else start + size
    for note, section in (
        ("id", ".note.gnu.build-id"),
        ("dep", ".livepatch.depends"),
        ("xen_dep", ".livepatch.xen_depends"),
    ):
        # Header and owner of a note take 16 bytes.
        expected |= {f"{note}.p": loaded.place(section)[0] + 16, f"{note}.len": 20}
    for action in ("apply", "revert"):
        for moment, hook in (("pre", f"pre{action}"), ("action", action), ("post", f"post{action}")):
            expected[f"hooks.{action}.{moment}"] = loaded.place(f".livepatch.hooks.{hook}")[0]
    return {name: value for name, value in expected.items() if name in loaded.members}


HEAP = ("fstate", "symtab", "strtab")


def check_moment(loaded: Loaded, name: str, state: int, rc: int, *, reverted: int, applied: bool) -> None:
    """Compare all that a hook found with what has to be there."""
    registered_by_upload = loaded.release in ("4.17.7", "4.18.1", "4.18.3", "4.18.6", "4.19.0", "4.20.3", "4.22.0")
    expected = constant_members(loaded) | {"state": state, "rc": rc, "reverted": reverted}
    node = loaded.link("applied_list")
    if applied:
        pair = (xen(APPLIED), xen(APPLIED))
    elif not reverted:
        pair = (node, node)
    else:
        pair = POISON if registered_by_upload else (xen(APPLIED), POISON[1])
    expected |= {"applied_list.next": pair[0], "applied_list.prev": pair[1]}
    if registered_by_upload or applied:
        pair = (xen(REGIONS), xen(CORE))
    else:
        pair = (xen(REGIONS), POISON[1]) if reverted else (0, 0)
    expected |= {"region.list.next": pair[0], "region.list.prev": pair[1]}
    found = loaded.seen(name)
    assert {member: value for member, value in found.items() if member not in HEAP} == expected
    for pointer in HEAP:
        if pointer in loaded.members:
            address = found[pointer]
            assert isinstance(address, int)
            assert address % 16 == 0
            assert address == 0 or 0xFFFF830000000000 <= address < 0xFFFF880000000000


def test_layouts_of_all_releases() -> None:
    assert len(BY_RELEASE) == 93
    for name, era in BY_RELEASE.items():
        layout = payload_layout(release_named(name))
        assert {member: [*field] for member, field in layout.members.items()} == era["members"], name
        assert layout.size == era["size"]


@pytest.mark.parametrize("release", WITH_ARGUMENT)
def test_every_member_at_every_moment(release: str) -> None:
    loaded = load(
        host_of(release), "structures", release, source({kind: kind for kind in HOOKS}, FUNCTIONS, release=release)
    )
    assert loaded.host.apply("structures").succeeded
    check_moment(loaded, "preapply", 1, 0, reverted=0, applied=False)
    check_moment(loaded, "load", 1, BUSY, reverted=0, applied=False)
    check_moment(loaded, "postapply", 2, 0, reverted=0, applied=True)
    assert loaded.host.revert("structures").succeeded
    check_moment(loaded, "prerevert", 2, 0, reverted=0, applied=True)
    check_moment(loaded, "unload", 2, BUSY, reverted=0, applied=True)
    check_moment(loaded, "postrevert", 1, 0, reverted=1, applied=False)


@pytest.mark.parametrize("release", WITH_ARGUMENT)
def test_hooks_in_the_place_of_an_action(release: str) -> None:
    loaded = load(
        host_of(release), "structures", release, source({"apply": "apply", "revert": "revert"}, "", release=release)
    )
    assert loaded.host.apply("structures").succeeded
    check_moment(loaded, "apply", 1, BUSY, reverted=0, applied=False)
    assert loaded.host.revert("structures").succeeded
    check_moment(loaded, "revert", 2, BUSY, reverted=0, applied=True)


FAILING = """
        .text
        fail: mov $-5, %eax
        ret
        .livepatch_hook apply, fail
"""


@pytest.mark.parametrize("release", ["4.14.6", "4.17.7", "4.20.3"])
def test_a_post_hook_of_an_action_that_failed(release: str) -> None:
    loaded = load(host_of(release), "structures", release, source({"postapply": "postapply"}, FAILING, release=release))
    assert (loaded.host.apply("structures").rc, loaded.host.list()[0].rc) == (0, -5)
    check_moment(loaded, "postapply", 1, (1 << 32) - 5, reverted=0, applied=False)


@pytest.mark.parametrize("release", ["4.14.6", "4.17.2", "4.17.3", "4.20.3"])
def test_function_flags_at_every_moment(release: str) -> None:
    # Byte 64 of an entry, or the second word of 40 bytes in Xen's own array.
    if release in ("4.14.6", "4.17.2"):
        flags = "mov 104(%rdi), %rdi; movzbl 64(%rdi), %eax; movzbl 168(%rdi), %edx"
    else:
        flags = "mov 112(%rdi), %rdi; mov 4(%rdi), %eax; mov 44(%rdi), %edx"
    hooks = ""
    for kind in HOOKS:
        passed = "; ".join(find_payload(release).split("\n")) if kind in ("load", "unload") else "mov %rdi, saved(%rip)"
        code = f"{passed}; {flags}; mov %eax, seen_{kind}(%rip); mov %edx, 4+seen_{kind}(%rip); xor %eax, %eax; ret"
        hooks += "\n".join(
            [".text", f"on_{kind}:", *code.split("; "), f".livepatch_hook {kind}, on_{kind}", ".bss", ".balign 8"]
        )
        hooks += f"\nseen_{kind}: .zero 8\n"
    loaded = load(host_of(release), "flags", release, source({}, FUNCTIONS + hooks))
    assert loaded.host.apply("flags").succeeded
    assert loaded.host.revert("flags").succeeded
    both = 1 << 32 | 1
    seen = {kind: loaded.number(loaded.symbols[f"seen_{kind}"]) for kind in HOOKS}
    assert seen == {"preapply": 0, "load": 0, "postapply": both, "prerevert": both, "unload": 0, "postrevert": 0}


@pytest.mark.parametrize("release", ["4.7.6", "4.8.5", "4.13.5"])
def test_releases_that_pass_hooks_nothing(release: str) -> None:
    host = Host(Hypervisor.model(), release=release)
    text = """
        .text
        .globl replacement
        .type replacement, @function
        replacement: ret
        .size replacement, 1
        .livepatch_func "xen_extra_version", replacement, 16, 0, 1, 1
        .livepatch_depends xen
        .build_id sha1
    """
    loaded = load(host, "old", release, text)
    structures = Structures(host.state.release)
    structures.lay_out(host.state)
    (payload,) = host.state.payloads
    address = structures.payload(payload)
    found = loaded.fields(loaded.memory(address, BY_RELEASE[release]["size"]))
    regions = loaded.result.regions
    assert regions is not None
    assert set(found) == set(loaded.members)
    assert (found["state"], found["rc"], found["name"]) == (1, 0, b"old")
    assert found["text_addr"] == found["region.text_start"] == regions[0].address
    assert (found["funcs"], found["nfuncs"]) == (loaded.place(".livepatch.funcs")[0], 1)
    assert (found["id.p"], found["id.len"]) == (loaded.place(".note.gnu.build-id")[0] + 16, 20)
    assert found["applied_list.next"] == address + loaded.members["applied_list.next"][0]
    assert found["region.list.next"] == found["region.list.prev"] == 0


@pytest.mark.parametrize("release", ["4.14.6", "4.17.7", "4.20.3"])
def test_symbols_and_names(release: str) -> None:
    loaded = load(host_of(release), "structures", release, source({"preapply": "preapply"}, FUNCTIONS, release=release))
    loaded.host.apply("structures")
    found = loaded.seen("preapply")
    table, names = found["symtab"], found["strtab"]
    assert isinstance(table, int)
    assert isinstance(names, int)
    functions = {"replacement", "other"}
    placed = {section.index: section.address for section in loaded.result.sections}
    kept = kept_symbols(loaded.elf)
    assert {"replacement", "other", "copy", "saved", "result"} < {symbol.name for symbol in kept}
    for index, symbol in enumerate(kept):
        entry = loaded.memory(table + 24 * index, 24)
        pointer, held, size = (int.from_bytes(entry[low:high], "little") for low, high in ((0, 8), (8, 16), (16, 20)))
        assert loaded.host.state.memory.read_string(pointer) == symbol.name.encode()
        assert (held, size) == (placed[symbol["st_shndx"]] + symbol["st_value"], symbol["st_size"])
        assert entry[20:] == bytes([symbol.name not in functions]) + bytes(3)
        assert (pointer == names) is (index == 0)


def test_two_payloads_are_neighbours() -> None:
    host = host_of("4.17.7")
    first = load(host, "first", "4.17.7", source({"postapply": "one"}, ""))
    text = source({"postapply": "two"}, "", mark="2")
    if first.result.build_id is not None:
        text = text.replace(".livepatch_depends xen", f".livepatch_depends {first.result.build_id.hex()}")
    second = load(host, "second", "4.17.7", text)
    assert host.apply("first").succeeded
    assert host.apply("second").succeeded
    one, two = first.own, second.number(second.symbols["saved2"])
    before, after = first.seen("one"), second.seen("two")
    for member, head in (("list", PAYLOADS), ("region.list", CORE), ("applied_list", APPLIED)):
        assert after[f"{member}.prev"] == first.link(member, one)
        assert after[f"{member}.next"] == xen(REGIONS if head == CORE else head)
    assert before["list.next"] == second.link("list", two)
    assert before["applied_list.next"] == xen(APPLIED)


@pytest.mark.parametrize("release", ["4.8.5", "4.13.5", "4.17.7"])
def test_a_load_hook_finds_its_payload_through_xens_list(release: str) -> None:
    offset = BY_RELEASE[release]["members"]["list.next"][0]
    v1 = release != "4.17.7"
    hook = f"""
        .text
        on_load: movabs ${xen(PAYLOADS):#x}, %rax
        mov (%rax), %rdi
        sub ${offset}, %rdi
        mov %rdi, saved(%rip)
        lea seen_load(%rip), %rsi
        jmp copy
        .livepatch_hook load, on_load
        .bss
        seen_load: .zero {SIZE}
    """
    function = FUNCTIONS.replace('version", replacement, 12', 'version", replacement, 12, 0, 1, 1').replace(
        "other, 16", "other, 16, 0, 3, 1"
    )
    text = source({}, hook + (function if v1 else FUNCTIONS), release=release)
    loaded = load(host_of(release), "structures", release, text)
    assert loaded.host.apply("structures").succeeded
    found = loaded.seen("load")
    assert (found["name"], found["state"], found["rc"]) == (b"structures", 1, BUSY)
    assert found["list.next"] == xen(PAYLOADS)


def test_a_replaced_payload_keeps_its_result_while_it_is_reverted() -> None:
    host = host_of("4.17.7")
    loaded = load(host, "victim", "4.17.7", source({"unload": "unload"}, ""))
    load(host, "other", "4.17.7", source({}, FUNCTIONS, mark="2"))
    assert host.apply("victim").succeeded
    assert host.replace("other").succeeded
    found = loaded.seen("unload")
    assert (found["name"], found["state"], found["rc"]) == (b"victim", 2, 0)


@pytest.mark.parametrize("release", ["4.14.6", "4.17.7", "4.20.3"])
def test_the_revert_hook_of_a_replaced_payload_sees_the_result_of_its_last_action(release: str) -> None:
    host = host_of(release)
    # Its apply hook leaves the result -11 for itself; what the revert hook returns is not there yet.
    loaded = load(host, "victim", release, source({"apply": "apply", "revert": "revert"}, "", release=release))
    load(host, "other", release, source({}, FUNCTIONS, release=release, mark="2"))
    assert host.apply("victim").succeeded
    assert host.replace("other").succeeded
    found = loaded.seen("revert")
    assert (found["name"], found["state"], found["rc"], found["reverted"]) == (b"victim", 2, 0, 0)
    assert [(listed.name, listed.state) for listed in host.list()] == [("victim", "CHECKED"), ("other", "APPLIED")]


@pytest.mark.parametrize("name", ["xen_extra_version", "strlen"])
def test_saved_bytes_of_a_function(name: str) -> None:
    # insn_buffer is at byte 8 of 40 for each function; a jump of 5 bytes is written, and as many are saved.
    index = ["xen_extra_version", "strlen"].index(name)
    hook = f"""
        .text
        on_post: mov 112(%rdi), %rax
        mov {40 * index + 8}(%rax), %rcx
        mov %rcx, seen(%rip)
        mov {40 * index + 8 + 23}(%rax), %rcx
        mov %rcx, 8+seen(%rip)
        ret
        .livepatch_hook postapply, on_post
        .bss
        .balign 8
        seen: .zero 16
    """
    assert BY_RELEASE["4.17.7"]["members"]["fstate"][0] == 112
    loaded = load(host_of("4.17.7"), "saved", "4.17.7", source({}, FUNCTIONS + hook))
    original = hypervisor().at_run_time.read(xen(name), 16)
    assert original is not None
    offset = 4 if original.startswith(bytes.fromhex("f30f1efa")) else 0
    assert loaded.host.apply("saved").succeeded
    assert loaded.memory(loaded.symbols["seen"], 16) == original[offset : offset + 5] + bytes(11)


# What hooks write -------------------------------------------------------------------------------------------------


def hooked(code: str, kind: str, more: str = "", release: str = "4.17.7") -> Host:
    host = host_of(release)
    text = "\n".join([".text", "hook:", *code.split("; "), f".livepatch_hook {kind}, hook"])
    load(host, "hooked", release, source({}, text + more))
    return host


def test_the_result_of_the_last_action() -> None:
    host = hooked("mov 4(%rdi), %eax; dec %eax; ret", "preapply")
    assert [host.apply("hooked").rc for _ in range(3)] == [-1, -2, -3]


def test_a_hook_that_writes_the_result() -> None:
    host = hooked("movl $-13, 4(%rdi); ret", "postapply")
    done = host.apply("hooked")
    assert (done.rc, done.payload_rc, done.is_applied) == (0, -13, True)
    assert done.log[-1] == "livepatch: hooked finished APPLY with rc=-13"


@pytest.mark.parametrize(("value", "rc"), [(0, -22), (1, 0)])
def test_a_hook_that_decides_whether_it_may_be_applied_again(value: int, rc: int) -> None:
    # The payload has variables, so by itself it may not.
    host = hooked(f"movb ${value}, 9(%rdi); ret", "postrevert", "\n.data\n.quad 1\n")
    assert host.apply("hooked").succeeded
    assert host.revert("hooked").succeeded
    assert host.apply("hooked").payload_rc == rc


def test_a_hook_that_takes_back_that_it_was_reverted() -> None:
    host = hooked("movb $0, 8(%rdi); ret", "postrevert", "\n.data\n.quad 1\n")
    assert host.apply("hooked").succeeded
    assert host.revert("hooked").succeeded
    assert host.apply("hooked").succeeded


@pytest.mark.parametrize("offset", [16, 40, 104, 120, 288, 408])
def test_what_the_host_does_not_read_from_memory_leaves_the_outcome_unknown(offset: int) -> None:
    host = hooked(f"incb {offset}(%rdi); xor %eax, %eax; ret", "preapply")
    members = BY_RELEASE["4.17.7"]["members"]
    (name,) = [name for name, (start, _) in members.items() if start == offset]
    done = host.apply("hooked")
    assert (done.rc, done.crash) == (None, None)
    assert done.unknown is not None
    assert f"changes `{name}` of struct payload" in done.unknown


@pytest.mark.parametrize("code", ["mov 552(%rdi), %eax", "mov 0x2000(%rdi), %eax", "movb $1, 552(%rdi)"])
def test_memory_next_to_the_structures_is_not_known(code: str) -> None:
    # struct payload of 4.17.7 has 552 bytes; what follows is up to Xen's allocator.
    done = hooked(f"{code}; xor %eax, %eax; ret", "preapply").apply("hooked")
    assert done.rc is None
    assert done.unknown is not None


@pytest.mark.parametrize("code", ["movl $1, (%rdi); ret", "movl $2, (%rdi); ret"])
@pytest.mark.parametrize("kind", ["preapply", "postapply", "postrevert"])
def test_a_hook_that_writes_the_state_leaves_the_outcome_unknown(kind: str, code: str) -> None:
    # Of struct payload the state comes first, 1 for CHECKED and 2 for APPLIED. Xen keeps a list beside it.
    host = hooked(f"mov $-1, %eax; {code}", kind)
    is_same = ("movl $2" in code) is (kind == "postapply")
    done = host.apply("hooked")
    if kind == "postrevert":
        assert done.succeeded
        done = host.revert("hooked")
    if is_same:
        assert done.unknown is None
        return
    assert (done.rc, done.crash) == (None, None)
    assert "changes `state` of struct payload" in (done.unknown or "")
    # All is as before, so that later actions find what they need.
    is_applied = kind == "postrevert"
    assert [loaded.name for loaded in host.state.applied] == ["hooked"] * is_applied
    assert [listed.state for listed in host.list()] == ["APPLIED" if is_applied else "CHECKED"]
    assert host.unload("hooked").rc == (-22 if is_applied else 0)


def test_nothing_stays_of_structures_without_payloads() -> None:
    host = hooked("xor %eax, %eax; ret", "preapply")
    memory = host.state.memory
    assert host.apply("hooked").succeeded
    assert len(memory.mappings) == 2
    assert not memory.written
    assert host.revert("hooked").succeeded
    assert host.unload("hooked").succeeded
    assert not memory.mappings
