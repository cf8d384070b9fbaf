"""The emulated processor: unicorn, fed with a host's pages as they are asked for.

Unicorn's own way to map memory ends below the upper half of the address space, where Xen lives. So its TLB is filled
by hand: each page that is touched gets a frame in a pool of memory, and is filled from the host. A fetch from where
nothing may be executed gets a page of `hlt`: what is wrong with it is found out when the instruction there is due, not
when unicorn looks ahead.

Callbacks only take note of what happened and stop the processor; `Machine.run` then deals with it and goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from xsplice_loader.emulation import lent_memory
from xsplice_loader.emulation.decoding import Decoder, Instruction
from xsplice_loader.emulation.lent_memory import HLT, NOWHERE, AccessError, LentMemory
from xsplice_loader.emulation.outcomes import Ending, Limits
from xsplice_loader.emulation.pages import PAGE_MASK
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
CALLEE_SAVED = {name: 0x101 + number for number, name in enumerate(("RBX", "RBP", "R12", "R13", "R14", "R15"))}
"""What a function finds in the callee-saved registers (psABI 3.2.1): values that code hardly sets."""

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
        described: Callable[[int], str],
        limits: Limits,
    ) -> None:
        """Set the machine up.

        Args:
            pages: the host's memory.
            stack: where the function's stack is.
            path: records every branch.
            traps: is asked about exceptions.
            services: what is done instead of executing the functions at these addresses.
            described: names what is at an address.
            limits: when to stop.

        Raises:
            EmulatorMissingError: unicorn is not installed.
        """
        self._unicorn, self._registers = _emulator()
        self._stack = stack
        self._path = path
        self._traps = traps
        self._services = services
        self._described = described
        self._limits = limits
        self._decoder = Decoder()
        self._decoded: dict[int, Instruction] = {}
        self._pending: Callable[[], Ending | None] | None = None
        """What is to be done about whatever stopped the processor."""
        self.instructions = 0
        self._processor: Any = self._new_processor()
        self.memory = LentMemory(pages, self._processor, self._out_of_memory)
        for address in stack.pages:
            self.memory.lend(address, "rw-", bytes(PAGE_SIZE), None, is_own=True)
        self.memory.lend(stack.return_address, "r-x", HLT * PAGE_SIZE, None, is_own=True)

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

    # Running ------------------------------------------------------------------------------------------------------

    def run(self, address: int, arguments: Sequence[int]) -> Ending:
        """Call the function at `address` with up to six integers, and see it to its end."""
        for name, value in zip(ARGUMENT_REGISTERS, arguments, strict=False):
            self.set_register(name, value)
        for name, value in CALLEE_SAVED.items():
            self.set_register(name, value)
        self.set_register("RSP", self._stack.top - 8)
        self.memory.store(self._stack.top - 8, self._stack.return_address.to_bytes(8, "little"))
        self.set_register("RIP", address)
        while True:
            ending = self._go()
            if ending is not None:
                return ending

    def clobbered_registers(self) -> tuple[str, ...]:
        """Return which callee-saved registers code that has returned did not restore; RSP is one of them."""
        expected = {**CALLEE_SAVED, "RSP": self._stack.top}
        return tuple(name for name, value in expected.items() if self.register(name) != value)

    def return_from_service(self) -> None:
        """Return to the caller of the function that a service stands for, which returns nothing."""
        stack = self.register("RSP")
        address = int.from_bytes(self.memory.read(stack, 8), "little")
        self._path.leave("return", self.instruction_pointer, 0, stack)
        self.set_register("RSP", stack + 8)
        self.set_register("RIP", address)

    def jump_from_service(self, address: int) -> None:
        """Go on where a service jumps to."""
        self._path.leave("jump", self.instruction_pointer, 0, self.register("RSP"))
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
                return Ending(
                    "stopped", f"comes to {self.instruction_pointer:#018x}, where the emulator cannot go on: {error}"
                )
        if self._pending is None:
            return None
        try:
            return self._pending()
        except AccessError as error:
            return self._cannot_read(error)

    def _cannot_read(self, error: AccessError) -> Ending | None:
        if error.is_unknown:
            return self._needs(error.address)
        return self._traps(self, Trap("page fault", self.instruction_pointer, error.address))

    # What unicorn calls -------------------------------------------------------------------------------------------

    def _new_processor(self) -> Any:
        constants = self._unicorn
        processor = constants.Uc(constants.UC_ARCH_X86, constants.UC_MODE_64)
        # The newest that the emulator has in full; the default lacks what Xen's alternatives take for granted.
        processor.ctl_set_cpu_model(self._registers.UC_CPU_X86_BROADWELL)
        processor.ctl_set_tlb_mode(constants.UC_TLB_VIRTUAL)
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
        page = self.memory.page(address & ~PAGE_MASK)
        if page is not None and _NEEDED[access] in page.permissions:
            entry.paddr = page.frame
            entry.perms = sum(self._protections[letter] for letter in page.permissions)
            return True
        if access == "fetch":
            entry.paddr = NOWHERE
            entry.perms = self._protections["x"]
            return True
        self._interrupt(lambda: self._page_fault(address, access))
        return False

    def _before_instruction(self, processor: Any, address: int, size: int, data: object) -> None:
        del processor, size, data
        if self._pending is not None:
            self._processor.emu_stop()
            return
        if self.instructions == self._limits.instructions:
            self._stop(Ending("stopped", f"did not end within {self._limits.instructions:,} instructions"))
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
            self._stop(Ending("stopped", f"comes, at {address:#018x}, to {instruction.reason}"))
        elif kind == "undefined":
            self._trap(Trap("invalid opcode", address))
        else:
            self._path.leave(kind, address, address + instruction.size, self.register("RSP"))

    def _on_read(self, processor: Any, kind: int, frame: int, size: int, value: int, data: object) -> None:
        del processor, kind, value, data
        if self._pending is None:
            unknown = self.memory.unknown_in(frame, size)
            if unknown is not None:
                self._stop(self._needs(unknown))

    def _on_write(self, processor: Any, kind: int, frame: int, size: int, value: int, data: object) -> None:
        del processor, kind, data
        # An instruction that has to be stopped goes on to its end, but what it does then does not count.
        if self._pending is None:
            contents = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")
            if self.memory.note_write(frame, contents):
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
            lambda: Ending("stopped", f"comes, at {address:#018x}, to an instruction that the emulator cannot execute")
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
        code, _ = self.memory.code_at(instruction)
        page &= ~PAGE_MASK
        places = [
            max(start, page)
            for start, size in self._decoder.accesses(code, instruction, self.register)
            if start < page + PAGE_SIZE and page < start + size
        ]
        return self._traps(self, Trap("page fault", instruction, places[0] if places else page, access))

    def _decode(self, address: int) -> Instruction | None:
        """Return the instruction at `address`; None: it cannot be executed, and the processor is being stopped."""
        code, fault = self.memory.code_at(address)
        instruction = self._decoder.decode(code, address) if code else None
        size = instruction.size if instruction is not None else len(code)
        unknown = self.memory.first_unknown(address, size)
        if unknown is not None:
            self._stop(self._needs(unknown))
        elif instruction is None and fault is not None:
            self._trap(Trap("page fault", address, fault, "fetch"))
        elif instruction is None:
            self._stop(Ending("stopped", f"comes, at {address:#018x}, to no known instruction: {code.hex(' ')}"))
        else:
            return instruction
        return None

    def _needs(self, address: int) -> Ending:
        return Ending("stopped", f"needs the bytes at {self._described(address)}, which are unknown")

    def _out_of_memory(self) -> None:
        self._stop(Ending("stopped", f"touches more than {lent_memory.FRAMES} pages"))


def _emulator() -> tuple[Any, Any]:
    """Return unicorn, and its names for x86."""
    try:
        import unicorn  # noqa: PLC0415 - an extra, which only running code needs
        from unicorn import x86_const  # noqa: PLC0415
    except ImportError:
        raise EmulatorMissingError from None
    return unicorn, x86_const
