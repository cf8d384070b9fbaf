"""What Xen itself does while code of its own runs: it handles exceptions, and it prints.

An exception in Xen's own code ends the machine unless Xen was prepared for it: by a bug frame for an invalid opcode, or
by an entry of an exception table that says where to go on (xen/arch/x86/traps.c: do_invalid_op,
xen/arch/x86/extable.c). Of a payload these count only while Xen takes its text for its own.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, NamedTuple

from xsplice_loader.emulation.lent_memory import AccessError
from xsplice_loader.emulation.machine import ARGUMENT_REGISTERS, Trap
from xsplice_loader.emulation.outcomes import Ending
from xsplice_loader.emulation.printing import Console, Sources, UnsupportedFormatError, formatted
from xsplice_loader.emulation.stack import USABLE
from xsplice_loader.emulation.thunks import THUNK_SIZE, thunks
from xsplice_loader.host.heap import is_placeholder
from xsplice_loader.livepatch import bug_frames
from xsplice_loader.livepatch.bug_frames import BugFrame, BugTable
from xsplice_loader.memory.address_space import ADDRESS_MASK, UPPER_HALF, MemoryFault
from xsplice_loader.payload import text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from xsplice_loader.emulation.machine import Machine
    from xsplice_loader.emulation.names import Names
    from xsplice_loader.emulation.stack import Stack
    from xsplice_loader.host_state import HostState, LoadedPayload

MAX_LINES = 1000
"""Lines that one run may print."""
XEN_AREAS = frozenset({"xen", "payload arena"})
"""Areas of which all that a real machine has mapped is mapped here as well."""
_VERBS = {"read": "reads", "write": "writes to", "fetch": "jumps to"}
_LOWER_HALF_END = 1 << 47
_ENTRY_SIZE = 8
_FILE_NAME_LIMIT = 50
"""Bytes of a file's name that Xen prints; of a longer one it shows the end, behind an ellipsis."""
_ELLIPSIS = b"..."
_TEXT_LIMIT = 4096
_INTERRUPT_FLAG = 1 << 9
"""Of RFLAGS."""


class _Range(NamedTuple):
    start: int
    end: int


class _Region(NamedTuple):
    """Code that Xen knows as its own, and the tables that go with it."""

    text: _Range
    bug_tables: tuple[tuple[int, _Range], ...]
    """The kind of its frames, and where each table stands."""
    exceptions: _Range | None


