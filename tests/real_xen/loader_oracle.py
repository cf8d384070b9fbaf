"""The loader of a real Xen without a boot: its own code, run in unicorn on the memory of a booted machine.

Everything is Xen's: the code with what it patched into itself at boot, its variables, heap and page tables. What is
added is the payload's file, in a part of the address space that Xen leaves to guests, and one stub: characters that
go out on the serial port are collected. Exceptions are not delivered: each counts as a crash, also where Xen has an
entry in an exception table or a bug frame for it.
"""

from __future__ import annotations

import mmap
import struct
from ctypes import addressof, c_char
from typing import TYPE_CHECKING, Any, NamedTuple

import unicorn
from unicorn import x86_const

from real_xen.console import PREFIX, xen_lines
from real_xen.key_x import HEADING, read_key_x
from real_xen.page_tables import PAGE, PRESENT, WRITABLE, PageTables
from real_xen.problem import HarnessError
from real_xen.watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Iterator

    from real_xen.physical_memory import PhysicalMemory
    from xsplice_loader import Hypervisor

UNICORN: Any = unicorn
"""Its Python binding has no types."""
LARGE_PAGE = 2 << 20
OWN_SLOT = 200
"""The entry of the top-level page table for what is added; Xen uses only those of the upper half."""
OWN_BASE = OWN_SLOT << 39
OWN_SIZE = 8 * LARGE_PAGE
TABLES, ARGUMENTS, NAME, FILE = 0, LARGE_PAGE, LARGE_PAGE + PAGE, 2 * LARGE_PAGE
"""Where in it: page tables, the hypercall's argument, the payload's name, its file."""
RETURN = OWN_BASE + LARGE_PAGE + 2 * PAGE
LARGEST_FILE = OWN_SIZE - FILE
UPLOAD, GET, ACTION = 0, 1, 3
"""XEN_SYSCTL_LIVEPATCH_*, xen/include/public/sysctl.h."""
VERBS = {"unload": 1, "revert": 2, "apply": 3}
"""LIVEPATCH_ACTION_*, in the same file."""
STATUS = 24
"""Where the answer to GET has the payload's state and result."""
LOCAL_APIC = 0xFEE00000
MSR_EFER = 0xC0000080
STACK_GAP = 256
FLAGS = 0x202
LONGEST_LINE = 2048
INVALID_OPCODE, PAGE_FAULT = 6, 14
EXCEPTIONS = {
    0: "divide error",
    INVALID_OPCODE: "invalid opcode",
    13: "general protection fault",
    PAGE_FAULT: "page fault",
}


class Loaded(NamedTuple):
    """A payload as it is in memory after its upload."""

    address: int
    contents: bytes | None
    """None: not all of its pages are mapped."""
    permissions: tuple[str, ...]
    """Of each page."""


class Verdict(NamedTuple):
    """What Xen's loader made of an upload."""

    crash: str | None
    """The exception that Xen would have died of, and where."""
    rc: int
    """What the hypercall returns."""
    console: tuple[str, ...]
    """Xen's lines."""
    x: tuple[str, ...] | None
    """What the debug key `x` prints afterwards; None if Xen would have died of printing it, or before."""
    loaded: Loaded | None
    """None unless the payload was accepted."""
    payload_rc: int | None = None
    """After an action: the result that the payload's status holds; None where no payload has that name."""
    is_action: bool = False
    has_run_payload: bool = False
    """Whether code of the payload ran: a hook, or a function that Xen itself calls."""

    @property
    def verdict(self) -> str:
        """As in the program's results."""
        if self.crash is not None:
            return "crash"
        return "refused" if self.rc else "accepted"


class _CrashError(Exception):
    """Xen would have died."""


