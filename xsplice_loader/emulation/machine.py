"""The emulated processor: unicorn, fed with a host's pages as they are asked for.

Unicorn's own way to map memory ends below the upper half of the address space, where Xen lives. So its TLB is filled
by hand: each page that is touched gets a frame in a pool of memory, and is filled from the host. A fetch from where
nothing may be executed gets a page of `hlt`: what is wrong with it is found out when the instruction there is due, not
when unicorn looks ahead.

Callbacks only take note of what happened and stop the processor; `Machine.run` then deals with it and goes on.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from xsplice_loader.emulation.decoding import Decoder, Instruction
from xsplice_loader.emulation.outcomes import Ending, Limits
from xsplice_loader.emulation.pages import PAGE_MASK, Page
from xsplice_loader.memory.address_space import ADDRESS_MASK
from xsplice_loader.releases import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from xsplice_loader.emulation.pages import HostPages
    from xsplice_loader.emulation.path import Path
    from xsplice_loader.emulation.stack import Stack

Access = Literal["read", "write", "fetch"]
ARGUMENT_REGISTERS = ("RDI", "RSI", "RDX", "RCX", "R8", "R9")
"""Integer arguments of the System V ABI, in order."""

_FIRST_FRAME = 0x100000
_FRAMES = 16384
"""Pages that one run may touch: 64 MiB."""
_HLT = b"\xf4"
_MAX_INSTRUCTION = 15
_STEPS_BETWEEN_LOOKS_AT_THE_CLOCK = 1024
_NEEDED: Mapping[Access, str] = {"read": "r", "write": "w", "fetch": "x"}


class EmulatorMissingError(RuntimeError):
    """The emulator is not installed."""

    def __init__(self) -> None:
        super().__init__("running code needs the emulator unicorn: pip install 'xsplice-loader[emulate]'")


class Trap(NamedTuple):
    """An exception of the processor."""

    kind: Literal["page fault", "general protection fault", "invalid opcode", "divide error", "other"]
    instruction: int
    """Address of the instruction that caused it."""
    address: int = 0
    """For a page fault, what was accessed."""
    access: Access = "read"
    number: int = 0


class AccessError(Exception):
    """Memory that cannot be read on the program's behalf."""

    def __init__(self, address: int, *, is_unknown: bool) -> None:
        super().__init__(address)
        self.address = address
        self.is_unknown = is_unknown
        """It is there, but nobody knows what it holds."""


class TrapHandler(Protocol):
    """What the system does about exceptions of the processor."""

    def __call__(self, machine: Machine, trap: Trap) -> Ending | None:
        """Tell the machine where to go on and return None, or return how it ends."""


