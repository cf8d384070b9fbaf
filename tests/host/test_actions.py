"""What Xen does when a payload is applied, reverted, replaced or unloaded (`spec/04 §6`)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest
from small_payloads import hook, payload

from xsplice_loader import Host, Hypervisor
from xsplice_loader.forge import forge
from xsplice_loader.hypervisor.run_time import RunTimeMemory
from xsplice_loader.memory.address_space import MemoryFault
from xsplice_loader.results import ActionError

if TYPE_CHECKING:
    from xsplice_loader.memory.partly_known import PartlyKnown

ENOENT, EBUSY, EINVAL, EOPNOTSUPP = 2, 16, 22, 95
A, B, C = payload(build_id="a1"), payload(build_id="b2", depends="a1"), payload(build_id="c3", depends="b2")


def host_with(**payloads: bytes) -> Host:
    host = Host(Hypervisor.model())
    for name, data in payloads.items():
        host.upload(name, data).raise_for_verdict()
    return host


def states(host: Host) -> dict[str, tuple[str, int]]:
    return {listed.name: (listed.state, listed.rc) for listed in host.list()}


def test_there_and_back() -> None:
    host = host_with(a=A)
    address = host.payloads[0].entries[0].old_addr
    before = host.state.memory.read(address, 16)
    assert host.apply("a").succeeded
    way = host.payloads[0].entries[0].new_addr - (address + 5)
    assert before is not None
    assert host.state.memory.read(address, 16) == b"\xe9" + way.to_bytes(4, "little") + before[5:]
    assert host.revert("a").succeeded
    assert host.state.memory.read(address, 16) == before
    assert host.unload("a").succeeded
    assert host.list() == []
    assert host.state.memory.mappings == ()


@pytest.mark.parametrize("verb", ["apply", "revert", "replace", "unload"])
def test_a_payload_that_is_not_there(verb: str) -> None:
    result = getattr(Host(Hypervisor.model()), verb)("nobody")
    assert (result.rc, result.payload_rc, result.succeeded) == (-ENOENT, None, False)
    with pytest.raises(ActionError, match="no payload called nobody is loaded") as error:
        result.raise_for_rc()
    assert error.value.errno == ENOENT


def test_actions_without_effect_return_0() -> None:
    """`spec/04 §6`: REVERT of CHECKED, APPLY and REPLACE of APPLIED."""
    host = host_with(a=A)
    assert (host.revert("a").rc, states(host)) == (0, {"a": ("CHECKED", 0)})
    host.apply("a")
    for verb in (host.apply, host.replace):
        result = verb("a")
        assert (result.rc, result.log, states(host)) == (0, (), {"a": ("APPLIED", 0)})


def test_an_applied_payload_is_not_unloaded() -> None:
    host = host_with(a=A)
    host.apply("a")
    assert host.unload("a").rc == -EINVAL
    assert states(host) == {"a": ("APPLIED", 0)}


def test_the_stack_is_a_chain_of_build_ids() -> None:
    host = host_with(a=A, b=B, c=C)
    assert host.apply("b").rc == -EINVAL
    for name in "abc":
        assert host.apply(name).succeeded
    assert host.revert("a").rc == host.revert("b").rc == -EBUSY
    for name in "cba":
        assert host.revert(name).succeeded
    assert host.state.memory.written == {}


def test_no_build_id_is_compared_with_nodeps() -> None:
    host = host_with(c=C, a=A)
    assert host.apply("c", nodeps=True).succeeded
    assert host.apply("a", nodeps=True).succeeded


def test_nodeps_is_unknown_before_4_14() -> None:
    host = Host(Hypervisor.model(), release="4.13.0")
    host.upload("c", payload(build_id="c3", depends="b2", version=1)).raise_for_verdict()
    assert host.apply("c", nodeps=True).rc == -EINVAL


def test_replace_takes_the_place_of_all() -> None:
    host = host_with(a=A, b=B, r=payload(build_id="ee"))
    host.apply("a")
    host.apply("b")
    assert host.replace("r").succeeded
    assert states(host) == {"a": ("CHECKED", 0), "b": ("CHECKED", 0), "r": ("APPLIED", 0)}
    host.revert("r")
    assert host.state.memory.written == {}


def test_replace_depends_on_the_hypervisor() -> None:
    host = host_with(a=A, b=B)
    host.apply("a")
    assert host.replace("b").rc == -EINVAL
    assert states(host) == {"a": ("APPLIED", 0), "b": ("CHECKED", 0)}


@pytest.mark.parametrize("kind", ["preapply", "postapply", "prerevert", "postrevert"])
def test_replace_with_hooks_that_might_veto(kind: str) -> None:
    host = host_with(r=payload(hook(kind), build_id="ee"))
    assert host.replace("r").rc == -EOPNOTSUPP
    other = host_with(a=payload(hook(kind)), r=payload(build_id="ee"))
    other.apply("a")
    assert other.replace("r").rc == -EOPNOTSUPP
    assert states(other) == {"a": ("APPLIED", 0), "r": ("CHECKED", 0)}


@pytest.mark.parametrize(
    ("release", "data", "bss", "again"),
    [
        ("4.17.7", "", "", True),
        ("4.17.7", ".data\n.long 1\n", "", False),
        ("4.17.7", "", ".bss\n.zero 8\n", False),
        ("4.17.7", ".data\n", ".bss\n", True),
    ],
)
def test_variables_forbid_a_second_apply(release: str, data: str, bss: str, again: bool) -> None:
    """`spec/04 §6` APPLY (a): the hypercall returns 0, the payload's status says -EINVAL."""
    host = Host(Hypervisor.model(), release=release)
    host.upload("a", payload(data + bss)).raise_for_verdict()
    host.apply("a")
    host.revert("a")
    result = host.apply("a")
    assert (result.rc, result.payload_rc, result.succeeded) == (0, 0 if again else -EINVAL, again)
    if not again:
        assert host.replace("a").succeeded


