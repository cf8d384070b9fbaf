"""One instruction in AT&T syntax to bytes, and where in them the symbols belong.

Keystone assembles, but is never believed: it wraps jumps beyond 2 GiB without a word, does not know
`endbr64`, turns an absolute memory operand RIP-relative, and in this syntax reads `10` as sixteen. So no
symbol's value ever reaches it, and every number goes to it in hexadecimal. An operand that names a symbol is
replaced by a number made to be recognised, the bytes are decoded back by capstone, the number must
reappear in the field that the operand asked for, and mnemonic and registers must be those of the source.
What capstone says about that field's place and width is what the relocation needs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from xsplice_loader.forge.expressions import NOTHING, Expression

if TYPE_CHECKING:
    from collections.abc import Callable

    from xsplice_loader.forge.source import Statement

Kind = Literal["branch", "pc-relative", "got", "signed", "absolute"]

ENDBR64 = bytes.fromhex("f30f1efa")

_BRANCH_TARGET = 0x7FFFFF00
_DISPLACEMENT = 0x71223344
_IMMEDIATE = 0x65667788
_IMMEDIATE_64 = 0x6162637465667788

_BY_HAND = {"endbr64": ENDBR64}
_MISENCODED = ("nopw", "nopl", "nopq")
_BRANCH = re.compile(r"(?:call|jmp)q?|j[a-z]{1,4}|loop[a-z]*")
# Keystone never returns from some malformed text, so only well-formed text may reach it.
_MNEMONIC = re.compile(r"[a-z][a-z0-9]*(?: [a-z][a-z0-9]*)?")
_DECORATED = re.compile(
    r"(?P<star>\*?)(?P<segment>(?:%[c-gs]s:)?)(?P<displacement>[^%$]*?)"
    r"(?P<base>\((?:%\w+)?(?:, ?%\w+(?:, ?[1248])?)?\)|)"
)
_REGISTER = re.compile(r"%\w+(?:\(\d\))?")
_WIDE = re.compile(r"%r(?:[abcd]x|[sd]i|[sb]p|[89]|1[0-5])")
_NUMBER = re.compile(r"-?0x[0-9a-f]+|-?\d+")
_CONDITION = re.compile(r"(j|set|cmov)(\w+)")
_CONDITIONS = {
    "z": "e", "nz": "ne", "c": "b", "nae": "b", "nc": "ae", "nb": "ae", "na": "be", "nbe": "a",
    "pe": "p", "po": "np", "nge": "l", "nl": "ge", "ng": "le", "nle": "g",
}  # fmt: skip
_ALIASES = {"sal": "shl", "pushf": "pushfq", "popf": "popfq", "repz": "rep", "repe": "rep", "repnz": "repne"}
# Opcodes whose GOT loads a linker may rewrite, so the psABI gives them types of their own.
_GOT_RELAXABLE = {0x03, 0x0B, 0x13, 0x1B, 0x23, 0x2B, 0x33, 0x3B, 0x85, 0x8B, 0xFF}
_GOT_TYPES = {True: "R_X86_64_REX_GOTPCRELX", False: "R_X86_64_GOTPCRELX", None: "R_X86_64_GOTPCREL"}


@dataclass(frozen=True, slots=True)
class Field:
    """Bytes of an instruction that depend on a symbol."""

    offset: int
    width: int
    kind: Kind
    expression: Expression
    after: int
    """Bytes from the field's start to the instruction's end, from where PC-relative values count."""
    type: str | None = None
    """For kind `got`: the relocation type's name."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """Finished bytes, zero where a field is."""

    data: bytes
    fields: tuple[Field, ...] = ()


@dataclass(frozen=True, slots=True)
class _Operand:
    text: str
    """As handed to keystone."""
    placeholder: int | None = None
    expression: Expression = NOTHING
    role: Literal["branch", "displacement", "immediate", "none"] = "none"
    rip: bool = False
    bare: bool = False
    """A memory operand without base and index, which keystone may make RIP-relative."""