class System:
    """Xen around one run."""

    def __init__(self, host: HostState, names: Names, stack: Stack) -> None:
        self._host = host
        self._names = names
        self._stack = stack
        self._console = Console()
        self._regions = [_region_of_xen(host)] + [
            _region_of_payload(loaded) for loaded in host.payloads if host.is_active(loaded)
        ]

    @property
    def console(self) -> tuple[str, ...]:
        """The lines that were printed."""
        self._console.flush()
        return tuple(self._console.lines)

    @property
    def services(self) -> dict[int, Callable[[Machine], Ending | None]]:
        """What is done instead of executing certain functions, by their addresses."""
        address_of = self._host.hypervisor.symbols.address_of
        services = {b"printk": self._printk, b"panic": self._panic}
        found = {address: service for name, service in services.items() if (address := address_of(name)) is not None}
        # A thunk that a payload patched is what that made of it.
        written = self._host.memory.written_at
        return found | {place: thunk for place, thunk in thunks(address_of).items() if not written(place, THUNK_SIZE)}

    def __call__(self, machine: Machine, trap: Trap) -> Ending | None:
        """Handle an exception."""
        where = self._names.described(trap.instruction)
        try:
            if trap.kind == "invalid opcode":
                frame = self._bug_frame(machine, trap.instruction)
                if frame is not None:
                    return self._bug(machine, frame)
            if trap.kind == "page fault":
                missing = self._not_modelled(trap)
                if missing is not None:
                    return Ending("stopped", f"{missing} (at {where})")
            fix_up = self._fix_up(machine, trap.instruction)
        except AccessError as error:
            return Ending(
                "stopped",
                f"causes an exception at {where}, and what Xen does about it is not known: it depends on the bytes at "
                f"{error.address:#018x}",
            )
        if fix_up is not None:
            machine.resume_at(fix_up)
            return None
        if trap.kind == "other":
            return Ending("stopped", f"causes exception {trap.number} at {where}")
        return Ending("crash", self._fatal(machine, trap, where))

    # Printing -----------------------------------------------------------------------------------------------------

    def _printk(self, machine: Machine) -> Ending | None:
        try:
            text = self._formatted(machine)
        except UnsupportedFormatError as error:
            return Ending("stopped", str(error))
        ending = self._print(text)
        if ending is None:
            machine.return_from_service()
        return ending

    def _print(self, text: bytes) -> Ending | None:
        self._console.write(text)
        too_much = len(self._console.lines) > MAX_LINES
        return Ending("stopped", f"prints more than {MAX_LINES} lines") if too_much else None

    def _panic(self, machine: Machine) -> Ending | None:
        try:
            text = text_of(self._formatted(machine)).strip()
        except UnsupportedFormatError as error:
            return Ending("crash", f"ends in a panic that {error}")
        return Ending("crash", f"ends in a panic: {text}")

    def _formatted(self, machine: Machine) -> bytes:
        template = machine.memory.read_string(machine.register(ARGUMENT_REGISTERS[0]), 4096)
        return formatted(
            template, Sources(_arguments(machine), machine.memory.read_string, machine.memory.read, self._symbolic)
        )

    def _symbolic(self, address: int, shows_offset: bool) -> str:
        region = self._region_of(address)
        place = self._names.place_of(address)
        if region is None or place.name is None:
            return f"{address:016x}"
        offset = address - place.start
        shown = f"+{offset and f'{offset:#x}'}/{place.size:#x}" if offset or shows_offset else ""
        return text_of(place.name) + shown + ("" if place.payload is None else f" [{place.payload}]")

    def _invalid_opcode_panic(self, machine: Machine) -> str:
        """Return what Xen panics with after an invalid opcode (xen/arch/x86/traps.c: fatal_trap)."""
        text = self._host.release.invalid_opcode_panic
        has_interrupts = machine.register("RFLAGS") & _INTERRUPT_FLAG
        return text + ("" if has_interrupts or not self._host.release.panic_names_context else " IN INTERRUPT CONTEXT")

    # Bug frames ---------------------------------------------------------------------------------------------------

    def _bug_frame(self, machine: Machine, address: int) -> BugFrame | None:
        """Return the frame that Xen finds for an instruction and takes for its own."""
        region = self._region_of(address)
        instruction = self._host.release.bug_instruction
        if region is None or machine.memory.read(address, len(instruction)) != instruction:
            return None
        for kind, place in region.bug_tables:
            contents = machine.memory.read(place.start, place.end - place.start)
            frame = BugTable(kind, place.start, contents, self._following(machine, place.end)).frame_of(address)
            if frame is not None:
                runs = frame.kind == bug_frames.RUN_FUNCTION
                return frame if runs or self._may_hold_text(frame.file) else None
        return None

    @staticmethod
    def _following(machine: Machine, end: int) -> bytes:
        try:
            return machine.memory.read(end, _ENTRY_SIZE)
        except AccessError:
            return b""

    def _may_hold_text(self, address: int) -> bool:
        """Tell whether a bug frame's text may be there: in Xen's image, or in a payload that counts as Xen's."""
        hypervisor = self._host.hypervisor
        return hypervisor.image_start <= address < hypervisor.image_end or any(
            region.address <= address < region.address + region.size
            for loaded in self._host.payloads
            if self._host.is_active(loaded)
            for region in loaded.placement.regions
        )

    def _bug(self, machine: Machine, frame: BugFrame) -> Ending | None:
        if frame.kind == bug_frames.RUN_FUNCTION:
            return Ending(
                "stopped", f"comes, at {frame.address:#018x}, to a trap that has Xen's exception handler run a function"
            )
        where = f"{_file_name(machine, frame.file)}:{frame.line}"
        if frame.kind == bug_frames.WARN:
            machine.resume_at(frame.address + len(self._host.release.bug_instruction))
            return self._print(f"Xen WARN at {where}\n".encode())
        if frame.kind == bug_frames.BUG:
            line = f"Xen BUG at {where}"
        else:
            message = frame.message or 0
            asserted = "<unknown>"
            if self._may_hold_text(message):
                asserted = text_of(machine.memory.read_string(message, _TEXT_LIMIT))
            line = f"Assertion '{asserted}' failed at {where}"
        self._print(f"{line}\n".encode())
        return Ending("crash", f"ends in {line}")

    # Exceptions ---------------------------------------------------------------------------------------------------

    def _fix_up(self, machine: Machine, instruction: int) -> int | None:
        """Return where Xen goes on after an exception at an instruction, by bisection as Xen does."""
        region = self._region_of(instruction)
        if region is None or region.exceptions is None:
            return None
        start, end = region.exceptions
        table = machine.memory.read(start, end - start)
        low, high = 0, len(table) // _ENTRY_SIZE - 1
        while low <= high:
            middle = low + (high - low) // 2
            place = middle * _ENTRY_SIZE
            found = (start + place + _signed32(table, place)) & ADDRESS_MASK
            if found == instruction:
                return (start + place + 4 + _signed32(table, place + 4)) & ADDRESS_MASK
            low, high = (middle + 1, high) if found < instruction else (low, middle - 1)
        return None

    def _not_modelled(self, trap: Trap) -> str | None:
        """Return what it does, if a real machine may have memory where this one has none."""
        address = trap.address
        verb = _VERBS[trap.access]
        if self._stack.is_processor_data(address):
            return f"{verb} the top of the stack, where Xen keeps `current` and other data of the processor"
        if is_placeholder(address):
            return f"{verb} {address:#018x}, a placeholder for an address that is unknown"
        if address < _LOWER_HALF_END:
            return f"{verb} {address:#018x}, in the lower half of the address space, which is a guest's"
        if address < UPPER_HALF or self._is_mapped(address) or self._stack.is_overrun(address):
            return None
        area = self._host.hypervisor.areas.area_of(address)
        if area is None:
            return f"{verb} {address:#018x}, in no area that is modelled"
        if area.name in XEN_AREAS or (trap.access == "fetch" and area.name != "stubs"):
            return None
        return f"{verb} {address:#018x}, in the {area.name}, which is not modelled"

    def _fatal(self, machine: Machine, trap: Trap, where: str) -> str:
        if trap.kind == "invalid opcode":
            return f"causes an invalid opcode at {where}; Xen panics with {self._invalid_opcode_panic(machine)!r}"
        if trap.kind != "page fault":
            return f"causes {_with_article(trap.kind)} at {where}"
        address = trap.address
        if self._stack.is_overrun(address):
            return f"uses up the stack of {USABLE // 1024} KiB at {where}"
        if address < UPPER_HALF:
            return f"causes a general protection fault at {where}: {address:#018x} is not a canonical address"
        what = _VERBS[trap.access]
        state = "which is not mapped"
        if self._is_mapped(address):
            state = f"which is {self._host.memory.protections_of(address, 1)[0].permissions}"
        return f"{what} {self._names.described(address)}, {state}" + ("" if trap.access == "fetch" else f", at {where}")

    def _is_mapped(self, address: int) -> bool:
        try:
            self._host.memory.protections_of(address, 1)
        except MemoryFault:
            return False
        return True

    def _region_of(self, address: int) -> _Region | None:
        return next((region for region in self._regions if region.text.start <= address < region.text.end), None)