class Machine:
    """A processor that runs one function."""

    def __init__(
        self,
        pages: HostPages,
        stack: Stack,
        path: Path,
        traps: TrapHandler,
        services: Mapping[int, Callable[[Machine], Ending | None]],
        limits: Limits,
    ) -> None:
        """Set the machine up.

        Args:
            pages: the host's memory.
            stack: where the function's stack is.
            path: is told of every branch.
            traps: is asked about exceptions.
            services: what is done instead of executing the functions at these addresses.
            limits: when to stop.

        Raises:
            EmulatorMissingError: unicorn is not installed.
        """
        self._unicorn, self._registers = _emulator()
        self._host = pages
        self._stack = stack
        self._path = path
        self._traps = traps
        self._services = services
        self._limits = limits
        self._decoder = Decoder()
        self._decoded: dict[int, Instruction] = {}
        self._pages: dict[int, Page | None] = {}
        self._frames: list[Page] = []
        self._pending: Callable[[], Ending | None] | None = None
        """What is to be done about whatever stopped the processor."""
        self.instructions = 0
        self._next_look = 0
        """The number of instructions at which the limits are looked at."""
        self._deadline = 0.0
        self._processor: Any = self._new_processor()
        for address in stack.pages:
            self._lend(address, "rw-", bytes(PAGE_SIZE), None, is_own=True)
        self._lend(stack.return_address, "r-x", _HLT * PAGE_SIZE, None, is_own=True)

    # Registers and memory -----------------------------------------------------------------------------------------

    def register(self, name: str) -> int:
        """Return a 64-bit register, by its name in capitals."""
        value: int = self._processor.reg_read(getattr(self._registers, f"UC_X86_REG_{name}"))
        return value

    def set_register(self, name: str, value: int) -> None:
        """Set a 64-bit register."""
        self._processor.reg_write(getattr(self._registers, f"UC_X86_REG_{name}"), value & ADDRESS_MASK)

    @property
    def instruction_pointer(self) -> int:
        """RIP."""
        return self.register("RIP")

    def resume_at(self, address: int) -> None:
        """Go on at an address, as Xen's handler for an exception does."""
        self.set_register("RIP", address)
        self._path.resume(address)

    def read(self, address: int, size: int) -> bytes:
        """Return bytes on the program's behalf.

        Raises:
            AccessError: some byte cannot be read, or is not known.
        """
        out = b""
        while len(out) < size:
            place = (address + len(out)) & ADDRESS_MASK
            offset = place & PAGE_MASK
            page = self._page(place - offset)
            step = min(PAGE_SIZE - offset, size - len(out))
            if page is None or "r" not in page.permissions:
                raise AccessError(place, is_unknown=False)
            if not page.is_known(offset, step):
                raise AccessError(place, is_unknown=True)
            out += bytes(self._processor.mem_read(page.frame + offset, step))
        return out

    def read_string(self, address: int, limit: int) -> bytes:
        """Return the NUL-terminated string at `address`, cut at `limit` bytes.

        Raises:
            AccessError: some byte cannot be read, or is not known.
        """
        out = b""
        while len(out) < limit:
            out += self.read((address + len(out)) & ADDRESS_MASK, 1)
            if out.endswith(b"\0"):
                return out[:-1]
        return out

    @property
    def touched(self) -> list[Page]:
        """The pages that were used."""
        return self._frames

    # Running ------------------------------------------------------------------------------------------------------

    def run(self, address: int, arguments: Sequence[int]) -> Ending:
        """Call the function at `address` with up to six integers, and see it to its end."""
        self._deadline = monotonic() + self._limits.seconds
        for name, value in zip(ARGUMENT_REGISTERS, arguments, strict=False):
            self.set_register(name, value)
        self.set_register("RSP", self._stack.top - 8)
        self._store(self._stack.top - 8, self._stack.return_address.to_bytes(8, "little"))
        self.set_register("RIP", address)
        while True:
            ending = self._go()
            if ending is not None:
                return ending
            if monotonic() > self._deadline:
                return self._out_of_time()

    def return_from_service(self) -> None:
        """Return to the caller of the function that a service stands for, which returns nothing."""
        stack = self.register("RSP")
        address = int.from_bytes(self.read(stack, 8), "little")
        self._path.leave("return", self.instruction_pointer, 0, stack)
        self.set_register("RSP", stack + 8)
        self.set_register("RIP", address)

    def _go(self) -> Ending | None:
        """Run until something has to be done, and do it; None: go on."""
        if self.instruction_pointer == self._stack.return_address:
            return Ending("returned")
        self._pending = None
        try:
            self._processor.emu_start(self.instruction_pointer, self._stack.return_address)
        except self._unicorn.UcError as error:
            if self._pending is None:
                return Ending("stopped", f"the emulator cannot go on at {self.instruction_pointer:#018x}: {error}")
        if self._pending is None:
            return None
        try:
            return self._pending()
        except AccessError as error:
            return self._cannot_read(error)

    def _cannot_read(self, error: AccessError) -> Ending | None:
        if error.is_unknown:
            return _unknown(error.address)
        return self._traps(self, Trap("page fault", self.instruction_pointer, error.address))

    # What unicorn calls -------------------------------------------------------------------------------------------

    def _new_processor(self) -> Any:
        constants = self._unicorn
        processor = constants.Uc(constants.UC_ARCH_X86, constants.UC_MODE_64)
        # The newest that the emulator has in full; the default lacks what Xen's alternatives take for granted.
        processor.ctl_set_cpu_model(self._registers.UC_CPU_X86_BROADWELL)
        processor.ctl_set_tlb_mode(constants.UC_TLB_VIRTUAL)
        processor.mem_map(_FIRST_FRAME - PAGE_SIZE, (_FRAMES + 1) * PAGE_SIZE)
        processor.mem_write(_FIRST_FRAME - PAGE_SIZE, _HLT * PAGE_SIZE)
        self._accesses: dict[int, Access] = {
            constants.UC_MEM_READ: "read",
            constants.UC_MEM_WRITE: "write",
            constants.UC_MEM_FETCH: "fetch",
        }
        self._protections = {
            "r": constants.UC_PROT_READ,
            "w": constants.UC_PROT_WRITE,
            "x": constants.UC_PROT_EXEC,
            "-": constants.UC_PROT_NONE,
        }
        processor.hook_add(constants.UC_HOOK_TLB_FILL, self._fill_tlb)
        processor.hook_add(constants.UC_HOOK_CODE, self._before_instruction)
        processor.hook_add(constants.UC_HOOK_MEM_READ, self._on_read)
        processor.hook_add(constants.UC_HOOK_MEM_WRITE, self._on_write)
        processor.hook_add(constants.UC_HOOK_INTR, self._on_exception)
        processor.hook_add(constants.UC_HOOK_INSN_INVALID, self._on_invalid_instruction)
        return processor

    def _fill_tlb(self, processor: Any, address: int, kind: int, entry: Any, data: object) -> bool:
        del processor, data
        address &= ADDRESS_MASK
        access = self._accesses[kind]
        page = self._page(address & ~PAGE_MASK)
        if page is not None and _NEEDED[access] in page.permissions:
            entry.paddr = page.frame
            entry.perms = sum(self._protections[letter] for letter in page.permissions)
            return True
        if access == "fetch":
            entry.paddr = _FIRST_FRAME - PAGE_SIZE
            entry.perms = self._protections["x"]
            return True
        self._interrupt(lambda: self._page_fault(address, access))
        return False

    def _before_instruction(self, processor: Any, address: int, size: int, data: object) -> None:
        del processor, size, data
        if self._pending is not None:
            self._processor.emu_stop()
            return
        if self.instructions == self._next_look and not self._may_go_on():
            return
        self.instructions += 1
        if self._path.awaits_arrival:
            self._path.arrive(address)
        instruction = self._decoded.get(address)
        if instruction is None:
            service = self._services.get(address)
            if service is not None:
                self._interrupt(lambda: service(self))
                return
            instruction = self._decode(address)
            if instruction is None:
                return
            self._decoded[address] = instruction
        kind = instruction.kind
        if kind == "plain":
            return
        if kind == "refused":
            self._stop(Ending("stopped", f"{instruction.reason} (at {address:#018x})"))
        elif kind in ("ud2", "undefined"):
            self._trap(Trap("invalid opcode", address))
        else:
            self._path.leave(kind, address, address + instruction.size, self.register("RSP"))

    def _on_read(self, processor: Any, kind: int, frame: int, size: int, value: int, data: object) -> None:
        del processor, kind, value, data
        page, offset = self._page_of_frame(frame)
        if self._pending is not None or (page.unknown is None and offset + size <= PAGE_SIZE):
            return
        following = self._page(page.address + PAGE_SIZE) if offset + size > PAGE_SIZE else None
        for part, start, end in ((page, offset, offset + size), (following, 0, offset + size - PAGE_SIZE)):
            if part is not None and not part.is_known(start, max(end - start, 0)):
                self._stop(_unknown(part.address + start))

    def _on_write(self, processor: Any, kind: int, frame: int, size: int, value: int, data: object) -> None:
        del processor, kind, data
        if self._pending is not None:
            return
        page, offset = self._page_of_frame(frame)
        contents = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")
        fitting = PAGE_SIZE - offset
        if size > fitting:
            following = self._page(page.address + PAGE_SIZE)
            if following is None or "w" not in following.permissions:
                # The write is about to fault, with nothing written.
                return
            following.write(0, contents[fitting:])
        page.write(offset, contents[:fitting])
        if "x" in page.permissions:
            self._decoded.clear()

    def _on_exception(self, processor: Any, number: int, data: object) -> None:
        del processor, data
        kinds: dict[int, Any] = {0: "divide error", 6: "invalid opcode", 13: "general protection fault"}
        trap = Trap(kinds.get(number, "other"), self.instruction_pointer, number=number)
        self._trap(trap)

    def _on_invalid_instruction(self, processor: Any, data: object) -> bool:
        del processor, data
        address = self.instruction_pointer
        self._interrupt(
            lambda: Ending("stopped", f"the instruction at {address:#018x} is none that the emulator can execute")
        )
        return False

    # The rest -----------------------------------------------------------------------------------------------------

    def _interrupt(self, pending: Callable[[], Ending | None]) -> None:
        """Stop the processor to do something, unless there is something to do already."""
        if self._pending is None:
            self._pending = pending
        self._processor.emu_stop()

    def _stop(self, ending: Ending) -> None:
        self._interrupt(lambda: ending)

    def _trap(self, trap: Trap) -> None:
        self._interrupt(lambda: self._traps(self, trap))

    def _page_fault(self, page: int, access: Access) -> Ending | None:
        """Deal with an access to a page; which of its bytes it was, only the instruction tells."""
        instruction = self.instruction_pointer
        code, _ = self._code_at(instruction)
        page &= ~PAGE_MASK
        places = [
            max(start, page)
            for start, size in self._decoder.accesses(code, instruction, self.register)
            if start < page + PAGE_SIZE and page < start + size
        ]
        return self._traps(self, Trap("page fault", instruction, places[0] if places else page, access))

    def _may_go_on(self) -> bool:
        """Look at the limits, and set when to look again."""
        if self.instructions >= self._limits.instructions:
            self._stop(Ending("stopped", f"it did not end within {self._limits.instructions:,} instructions"))
            return False
        if monotonic() > self._deadline:
            self._stop(self._out_of_time())
            return False
        self._next_look = min(self.instructions + _STEPS_BETWEEN_LOOKS_AT_THE_CLOCK, self._limits.instructions)
        return True

    def _decode(self, address: int) -> Instruction | None:
        """Return the instruction at `address`; None: it cannot be executed, and the processor is being stopped."""
        code, fault = self._code_at(address)
        instruction = self._decoder.decode(code, address) if code else None
        size = instruction.size if instruction is not None else len(code)
        unknown = self._first_unknown(address, size)
        if unknown is not None:
            self._stop(_unknown(unknown))
        elif instruction is None and fault is not None:
            self._trap(Trap("page fault", address, fault, "fetch"))
        elif instruction is None:
            self._stop(Ending("stopped", f"the bytes {code.hex(' ')} at {address:#018x} are no known instruction"))
        else:
            return instruction
        return None

    def _code_at(self, address: int) -> tuple[bytes, int | None]:
        """Return up to 15 bytes of code, and the address behind them if nothing can be executed there."""
        code = b""
        while len(code) < _MAX_INSTRUCTION:
            place = (address + len(code)) & ADDRESS_MASK
            offset = place & PAGE_MASK
            page = self._page(place - offset)
            if page is None or "x" not in page.permissions:
                return code, place
            step = min(PAGE_SIZE - offset, _MAX_INSTRUCTION - len(code))
            code += bytes(self._processor.mem_read(page.frame + offset, step))
        return code, None

    def _first_unknown(self, address: int, size: int) -> int | None:
        for place in range(address, address + size):
            page = self._page(place & ADDRESS_MASK & ~PAGE_MASK)
            if page is not None and not page.is_known(place & PAGE_MASK, 1):
                return place
        return None

    def _page(self, address: int) -> Page | None:
        """Return the page at a page's address, on loan from the host if need be; None where nothing is mapped."""
        if address not in self._pages:
            permissions = self._host.permissions_of(address)
            if permissions is None:
                self._pages[address] = None
            elif len(self._frames) == _FRAMES:
                self._stop(Ending("stopped", f"it touches more than {_FRAMES} pages"))
                return None
            else:
                contents, unknown = self._host.contents_of(address)
                self._lend(address, permissions, contents, unknown, is_own=False)
        return self._pages[address]

    def _lend(
        self, address: int, permissions: str, contents: bytes, unknown: bytearray | None, *, is_own: bool
    ) -> None:
        frame = _FIRST_FRAME + len(self._frames) * PAGE_SIZE
        self._processor.mem_write(frame, contents)
        page = Page(address, permissions, frame, unknown=unknown, is_own=is_own)
        self._frames.append(page)
        self._pages[address] = page

    def _page_of_frame(self, frame: int) -> tuple[Page, int]:
        index, offset = divmod(frame - _FIRST_FRAME, PAGE_SIZE)
        return self._frames[index], offset

    def _store(self, address: int, contents: bytes) -> None:
        page = self._pages[address & ~PAGE_MASK]
        assert page is not None, "the stack is mapped"
        self._processor.mem_write(page.frame + (address & PAGE_MASK), contents)

    def _out_of_time(self) -> Ending:
        return Ending("stopped", f"it did not end within {self._limits.seconds:g} s")


def _emulator() -> tuple[Any, Any]:
    """Return unicorn, and its names for x86."""
    try:
        import unicorn  # noqa: PLC0415 - an extra, which only running code needs
        from unicorn import x86_const  # noqa: PLC0415
    except ImportError:
        raise EmulatorMissingError from None
    return unicorn, x86_const


def _unknown(address: int) -> Ending:
    return Ending("stopped", f"it needs the bytes at {address:#018x}, which are not known")
