"""Sorting instructions: what can simply be executed, what leads elsewhere, and what the model has nothing for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from xsplice_loader.memory.address_space import ADDRESS_MASK

if TYPE_CHECKING:
    from collections.abc import Callable

Kind = Literal["plain", "call", "jump", "return", "undefined", "refused"]

_INTERRUPTS = "interrupts are not modelled"
_DEVICES = "devices are not modelled"
_WAITS = "it waits for an interrupt, and none will come"
_REGISTERS = "what a model-specific register holds is not known"
_PROCESSOR = "what it asks the processor for differs from machine to machine"
_TRANSITIONS = "it switches to or from a guest or another segment, which is not modelled"
_SYSTEM = "it needs a state of the processor that is not modelled"
_REFUSED = {
    mnemonic: reason
    for reason, mnemonics in (
        (_INTERRUPTS, "cli sti int int1 int3 into stgi clgi senduipi"),
        (_DEVICES, "in out insb insw insd outsb outsw outsd"),
        (_WAITS, "hlt monitor mwait monitorx mwaitx umonitor umwait tpause"),
        (_REGISTERS, "rdmsr wrmsr rdfsbase rdgsbase wrfsbase wrgsbase swapgs"),
        (
            _PROCESSOR,
            "cpuid rdtsc rdtscp rdpmc rdpid rdpru rdrand rdseed xgetbv smsw str sgdt sidt sldt lar lsl rdpkru",
        ),
        (_TRANSITIONS, "iret iretd iretq syscall sysret sysretq sysenter sysexit sysexitq lcall ljmp retf retfq"),
        (
            _SYSTEM,
            "lgdt lidt lldt ltr lmsw clts invd wbinvd wbnoinvd invlpg invlpga invpcid xsetbv skinit getsec rsm wrpkru "
            "xsave xsave64 xsavec xsavec64 xsaveopt xsaveopt64 xsaves xsaves64 xrstor xrstor64 xrstors xrstors64 "
            "verr verw lds les lfs lgs lss enclu encls pconfig",
        ),
    )
    for mnemonic in mnemonics.split()
}
_LOW = (1 << 32) - 1
_WHOLE = ("RAX", "RBX", "RCX", "RDX", "RSI", "RDI", "RBP", "RSP", *(f"R{number}" for number in range(8, 16)))
_HALVES = {"E" + name[1:] if name[1].isalpha() else name + "D": name for name in _WHOLE}
_UNDEFINED = ("ud0", "ud1", "ud2")
UDB = b"\xd6"
"""An instruction that is made to be invalid, which disassemblers know only by now."""
_NOT_FOR_MODEL = ("cr", "dr")


class Instruction(NamedTuple):
    """One instruction, as far as following it needs to know."""

    kind: Kind
    size: int
    reason: str | None = None
    """For a refused one what it is, and the clause that says why."""


class Decoder:
    """Decodes one instruction at a time."""

    def __init__(self) -> None:
        import capstone  # noqa: PLC0415 - nothing else of the package's start needs it
        from capstone import x86  # noqa: PLC0415

        self._disassembler: Any = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)  # type: ignore[no-untyped-call]
        self._disassembler.detail = True
        self._groups: dict[int, Kind] = {
            x86.X86_GRP_CALL: "call",
            x86.X86_GRP_RET: "return",
            x86.X86_GRP_JUMP: "jump",
        }
        self._call, self._return = x86.X86_GRP_CALL, x86.X86_GRP_RET
        self._privileged = x86.X86_GRP_PRIVILEGE
        self._register_operand, self._memory_operand = x86.X86_OP_REG, x86.X86_OP_MEM
        self._segments = {x86.X86_REG_FS: "%fs", x86.X86_REG_GS: "%gs"}
        self._all_segments = frozenset(
            (x86.X86_REG_CS, x86.X86_REG_DS, x86.X86_REG_ES, x86.X86_REG_SS, *self._segments)
        )

    def decode(self, code: bytes, address: int) -> Instruction | None:
        """Return the instruction that `code` begins with; None where it begins with none that is known."""
        if code.startswith(UDB):
            return Instruction("undefined", len(UDB))
        found: Any = next(self._disassembler.disasm(code, address, 1), None)
        if found is None:
            return None
        # Prefixes such as lock, rep and notrack stand in front.
        mnemonic: str = found.mnemonic.split()[-1]
        if mnemonic in _UNDEFINED:
            return Instruction("undefined", found.size)
        reason = self._refusal(found, mnemonic)
        if reason is not None:
            return Instruction("refused", found.size, f"{found.mnemonic} {found.op_str}".strip() + f": {reason}")
        groups = set(found.groups)
        return Instruction(next((kind for group, kind in self._groups.items() if group in groups), "plain"), found.size)

    def accesses(self, code: bytes, address: int, register: Callable[[str], int]) -> list[tuple[int, int]]:
        """Return the addresses and sizes of what the instruction that `code` begins with reads or writes.

        `register` returns what a 64-bit register, by its name in capitals, holds before the instruction.
        """
        found: Any = next(self._disassembler.disasm(code, address, 1), None)
        if found is None:
            return []
        accesses = []
        for operand in found.operands:
            if operand.type != self._memory_operand:
                continue
            memory = operand.mem
            parts = [
                self._part(found, number, address + found.size, register) * factor
                for number, factor in ((memory.base, 1), (memory.index, memory.scale))
                if number
            ]
            accesses.append(((memory.disp + sum(parts)) & ADDRESS_MASK, operand.size))
        groups = set(found.groups)
        if self._call in groups or found.mnemonic.startswith("push"):
            accesses.append(((register("RSP") - 8) & ADDRESS_MASK, 8))
        elif self._return in groups or found.mnemonic.startswith("pop"):
            accesses.append((register("RSP"), 8))
        return accesses

    def _part(self, found: Any, number: int, following: int, register: Callable[[str], int]) -> int:
        """Return what a register of 32 or 64 bits adds to an address."""
        name: str = found.reg_name(number).upper()
        if name == "RIP":
            return following
        if name in _WHOLE:
            return register(name)
        # Addresses of 32 bits are made of the lower halves; capstone also names an index that is none.
        return register(_HALVES[name]) & _LOW if name in _HALVES else 0

    def _refusal(self, found: Any, mnemonic: str) -> str | None:
        if mnemonic in _REFUSED:
            return _REFUSED[mnemonic]
        if mnemonic.startswith("v"):
            # VEX and EVEX forms, which the emulator takes for their older namesakes, and virtual machines.
            return _SYSTEM
        for operand in found.operands:
            if operand.type == self._memory_operand and operand.mem.segment in self._segments:
                return f"it goes through {self._segments[operand.mem.segment]}, whose base is not known"
            if operand.type == self._register_operand:
                name = found.reg_name(operand.reg)
                if operand.reg in self._all_segments or name.startswith(_NOT_FOR_MODEL):
                    return f"the register %{name} is not modelled"
        return _SYSTEM if self._privileged in found.groups else None