def test_a_hook_without_a_runner_is_listed_and_taken_to_return_0() -> None:
    host = host_with(a=payload(hook("preapply") + hook("load")))
    result = host.apply("a")
    assert result.succeeded
    assert [finding.section for finding in result.findings] == [".livepatch.hooks.preapply", ".livepatch.hooks.load"]
    assert {finding.severity for finding in result.findings} == {"note"}


def test_an_action_hook_without_a_runner_patches_nothing() -> None:
    host = host_with(a=payload(hook("apply")))
    assert host.apply("a").succeeded
    assert host.state.memory.written == {}
    result = host.revert("a")
    assert result.succeeded
    assert [finding.severity for finding in result.findings] == ["warning"]
    assert host.state.memory.written == {}


@pytest.mark.parametrize(
    ("section", "contents"),
    [
        (".livepatch.hooks.load", ".quad 0"),
        (".livepatch.hooks.preapply", ".quad message"),
        (".livepatch.hooks.apply", ".quad 0xffff82d040000000"),
    ],
)
def test_a_hook_that_is_no_code_kills_the_machine(section: str, contents: str) -> None:
    body = f'.section {section}, "aw", @progbits\n{contents}\n.section .rodata, "a", @progbits\nmessage: .quad 0\n'
    host = host_with(a=payload(body))
    result = host.apply("a")
    assert (result.rc, result.crash) == (None, "XSP233")
    assert states(host) == {"a": ("CHECKED", 0)}
    assert host.state.memory.written == {}


def test_a_dead_machine_leaves_no_trace() -> None:
    """The second function cannot be patched; the first one is as it was."""
    body = '.livepatch_func "no_such", .Lnew, 16, 0xffff82d07ff00000\n'
    host = Host(Hypervisor.model(), release="4.14.0")
    host.upload("a", payload(body)).raise_for_verdict()
    image = host.payloads[0].mapping.contents.copy()
    result = host.apply("a")
    assert result.crash == "XSP231"
    assert host.state.memory.written == {}
    assert (host.payloads[0].mapping.contents == image).all()
    assert states(host) == {"a": ("CHECKED", 0)}


def test_what_is_unloaded_though_it_is_needed() -> None:
    helper = ".globl helper\n.text\nhelper:\nret\n"
    host = host_with(
        a=payload(helper, build_id="a1"), b=payload(".text\ncall helper\n", build_id="b2", label=".Lother")
    )
    result = host.unload("a")
    assert result.succeeded
    assert [(finding.rule, finding.severity) for finding in result.findings] == [("XSP243", "warning")]


def test_the_same_function_twice_is_not_restored() -> None:
    """`spec/07` 9: restored in the order of the table, the first jump's bytes stay."""
    host = host_with(a=payload('.livepatch_func "xen_extra_version", .Lnew, 16\n'))
    host.apply("a")
    jump = dict(host.state.memory.written)
    result = host.revert("a")
    assert result.succeeded
    assert host.state.memory.written == jump
    assert [finding.rule for finding in result.findings] == ["XSP242"]
    assert [finding.rule for finding in host.unload("a").findings] == ["XSP244"]