class LoaderOracle:
    """Uploads payloads, each to a hypervisor as it was after its boot."""

    def __init__(self, hypervisor: Hypervisor, physical: PhysicalMemory) -> None:
        self._hypervisor = hypervisor
        with physical.file.open("rb") as file:
            # Private: what Xen writes stays here, and is dropped again.
            self._memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        self._control = physical.registers
        self._own = mmap.mmap(-1, OWN_SIZE)
        self._console = bytearray()
        self._ending: str | None = None
        self._has_run_payload = False
        self._name_size = 0
        boot_tables = PageTables(self._memory, physical.registers["CR3"])
        top = boot_tables.find(self._address("idle_pg_table"))
        if top is None:
            raise HarnessError("the booted machine does not map Xen's page tables")
        self._top = top.physical
        self.tables = PageTables(self._memory, self._top)
        self._stack = (physical.registers["RSP"] - STACK_GAP) & ~15
        start = hypervisor.text_start
        self._code = self.view(start & -PAGE, (hypervisor.text_end & -PAGE) - (start & -PAGE))
        self._code_after_boot = bytes(self._code)
        self._processor = self._new_processor()
        self._clean = self._processor.context_save()
        self._watchdog = Watchdog(self._processor.emu_stop)

    def _address(self, name: str) -> int:
        address = self._hypervisor.symbols.address_of(name.encode())
        if address is None:
            raise HarnessError(f"the symbols do not say where {name} is")
        return address

    def _new_processor(self) -> Any:
        processor = UNICORN.Uc(UNICORN.UC_ARCH_X86, UNICORN.UC_MODE_64)
        processor.ctl_set_cpu_model(x86_const.UC_CPU_X86_BROADWELL)
        for start, memory in ((0, self._memory), (len(self._memory), self._own)):
            pointer = addressof(c_char.from_buffer(memory))
            processor.mem_map_ptr(start, len(memory), UNICORN.UC_PROT_ALL, pointer)
        # Where interrupts are sent from: nothing comes of them.
        processor.mem_map(LOCAL_APIC, PAGE)
        processor.reg_write(x86_const.UC_X86_REG_MSR, (MSR_EFER, self._control["EFER"]))
        processor.reg_write(x86_const.UC_X86_REG_CR4, self._control["CR4"])
        processor.reg_write(x86_const.UC_X86_REG_CR3, self._top)
        processor.reg_write(x86_const.UC_X86_REG_CR0, self._control["CR0"])
        serial = self._address("serial_puts")
        processor.hook_add(UNICORN.UC_HOOK_CODE, self._on_serial_output, begin=serial, end=serial)
        start, end = self._hypervisor.arena_start, self._hypervisor.arena_end
        processor.hook_add(UNICORN.UC_HOOK_BLOCK, self._on_payload_code, begin=start, end=end)
        processor.hook_add(UNICORN.UC_HOOK_INTR, self._on_exception)
        processor.hook_add(UNICORN.UC_HOOK_INSN_INVALID, self._on_invalid_instruction)
        return processor

    # Hooks --------------------------------------------------------------------------------------------------------

    def _on_serial_output(self, processor: Any, address: int, size: int, data: object) -> None:
        """Collect a string (its second argument), and return to the caller."""
        del address, size, data
        text = self._string(processor.reg_read(x86_const.UC_X86_REG_RSI))
        self._console += text
        stack = processor.reg_read(x86_const.UC_X86_REG_RSP)
        processor.reg_write(x86_const.UC_X86_REG_RSP, stack + 8)
        processor.reg_write(x86_const.UC_X86_REG_RIP, int.from_bytes(self.read(stack, 8) or b"", "little"))

    def _on_payload_code(self, processor: Any, address: int, size: int, data: object) -> None:
        del processor, address, size, data
        self._has_run_payload = True

    def _on_exception(self, processor: Any, number: int, data: object) -> None:
        del data
        self._ending = f"{EXCEPTIONS.get(number, f'exception {number}')} at {self._where()}"
        processor.emu_stop()

    def _on_invalid_instruction(self, processor: Any, data: object) -> bool:
        del data
        self._ending = f"invalid opcode at {self._where()}"
        processor.emu_stop()
        return False

    def _where(self) -> str:
        address = self._processor.reg_read(x86_const.UC_X86_REG_RIP)
        found = self._hypervisor.symbols.symbol_at(address)
        return f"{address:#x} ({found})"

    # Memory -------------------------------------------------------------------------------------------------------

    def read(self, address: int, size: int) -> bytes | None:
        """Return bytes of Xen's memory; None unless all are mapped."""
        return self.tables.read(address, size)

    def view(self, address: int, size: int) -> memoryview:
        """Return a view of memory that is in one piece, as Xen's image is.

        Raises:
            HarnessError: it is not, or is not mapped.
        """
        pages = [self.tables.find(address + offset) for offset in range(0, size, PAGE)]
        start = pages[0].physical if pages and pages[0] is not None else 0
        if any(page is None or page.physical != start + index * PAGE for index, page in enumerate(pages)):
            raise HarnessError(f"Xen's memory at {address:#x} is not in one piece")
        return memoryview(self._memory)[start : start + size]

    def mapped_runs(self, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        """Yield what is mapped of a range of whole pages: the address of each run of pages, and its contents."""
        run, first = bytearray(), start
        for address in range(start, end, PAGE):
            page = self.read(address, PAGE)
            if page is None and run:
                yield first, bytes(run)
                run = bytearray()
            if page is not None:
                first = first if run else address
                run += page
        if run:
            yield first, bytes(run)

    def _string(self, address: int) -> bytes:
        found = b""
        while len(found) < LONGEST_LINE:
            part = self.read(address + len(found), PAGE - (address + len(found)) % PAGE) or b"\0"
            found += part
            if 0 in part:
                break
        return found.partition(b"\0")[0]

    def _reset(self) -> None:
        """Make the machine what it was after its boot."""
        if self._has_run_payload or bytes(self._code) != self._code_after_boot:
            # The emulator does not see that code which it has translated is replaced from outside.
            self._processor.ctl_flush_tb()
        self._has_run_payload = False
        self._memory.madvise(mmap.MADV_DONTNEED)
        base = len(self._memory)
        entry = PRESENT | WRITABLE
        struct.pack_into("<Q", self._memory, self._top + 8 * OWN_SLOT, base + PAGE | entry)
        struct.pack_into("<Q", self._own, PAGE, base + 2 * PAGE | entry)
        for index in range(OWN_SIZE // LARGE_PAGE):
            struct.pack_into("<Q", self._own, 2 * PAGE + 8 * index, base + index * LARGE_PAGE | entry | 1 << 7)
        # After an exception the processor is in the middle of delivering it; the next would be a double fault.
        self._processor.context_restore(self._clean)
        # This drops what the processor remembers of page tables.
        self._processor.reg_write(x86_const.UC_X86_REG_CR3, self._top)

    # Calls --------------------------------------------------------------------------------------------------------

    def _call(self, function: str, *arguments: int) -> int:
        """Call a function of Xen's and return its result.

        Raises:
            _CrashError: it does not return.
        """
        processor = self._processor
        names = (x86_const.UC_X86_REG_RDI, x86_const.UC_X86_REG_RSI)
        for name, value in zip(names, arguments, strict=False):
            processor.reg_write(name, value)
        found = self.tables.find(self._stack - 8)
        if found is None:
            raise HarnessError("the stack of the booted machine is not mapped")
        struct.pack_into("<Q", self._memory, found.physical, RETURN)
        processor.reg_write(x86_const.UC_X86_REG_RSP, self._stack - 8)
        processor.reg_write(x86_const.UC_X86_REG_EFLAGS, FLAGS)
        self._ending = None
        try:
            with self._watchdog:
                processor.emu_start(self._address(function), RETURN)
        except UNICORN.UcError as error:
            self._ending = self._ending or f"{error} at {self._where()}"
        if self._ending is None and processor.reg_read(x86_const.UC_X86_REG_RIP) != RETURN:
            self._ending = f"no end of {function}, last at {self._where()}"
        if self._ending is not None:
            raise _CrashError(self._ending)
        result: int = processor.reg_read(x86_const.UC_X86_REG_RAX)
        return result

    def _said(self) -> tuple[str, ...]:
        # As the serial port sends them: a CR of a name's own is no part of the end of a line.
        lines = xen_lines(bytes(self._console.replace(b"\n", b"\r\n")))
        self._console.clear()
        return tuple(lines)

    def upload(self, name: str, data: bytes) -> Verdict:
        """Upload a payload to a machine that has no other."""
        if len(data) > LARGEST_FILE:
            raise HarnessError(f"a payload of more than {LARGEST_FILE} bytes")
        self._reset()
        self._console.clear()
        encoded = name.encode("utf-8", "surrogateescape") + b"\0"
        own = self._own
        own[FILE : FILE + len(data)] = data
        own[NAME : NAME + len(encoded)] = encoded
        self._name_size = len(encoded)
        try:
            rc = self._hypercall(UPLOAD, struct.pack("<QQ", len(data), OWN_BASE + FILE))
        except _CrashError as crash:
            return Verdict(str(crash), 0, self._said(), None, None)
        console = self._said()
        x = self._x()
        return Verdict(None, rc, console, x, None if rc or x is None else self._loaded(x))

    def act(self, verb: str) -> Verdict:
        """Apply, revert or unload the payload that was uploaded last."""
        payload_rc = None
        try:
            rc = self._hypercall(ACTION, struct.pack("<II", VERBS[verb], 0))
            if not rc and verb != "unload":
                # What a scheduled tasklet and the way back to the guest do.
                self._call("common/livepatch.c#tasklet_fn", 0)
                self._call("check_for_livepatch_work")
            console = self._said()
            if not self._hypercall(GET, b""):
                payload_rc = struct.unpack_from("<i", self._own, ARGUMENTS + STATUS + 4)[0]
        except _CrashError as crash:
            return Verdict(
                str(crash), 0, self._said(), None, None, is_action=True, has_run_payload=self._has_run_payload
            )
        x = self._x()
        return Verdict(None, rc, console, x, None, payload_rc, is_action=True, has_run_payload=self._has_run_payload)

    def _hypercall(self, command: int, rest: bytes) -> int:
        """Call livepatch_op with struct xen_sysctl_livepatch_op: cmd, pad; name (pointer, size, padding); the rest."""
        operation = struct.pack("<IIQHHHH", command, 0, OWN_BASE + NAME, self._name_size, 0, 0, 0) + rest
        self._own[ARGUMENTS:NAME] = operation.ljust(NAME - ARGUMENTS, b"\0")
        rc = self._call("livepatch_op", OWN_BASE + ARGUMENTS)
        return (rc & 0xFFFF_FFFF) - ((rc & 1 << 31) << 1)

    def _x(self) -> tuple[str, ...] | None:
        """Return what the debug key `x` prints; None: Xen would die of it."""
        try:
            self._call("common/livepatch.c#livepatch_printall", ord("x"))
            # After a line that lost its end the heading has no beginning.
            if self._console.startswith(HEADING.encode()):
                self._console[:0] = PREFIX.encode()
            return self._said()
        except _CrashError:
            return None

    def _loaded(self, x: tuple[str, ...]) -> Loaded | None:
        payloads = read_key_x(x[x.index(HEADING) :])
        if not payloads:
            return None
        address, pages = payloads[0].text, payloads[0].pages
        found = [self.tables.find(address + page * PAGE) for page in range(pages)]
        permissions = tuple("---" if page is None else page.permissions for page in found)
        return Loaded(address, self.read(address, pages * PAGE), permissions)
