"""Alternatives: code that Xen replaces while it loads, depending on the processor's features (`spec/04 §5.1`).

An entry names a site, a replacement and a feature. Up to 4.10 a site is as long as its longest replacement; from
4.11 on the assembler puts padding behind it, which is turned into better NOPs where the site stays as it is. Entries
for one site follow one another; `priv` in an entry tells that it was dealt with, and that of the first entry of such
a run that its site was touched, so that nothing behind pads over what an earlier entry wrote.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.livepatch.alternatives_table import Alternative, AlternativesTable, as_printed
from xsplice_loader.livepatch.direct_calls import (
    CAPTURE_HINT,
    INDIRECT_CALL,
    INDIRECT_JUMP,
    INDIRECT_SIZE,
    UnknownTargetError,
    direct_target,
    displacement_bytes,
    leave_rest_unknown,
    leave_unknown,
    pointer_of,
    wraps,
)
from xsplice_loader.livepatch.loaded import UnknownContentsError
from xsplice_loader.livepatch.moved_branches import MovedBranch
from xsplice_loader.livepatch.patching import JUMP_OPCODE, JUMP_SIZE, nops
from xsplice_loader.livepatch.processor import ALWAYS
from xsplice_loader.memory.address_space import ADDRESS_MASK, MemoryFault
from xsplice_loader.relocation.window import Limit
from xsplice_loader.rules import tables as rules
from xsplice_loader.rules.errnos import ERRNOS

if TYPE_CHECKING:
    from xsplice_loader.livepatch.loaded import RunningXen
    from xsplice_loader.rules import Rule

MAX_PATCH_LEN = 254
"""Bytes of a site at most, padding included."""
ABSENT_FLAG = 1 << 15
"""In a feature number: replace where the processor does not have the feature."""
CALL_OPCODE = b"\xe8"
RETURN_THUNK = b"__x86_return_thunk"

# A direct branch with this displacement leads to itself: the mark of an indirect one to be made direct.
_TO_ITSELF = -JUMP_SIZE
_INDIRECT_FORMS = {CALL_OPCODE: INDIRECT_CALL, JUMP_OPCODE: INDIRECT_JUMP}
_NO_TARGET = bytes.fromhex("0f0b0fffff")


def apply_alternatives(table: AlternativesTable, xen: RunningXen) -> None:
    """Test a payload's table and carry it out, in Xen's order."""
    if table.release.checks_alternatives_bounds:
        if not table.section.size:
            return
        before = len(table.findings)
        table.check_bounds()
        if table.findings.errors_since(before):
            return
    if table.is_readable():
        table.findings.log(f"alt table {table.address:016x} -> {table.address + table.section.size:016x}")
        _Alternatives(table, xen).apply()


class _Alternatives:
    """Carries out the entries of one table."""

    def __init__(self, table: AlternativesTable, xen: RunningXen) -> None:
        self.table = table
        self.xen = xen
        self.release = table.release

    def apply(self) -> None:
        """Carry out one entry after the other."""
        base: Alternative | None = None
        for entry in self.table.entries():
            if self._check_limits(entry):
                base = self._base_of(entry, base)
                # What a refused relocation left at a site or in a replacement means nothing.
                if self.table.sections.has_refused_field(
                    entry.site, entry.total
                ) or self.table.sections.has_refused_field(entry.replacement, entry.repl_len):
                    continue
                try:
                    self._apply(entry, base)
                except MemoryFault as fault:
                    self.table.add(rules.WILD_ALTERNATIVE, entry, f"{self._in_function(entry)}leads to {fault}")
                except UnknownTargetError as unknown:
                    self._leave_unknown(entry, unknown)
                except UnknownContentsError as unknown:
                    self._leave_unknown(entry, UnknownTargetError(f"depends on memory that is unknown: {unknown}"))
            if self.table.has_too_many_findings:
                self._leave_rest_unknown(entry)
                return

    def _leave_rest_unknown(self, last: Alternative) -> None:
        limit = Limit("alternative", self.table.section.text_name, last.number, "")
        what = leave_rest_unknown(limit, self.table.sections, self.xen)
        self.table.add(rules.CONTENTS_UNKNOWN, last, f"is the last one that is applied here: {what}", hint=CAPTURE_HINT)

    def _in_function(self, entry: Alternative) -> str:
        function = self.table.sections.function_at(entry.site)
        return "" if function is None else f"in {function} "

    def _leave_unknown(self, entry: Alternative, unknown: UnknownTargetError) -> None:
        if self.table.has_padding:
            self.table.mark(entry)
        limit = Limit("alternative", self.table.section.text_name, entry.number, "")
        end = entry.site + JUMP_SIZE
        what = leave_unknown(limit, entry.site, entry.total, end, unknown, self.table.sections, self.xen)
        self.table.add(rules.CONTENTS_UNKNOWN, entry, f"{self._in_function(entry)}{what}", hint=CAPTURE_HINT)
        self._check_place(entry, entry.site, entry.total)

    def _base_of(self, entry: Alternative, base: Alternative | None) -> Alternative:
        """Return the first of the run of entries for one site, as it stands in memory now."""
        if base is not None:
            base = self.table.entry(base.number)
            if base.site == entry.site:
                return base
        return entry

    def _check_limits(self, entry: Alternative) -> bool:
        """Test an entry's own numbers."""
        feature, features = self._feature(entry), self.release.alternatives_feature_words * 32
        if entry.repl_len > entry.total:
            what = f"puts {entry.repl_len} bytes in place of {entry.total}"
            self._refuse(rules.REPLACEMENT_TOO_LONG, entry, what, entry.repl_len, entry.total)
        elif entry.total > MAX_PATCH_LEN:
            what = f"is for a site of {entry.total} bytes; {MAX_PATCH_LEN} is the most"
            self._refuse(rules.SITE_TOO_LONG, entry, what, entry.total, MAX_PATCH_LEN)
        elif feature >= features:
            what = f"asks for feature {feature}; this Xen knows the features below {features}"
            self._refuse(rules.FEATURE_OUT_OF_RANGE, entry, what, feature, features)
        else:
            return True
        return False

    def _refuse(self, rule: Rule, entry: Alternative, what: str, size: int, limit: int) -> None:
        """Refuse an entry. Xen logs two lines, of which only the second has the payload's name before it."""
        if rule.errno is None or not self.release.alternatives_return_errors:
            self.table.add(rules.ALTERNATIVES_BUG, entry, what)
            return
        code = -ERRNOS[rule.errno]
        self.table.add(rule, entry, what, site=entry.site, size=as_printed(size), limit=as_printed(limit), code=code)

    def _feature(self, entry: Alternative) -> int:
        return entry.feature & ~ABSENT_FLAG if self.release.alternatives_know_absence else entry.feature

    def _apply(self, entry: Alternative, base: Alternative) -> None:
        if entry.priv and self.release.alternatives_skip_marked:
            return
        wanted = not (self.release.alternatives_know_absence and entry.feature & ABSENT_FLAG)
        if self.xen.processor.has(self._feature(entry)) is wanted:
            self._replace(entry, base)
        elif self.table.has_padding:
            self._pad(entry, base)

    def _pad(self, entry: Alternative, base: Alternative) -> None:
        if base.priv:
            return
        self._mark(entry, base)
        are_ideal = self.release.keeps_ideal_padding and self.xen.processor.nops == "p6"
        if entry.pad_len > 1 and not are_ideal:
            self._write(entry, entry.site + entry.orig_len, self._nops(entry.pad_len))

    def _mark(self, entry: Alternative, base: Alternative) -> None:
        self.table.mark(entry if self.release.alternatives_skip_marked else base)

    def _replace(self, entry: Alternative, base: Alternative) -> None:
        code = bytearray(self.xen.read(entry.replacement, entry.repl_len))
        if entry.repl_len >= JUMP_SIZE and bytes(code[:1]) in _INDIRECT_FORMS:
            if not self._make_direct(entry, code):
                self._move_branch(entry, code, 1)
        elif self._ends_in_return_thunk(entry, code):
            self._move_branch(entry, code, len(code) - 4)
        if self.table.has_padding:
            self._mark(entry, base)
        self._write(entry, entry.site, bytes(code) + self._nops(entry.total - entry.repl_len))

    def _move_branch(self, entry: Alternative, code: bytearray, offset: int) -> None:
        displacement = int.from_bytes(code[offset : offset + 4], "little", signed=True)
        self._set_displacement(entry, code, offset, displacement + entry.replacement - entry.site)

    def _set_displacement(self, entry: Alternative, code: bytearray, offset: int, displacement: int) -> None:
        if wraps(displacement):
            self.table.add(rules.BRANCH_WRAPS, entry, f"moves a branch; its displacement {displacement:#x} wraps")
        end = entry.site + offset + 4
        limit = Limit("alternative", self.table.section.text_name, entry.number, "")
        self.table.sections.branches.append(MovedBranch(limit, end, (end + displacement) & ADDRESS_MASK))
        code[offset : offset + 4] = displacement_bytes(displacement)

    def _ends_in_return_thunk(self, entry: Alternative, code: bytearray) -> bool:
        if not self.release.moves_return_thunks or len(code) <= JUMP_SIZE or code[-JUMP_SIZE] != JUMP_OPCODE[0]:
            return False
        target = entry.replacement + len(code) + int.from_bytes(code[-4:], "little", signed=True)
        return target & ADDRESS_MASK == self.xen.address_of(RETURN_THUNK)

    def _make_direct(self, entry: Alternative, code: bytearray) -> bool:
        """Put a direct branch in place of an indirect one, where the entry asks for that (`spec/04 §5.1.1`)."""
        if (
            not self.release.alternatives_make_calls_direct
            or entry.feature != ALWAYS
            or entry.orig_len < INDIRECT_SIZE
            or int.from_bytes(code[1:JUMP_SIZE], "little", signed=True) != _TO_ITSELF
        ):
            return False
        branch = self.xen.read(entry.site, INDIRECT_SIZE)
        if not branch.startswith(_INDIRECT_FORMS[bytes(code[:1])]):
            return False
        target = pointer_of(branch, entry.site, self.xen)
        if target:
            target = direct_target(target, entry.site, self.table.section.text_name, self.xen, self.table.findings)
            self._set_displacement(entry, code, 1, target - (entry.site + JUMP_SIZE))
        else:
            code[:JUMP_SIZE] = _NO_TARGET
        return True

    def _nops(self, size: int) -> bytes:
        return nops(size, self.xen.processor.nops, self.release.longest_nop)

    def _write(self, entry: Alternative, address: int, code: bytes) -> None:
        if not code:
            return
        if not self.table.sections.write_at(address, code):
            self.xen.memory.require_writable(address, len(code))
        self._check_place(entry, address, len(code))

    def _check_place(self, entry: Alternative, address: int, size: int) -> None:
        text = self.table.sections.placement.regions[0]
        if not text.address <= address <= address + size <= text.address + text.size:
            self.table.add(
                rules.WRITES_OUTSIDE_TEXT,
                entry,
                f"writes {size} bytes at {address:#018x}, but the payload's text is "
                f"{text.address:#018x}-{text.address + text.size:#018x}",
            )