@pytest.mark.parametrize(
    ("release", "version"),
    [("4.7.0", 1), ("4.8.0", 1), ("4.13.0", 1), ("4.14.0", 2), ("4.14.5", 2), ("4.16.4", 2), ("4.17.0", 2)],
)
def test_where_the_payload_keeps_what_was_there(release: str, version: int) -> None:
    """`spec/04 §1.1`: opaque at 33, applied at 64, patch_offset at 65, as far as the release has them."""
    host = Host(Hypervisor.model(), release=release)
    host.upload("a", payload(version=version)).raise_for_verdict()
    address = host.payloads[0].entries[0].old_addr
    old = host.state.memory.read(address, 5) or b""
    table = host.payloads[0].table.address
    assert host.apply("a").succeeded
    entry = host.state.memory.read(table, 104 if version == 2 else 64) or b""
    assert entry[33 : 33 + 31] == old + bytes(26)
    if version == 2:
        assert entry[64:66] == b"\1\0"
    assert host.revert("a").succeeded
    assert host.state.memory.written == {}


def test_a_table_in_read_only_memory_kills_the_machine_where_only_text_is_relaxed() -> None:
    """`spec/04 §1.2`: why the states moved to memory of Xen's own."""
    data = _with_read_only_table(payload())
    for release, crash in (("4.17.0", None), ("4.17.1", "XSP231"), ("4.17.4", None)):
        host = Host(Hypervisor.model(), release=release)
        host.upload("a", data).raise_for_verdict()
        assert host.apply("a").crash == crash


def test_nothing_is_marked_before_4_14() -> None:
    host = Host(Hypervisor.model(), release="4.13.0")
    host.upload(
        "a", payload('.livepatch_func "xen_extra_version", .Lnew, 16, 0, 3, 1\n', version=1)
    ).raise_for_verdict()
    result = host.apply("a")
    assert result.succeeded
    assert not [line for line in result.log if "applied before" in (line or "")]


@pytest.mark.parametrize(
    ("release", "mark", "skipped"), [("4.14.6", 1, True), ("4.14.6", 2, False), ("4.20.3", 1, False)]
)
def test_a_mark_in_the_file(release: str, mark: int, skipped: bool) -> None:
    """`spec/04 §1.1`: the value 1 makes Xen believe that the function is patched; later releases do not look."""
    plain = payload()
    start = plain.index(b"\x02" + bytes(71))
    marked = plain[: start + 32] + bytes([mark]) + plain[start + 33 :]
    host = Host(Hypervisor.model(), release=release)
    host.upload("a", marked).raise_for_verdict()
    result = host.apply("a")
    assert result.succeeded
    assert (host.state.memory.written == {}) is skipped
    line = "livepatch: common_livepatch_apply: xen_extra_version has been already applied before"
    assert (line in result.log) is skipped


def test_before_4_8_a_dirty_payload_is_applied_again() -> None:
    host = Host(Hypervisor.model(), release="4.7.0")
    host.upload("a", payload(".data\n.long 1\n", version=1)).raise_for_verdict()
    for _ in range(2):
        assert host.apply("a").succeeded
        assert host.revert("a").succeeded


@pytest.mark.parametrize("release", ["4.7.0", "4.8.0", "4.11.0", "4.12.4"])
def test_builds_that_print_no_refusals_log_actions(release: str) -> None:
    host = Host(Hypervisor.model(), release=release)
    host.upload("a", payload(version=1)).raise_for_verdict()
    assert host.apply("a").log == ("livepatch: a: Applying 1 functions", "livepatch: a finished APPLY with rc=0")
    assert host.revert("a").log == ("livepatch: a: Reverting", "livepatch: a finished REVERT with rc=0")
    assert host.upload("b", payload(".text\ncall nothing_known\n", version=1)).log == ()


def _with_read_only_table(data: bytes) -> bytes:
    """Return a payload whose function table is not writable."""
    file = bytearray(data)
    (section_headers,) = struct.unpack_from("<Q", data, 0x28)
    size, count, names = struct.unpack_from("<HHH", data, 0x3A)
    (name_offset,) = struct.unpack_from("<Q", data, section_headers + names * size + 0x18)
    for index in range(count):
        header = section_headers + index * size
        name, _kind, flags = struct.unpack_from("<IIQ", data, header)
        if data[name_offset + name :].startswith(b".livepatch.funcs\0"):
            struct.pack_into("<Q", file, header + 8, flags & ~1)
    return bytes(file)


LOST = '.section {section}, "", @note\n.balign 4\n.long 4, 1, 3\n.asciz "GNU"\n.byte 0x{byte}\n'