def _region_of_xen(host: HostState) -> _Region:
    hypervisor, address_of = host.hypervisor, host.hypervisor.symbols.address_of

    def between(start: int | None, end: int | None) -> _Range | None:
        """Return a table's range, if it is one that a table can have."""
        if start is None or end is None or not hypervisor.image_start <= start <= end <= hypervisor.image_end:
            return None
        return _Range(start, end)

    tables = []
    # Where a table has no start of its own, it stands behind the one before (up to 4.17).
    behind = address_of(b"__start_bug_frames")
    for kind in bug_frames.KINDS:
        start = address_of(b"__start_bug_frames_%d" % kind)
        end = address_of(b"__stop_bug_frames_%d" % kind)
        place = between(behind if start is None else start, end)
        if place is not None:
            tables.append((kind, place))
        behind = end
    return _Region(
        _Range(hypervisor.text_start, hypervisor.text_end),
        tuple(tables),
        between(address_of(b"__start___ex_table"), address_of(b"__stop___ex_table")),
    )


def _region_of_payload(loaded: LoadedPayload) -> _Region:
    def place_of(name: str) -> _Range | None:
        section = loaded.payload.section_named(name)
        address = None if section is None else loaded.placement.addresses.get(section.index)
        return None if section is None or address is None else _Range(address, address + section.size)

    text = loaded.placement.regions[0]
    tables = [(kind, place_of(f".bug_frames.{kind}")) for kind in bug_frames.KINDS]
    return _Region(
        _Range(text.address, text.address + text.size),
        tuple((kind, place) for kind, place in tables if place is not None),
        place_of(".ex_table"),
    )


def _arguments(machine: Machine) -> Iterator[int]:
    """Return what a function with any number of arguments was given behind its first."""
    for name in ARGUMENT_REGISTERS[1:]:
        yield machine.register(name)
    stack = machine.register("RSP")
    for place in count(stack + 8, 8):
        yield int.from_bytes(machine.memory.read(place, 8), "little")


def _file_name(machine: Machine, address: int) -> str:
    name = machine.memory.read_string(address, _TEXT_LIMIT)
    if len(name) > _FILE_NAME_LIMIT:
        name = _ELLIPSIS + name[len(_ELLIPSIS) - _FILE_NAME_LIMIT :]
    return text_of(name)


def _signed32(table: bytes, place: int) -> int:
    return int.from_bytes(table[place : place + 4], "little", signed=True)


def _with_article(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