def encode(statement: Statement, parse: Callable[[str], Expression]) -> Instruction:
    """Assemble one instruction; `parse` turns the text of an operand's expression into one.

    Raises:
        ForgeError: keystone does not know it, or what it made of it decodes to something else.

    """
    if statement.name in _BY_HAND and not statement.operands:
        return Instruction(_BY_HAND[statement.name])
    if not _MNEMONIC.fullmatch(statement.name):
        raise statement.error(f"{statement.name!r} is not a mnemonic")
    if statement.name in _MISENCODED:
        raise statement.error("keystone encodes this instruction wrongly; write its bytes with .byte")
    operands = [_operand(text, statement, parse) for text in statement.operands]
    name = _unambiguous(statement.name, operands)
    operands = [_widened(operand, name) for operand in operands]
    text = f"{name} {', '.join(operand.text for operand in operands)}"
    decoded = _decoded(_assembled(text, statement), statement)
    _compare(statement, name, operands, decoded)
    return _with_fields(statement, name, operands, decoded)


def _operand(text: str, statement: Statement, parse: Callable[[str], Expression]) -> _Operand:
    if text.startswith("$"):
        value = parse(text[1:])
        if value.is_constant:
            return _Operand(f"${value.constant:#x}", None, value, "immediate")
        return _Operand(f"${_IMMEDIATE:#x}", _IMMEDIATE, value, "immediate")
    if re.fullmatch(r"\*?%\w+(?:\(\d\))?", text):
        return _Operand(text)
    match = _DECORATED.fullmatch(text)
    if match is None:
        raise statement.error(f"operand {text!r} is not understood")
    if _BRANCH.fullmatch(statement.name) and not match["star"]:
        value = parse(text)
        if value.plus is None:
            raise statement.error("a branch needs a symbol: the section's own address is not known yet")
        return _Operand(hex(_BRANCH_TARGET), _BRANCH_TARGET, value, "branch")
    rip, bare = match["base"].replace(" ", "") == "(%rip)", not match["base"]
    value = parse(match["displacement"]) if match["displacement"].strip() else NOTHING
    if value.is_constant:
        if rip:
            raise statement.error("a number is no RIP-relative operand: name the place, `.set PLACE, NUMBER`")
        number = f"{value.constant:#x}" if match["displacement"].strip() else ""
        replaced = f"{match['star']}{match['segment']}{number}{match['base']}"
        return _Operand(replaced, None, value, "none", rip, bare)
    if bare:
        raise statement.error(f"a memory operand needs its base: write {text}(%rip)")
    replaced = f"{match['star']}{match['segment']}{_DISPLACEMENT:#x}{match['base']}"
    return _Operand(replaced, _DISPLACEMENT, value, "displacement", rip, bare)


def _unambiguous(name: str, operands: list[_Operand]) -> str:
    """Choose between the two forms of `mov $N, %r64` as GNU as does; keystone always takes the longer."""
    if name != "mov" or len(operands) != 2 or operands[0].role != "immediate":
        return name
    if not _WIDE.fullmatch(operands[1].text):
        return name
    value = operands[0].expression
    fits = not value.is_constant or -(1 << 31) <= value.constant < 1 << 31
    return "movq" if fits else "movabs"


def _widened(operand: _Operand, name: str) -> _Operand:
    if not name.startswith("movabs") or operand.placeholder != _IMMEDIATE:
        return operand
    return _Operand(f"${_IMMEDIATE_64:#x}", _IMMEDIATE_64, operand.expression, "immediate")


def _assembled(text: str, statement: Statement) -> bytes:
    from keystone import keystone  # noqa: PLC0415 -- GPL-2 and slow to load: only whoever forges pays

    try:
        data, _ = _keystone().asm(text, 0, True)
    except keystone.KsError as error:
        raise statement.error(f"keystone does not assemble this ({error})") from error
    if not data:
        raise statement.error("keystone makes no bytes of this")
    return bytes(data)


@lru_cache(maxsize=1)
def _keystone() -> Any:
    import keystone  # noqa: PLC0415

    assembler: Any = keystone.keystone.Ks(keystone.KS_ARCH_X86, keystone.KS_MODE_64)  # type: ignore[no-untyped-call]
    assembler.syntax = keystone.KS_OPT_SYNTAX_ATT
    return assembler


@lru_cache(maxsize=1)
def _capstone() -> Any:
    import capstone  # noqa: PLC0415

    decoder: Any = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)  # type: ignore[no-untyped-call]
    decoder.detail = True
    decoder.syntax = capstone.CS_OPT_SYNTAX_ATT
    return decoder