def lost(section: str, *, build_id: str = "a1", depends: str | None = None) -> bytes:
    """Return a payload one of whose ids is not loaded."""
    kept = {
        ".note.gnu.build-id": f".build_id {build_id}\n",
        ".livepatch.depends": f".livepatch_depends {depends or 'xen'}\n",
    }
    kept[section] = LOST.format(section=section, byte=build_id if "build-id" in section else depends)
    body = '.text\n.Lnew: ret\n.livepatch_func "xen_extra_version", .Lnew, 16, 0, 1\n'
    return forge(body + "".join(kept.values()) + ".livepatch_xen_depends xen\n")


def test_ids_that_were_left_in_the_upload_are_not_followed() -> None:
    """Seen on 4.20: the upload is well, what compares the id of the same length, or prints it, is not."""
    host = Host(Hypervisor.model(), release="4.20.3")
    host.upload("a", lost(".note.gnu.build-id")).raise_for_verdict()
    with pytest.raises(MemoryFault):
        host.dump()
    assert host.apply("a").succeeded
    host.upload("b", payload(build_id="b2", depends="a1")).raise_for_verdict()
    assert host.apply("b").crash == "XSP235"
    host.upload("c", payload(build_id="c3c3", depends="a1a1")).raise_for_verdict()
    assert host.apply("c").rc == -EINVAL


@pytest.mark.parametrize("release", ["4.16.4", "4.17.1"])
def test_a_hook_that_nobody_ran_cannot_mark_read_only_functions(release: str) -> None:
    host = Host(Hypervisor.model(), release=release)
    host.upload("a", _with_read_only_table(payload(hook("apply")))).raise_for_verdict()
    result = host.apply("a")
    assert (result.crash, states(host)) == ("XSP231", {"a": ("CHECKED", 0)})


def test_a_revert_hook_that_nobody_ran_leaves_the_jump_and_says_so() -> None:
    host = host_with(a=payload(hook("revert")))
    host.apply("a")
    result = host.revert("a")
    assert result.succeeded
    assert "XSP242" in [finding.rule for finding in result.findings]


def test_an_old_failure_is_none_of_a_later_action_that_has_nothing_to_do() -> None:
    host = host_with(a=payload(".data\n.long 1\n"))
    for verb in (host.apply, host.revert):
        verb("a").raise_for_rc()
    assert not host.apply("a").succeeded
    again = host.revert("a")
    assert (again.payload_rc, again.had_nothing_to_do, again.succeeded) == (-EINVAL, True, True)
    again.raise_for_rc()


def reads_of(functions: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """Return how often Xen's image is read while so many functions are patched and restored."""
    lines = (f'.livepatch_func "f", 0, 31, {0xFFFF82D040201000 + 4 * n:#x}, 4' for n in range(functions))
    host = host_with(a=payload("\n".join(lines) + "\n"))
    read, read_partly = RunTimeMemory.read, RunTimeMemory.read_partly
    reads = []

    def counted(memory: RunTimeMemory, address: int, size: int) -> bytes | None:
        reads.append(address)
        return read(memory, address, size)

    def counted_partly(memory: RunTimeMemory, address: int, size: int) -> PartlyKnown:
        reads.append(address)
        return read_partly(memory, address, size)

    monkeypatch.setattr(RunTimeMemory, "read", counted)
    monkeypatch.setattr(RunTimeMemory, "read_partly", counted_partly)
    assert host.apply("a").succeeded
    assert host.revert("a").succeeded
    monkeypatch.undo()
    assert len(reads) >= functions
    return len(reads)


def test_work_grows_with_the_number_of_functions_and_no_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    assert reads_of(400, monkeypatch) < 2.2 * reads_of(200, monkeypatch)


@pytest.mark.parametrize("release", ["4.14.6", "4.17.7", "4.20.3"])
@pytest.mark.parametrize(("kind", "deadly"), [("load", "apply"), ("unload", "revert"), ("preapply", None)])
def test_hooks_that_were_not_loaded(release: str, kind: str, deadly: str | None) -> None:
    """Seen on 4.17.7: a table of several is walked through a NULL pointer, a single one (before 4.18.4) is absent."""
    host = Host(Hypervisor.model(), release=release)
    host.upload("a", payload(f'.section .livepatch.hooks.{kind}, "", @progbits\n.quad 0\n')).raise_for_verdict()
    if deadly is None and release == "4.20.3":
        deadly = "apply"
    for verb in (host.apply, host.revert):
        result = verb("a")
        assert (result.crash is not None) is (result.verb == deadly)
        if result.crash:
            return