def _decoded(data: bytes, statement: Statement) -> Any:
    found = list(_capstone().disasm(data, 0))
    if len(found) != 1 or found[0].size != len(data):
        raise statement.error(f"keystone made {data.hex(' ')}, which capstone does not read as one instruction")
    return found[0]


def _canonical(mnemonic: str) -> str:
    words = [_ALIASES.get(word, word) for word in mnemonic.split() if word != "notrack"]
    match = _CONDITION.fullmatch(words[-1])
    if match and match[2] in _CONDITIONS:
        words[-1] = match[1] + _CONDITIONS[match[2]]
    return " ".join(words)


def _compare(statement: Statement, name: str, operands: list[_Operand], decoded: Any) -> None:
    """Refuse bytes that do not decode to what the source says."""
    asked, found = _canonical(name), _canonical(decoded.mnemonic)
    what = f"keystone made `{decoded.mnemonic} {decoded.op_str}` of it"
    if found not in (asked, *(asked + suffix for suffix in "bwlq")) and asked not in (
        found + "q",
        found + "l",
    ):
        raise statement.error(what)
    registers = [r for operand in operands for r in _REGISTER.findall(operand.text)]
    if registers and registers != _REGISTER.findall(decoded.op_str):
        raise statement.error(what)
    if any(operand.bare for operand in operands) and "%rip" in decoded.op_str:
        raise statement.error(f"{what}; write SYMBOL(%rip), or give a base register")
    numbers = {
        int(number, 0) & mask
        for number in _NUMBER.findall(_REGISTER.sub("", decoded.op_str))
        for mask in (0xFF, 0xFFFF, 0xFFFFFFFF, (1 << 64) - 1)
    }
    for operand in operands:
        value = operand.placeholder if operand.placeholder is not None else operand.expression.constant
        if operand.role != "none" or value:
            # Capstone shows an immediate at its operand's own width, and leaves out a shift by 1 or a 0.
            widths = {value & mask for mask in (0xFF, 0xFFFF, 0xFFFFFFFF, (1 << 64) - 1) if abs(value) <= mask}
            if value not in (0, 1) and not widths & numbers:
                raise statement.error(what)


def _with_fields(statement: Statement, name: str, operands: list[_Operand], decoded: Any) -> Instruction:
    data, fields = bytearray(decoded.bytes), []
    for operand in operands:
        if operand.placeholder is None:
            continue
        encoding = decoded.encoding
        if operand.role == "displacement":
            # Capstone 5 says 2 for the 4 bytes of an instruction with an operand size prefix.
            offset, width = encoding.disp_offset, 8 if encoding.disp_size == 8 else 4
        else:
            offset, width = encoding.imm_offset, encoding.imm_size
        expected = operand.placeholder - (len(data) if operand.role == "branch" else 0)
        written = int.from_bytes(data[offset : offset + width], "little")
        if not offset or width not in (4, 8) or written != expected:
            raise statement.error("this instruction has no field of 4 or 8 bytes for the symbol")
        kind, relocation_type = _kind(statement, name, operand, decoded, width)
        fields.append(Field(offset, width, kind, operand.expression, len(data) - offset, relocation_type))
        data[offset : offset + width] = bytes(width)
    return Instruction(bytes(data), tuple(fields))


def _kind(statement: Statement, name: str, operand: _Operand, decoded: Any, width: int) -> tuple[Kind, str | None]:
    modifier = operand.expression.modifier
    if modifier == "GOTPCREL" and operand.rip:
        plain = decoded.opcode[0] not in _GOT_RELAXABLE or name.startswith("push")
        return "got", _GOT_TYPES[None if plain else bool(decoded.rex)]
    if modifier is not None and not (modifier == "PLT" and operand.role == "branch"):
        raise statement.error(f"@{modifier} is not understood here (@PLT on a branch, @GOTPCREL with (%rip))")
    if operand.role == "branch":
        return "branch", None
    if operand.rip:
        return "pc-relative", None
    if operand.role == "displacement":
        return "signed", None
    # A 4-byte immediate of a 64-bit operation is sign-extended by the processor.
    wide = decoded.operands[-1].size == 8 or name.startswith("push")
    return ("signed" if wide and width == 4 else "absolute"), None
