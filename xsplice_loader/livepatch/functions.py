"""The function table `.livepatch.funcs`, tested entry by entry in Xen's order (`spec/01 §14.1` to `§14.3`)."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Any, NamedTuple

from xsplice_loader.c_strings import MAX_NAME, UnterminatedString
from xsplice_loader.livepatch.patching import (
    ENDBR64_SIZE,
    JUMP_SIZE,
    NopTable,
    jump_displacement,
    known_patch_offset,
    patch_bytes,
    patch_offset,
)
from xsplice_loader.memory.address_space import AddressSpace, MemoryFault
from xsplice_loader.numbers import INT32, overrun, signed, signed_bits, size_text
from xsplice_loader.payload import text_of
from xsplice_loader.releases import PAGE_SIZE
from xsplice_loader.results import PatchedFunction
from xsplice_loader.rules import content as rules
from xsplice_loader.rules import observations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xsplice_loader.findings import Findings
    from xsplice_loader.releases import Release
    from xsplice_loader.relocation.resolution import Lookup
    from xsplice_loader.rules import Rule

SECTION = ".livepatch.funcs"
# name, new_addr, old_addr, new_size, old_size, version: alike in v1 and v2 (spec/04 §1.1).
ENTRY = Struct("<QQQIIB")
INSN_BUFFER_SIZE = 31
MAX_FINDINGS = 1000
"""Findings on one table, after which no further entries are looked at."""
LONGEST_START = JUMP_SIZE + ENDBR64_SIZE
"""Bytes of an old function that its new start takes at most."""
SURE_REACH = INT32[1] - LONGEST_START
"""A function that is less than this many bytes away can be jumped to, wherever in the old one the jump stands."""
SHOWN = 32
"""Bytes of the old function to show."""


class FunctionEntry(NamedTuple):
    """One entry, its old address resolved."""

    index: int  # type: ignore[assignment]  # an entry's number; nobody looks for values in it
    name: bytes | None
    """None: a NULL pointer, or memory whose contents are not known."""
    new_addr: int
    old_addr: int
    new_size: int
    old_size: int
    version: int
    is_name_unknown: bool = False
    """The name is in mapped memory whose contents are not known."""

    @property
    def shown(self) -> str:
        """The name as Xen prints it; `?` where it is unknown."""
        if self.name is None:
            return "?" if self.is_name_unknown else "<NULL>"
        return text_of(self.name)


class FunctionTable:
    """Tests the entries of one payload's table, which has been relocated."""

    def __init__(self, memory: AddressSpace, lookup: Lookup, findings: Findings) -> None:
        self.memory = memory
        self.lookup = lookup
        self.findings = findings
        self.release = findings.release
        self.new_addresses: set[int] = set()
        self._known_string = (0, 0, True)
        """From where to where a long string is known to go on, and whether it has an end."""
        self._offsets: dict[int, int] = {}
        """How many bytes of an old function stay before its jump, by its address."""

    def read(self, table: bytearray | memoryview, refused: Sequence[int]) -> tuple[FunctionEntry, ...]:
        """Test every entry, writing resolved old addresses back into `table`, and return the entries.

        A name may be anywhere, in the table too, so each entry is tested with what those before it wrote.
        Entries with a field among `refused` (offsets) are left out: what they say means nothing.
        """
        size = self.release.function_entry_size
        entries = []
        meaningless = {offset // size for offset in refused}
        before = len(self.findings)
        for index in range(len(table) // size):
            if index in meaningless:
                continue
            entry = self._read_entry(index, table, index * size)
            if entry is not None:
                entries.append(entry)
            if len(self.findings) - before > MAX_FINDINGS and self.findings.deciding is not None:
                # A table of zeros can have millions of entries, and every one of them is wrong.
                break
        return tuple(entries)

    def _read_entry(self, index: int, table: bytearray | memoryview, start: int) -> FunctionEntry | None:
        pointer, new_addr, old_addr, new_size, old_size, version = ENTRY.unpack_from(table, start)
        name, wild, part = None, None if pointer else "a NULL pointer", b""
        if pointer:
            try:
                name = self.memory.read_string(pointer)
                part = name if name is not None and len(name) == MAX_NAME else b""
            except MemoryFault:
                part = self.memory.read_available(pointer, MAX_NAME)
                wild = f"in unmapped memory, at {pointer:#018x}"
            if part and not self._ends(pointer):
                name, wild = None, f"at {pointer:#018x}, and runs on into unmapped memory"
        is_unknown = name is None and wild is None
        entry = FunctionEntry(index, name, new_addr, old_addr, new_size, old_size, version, is_unknown)
        self.new_addresses.add(new_addr)
        # Of a pointer into the first page Xen prints `<NULL>` (xen/common/vsprintf.c: string).
        if name is None and pointer >= PAGE_SIZE and old_addr:
            what = f"has its name {wild}: printing it crashes Xen"
            if is_unknown:
                what = f"has its name at {pointer:#018x}, whose contents are unknown: Xen prints what is there"
            self._add(observations.WILD_FUNCTION_NAME, entry, what)
        if self._is_plain(entry):
            return entry
        self._check_fields(entry)
        if not self.release.resolves_before_verifying:
            self._verify(entry)
        resolved = self._resolve(entry, wild, UnterminatedString(part))
        if resolved is None or (self.release.resolves_before_verifying and not self._verify(resolved)):
            return None
        if resolved is not entry:
            ENTRY.pack_into(table, start, pointer, new_addr, resolved.old_addr, new_size, old_size, version)
        self._check_distance(resolved)
        return resolved

    def _is_plain(self, entry: FunctionEntry) -> bool:
        """Tell at one glance that an entry passes all tests of any release; most do."""
        _, _, new_addr, old_addr, new_size, old_size, version, _ = entry
        return (
            version == self.release.function_version
            and new_addr != 0
            and old_addr != 0
            and new_size != 0
            and old_size >= LONGEST_START
            and -SURE_REACH < new_addr - old_addr < SURE_REACH
            and self.memory.is_in_one_piece(old_addr, ENDBR64_SIZE)
        )

    def _check_fields(self, entry: FunctionEntry) -> None:
        expected = self.release.function_version
        if entry.version != expected:
            self._add(
                rules.WRONG_VERSION,
                entry,
                f"is of version {entry.version}; Xen {self.release} speaks version {expected}",
                words={"version": entry.version, "expected": expected},
            )
        if self.release.needs_new_size and (not entry.new_addr or not entry.new_size):
            self._add(rules.ZERO_FIELDS, entry, "has a new address or new size of 0, which this release needs")
        elif not self.release.needs_new_size and not entry.old_size:
            self._add(rules.ZERO_FIELDS, entry, "has an old size of 0")

    def _ends(self, address: int) -> bool:
        """Tell whether a string has a NUL before mapped memory ends; many entries may have the same long one."""
        start, end, ends = self._known_string
        if start <= address < end:
            return ends
        at, ends = address, False
        try:
            while not ends:
                part = self.memory.read_string(at)
                ends = part is None or len(part) < MAX_NAME
                at += 1 if part is None else len(part) + ends
        except MemoryFault:
            at += len(self.memory.read_available(at, MAX_NAME))
        self._known_string = address, at, ends
        return ends

    def _resolve(self, entry: FunctionEntry, wild: str | None, part: UnterminatedString) -> FunctionEntry | None:
        """Return the entry with its old address.

        `wild` says what is wrong with its pointer to a name, if anything; `part` is what can be read of such a name.
        """
        if entry.old_addr:
            return entry
        if wild is not None and part and not self.release.prints_errors and not self.lookup.faults_on(part):
            # Comparing it with other names ends at the first difference, and its end is not looked for.
            self._add(rules.UNKNOWN_FUNCTION, entry, f"has no old address, and the name to look it up by is {wild}")
            return None
        if wild is not None:
            self._add(rules.WILD_NAME, entry, f"has no old address, and the name to look it up by is {wild}")
            return None
        if entry.name is None:
            self._add(
                observations.ASSUMED_SYMBOL,
                entry,
                "has its name in memory whose contents are not known; it is taken to name a function of Xen",
            )
            return None
        address = self.lookup.address_of(entry.name)
        if address is None and self.lookup.assumed_address is not None:
            self._add(
                observations.ASSUMED_SYMBOL,
                entry,
                "is taken to patch a function somewhere in Xen's image, at its start for now",
            )
            address = self.lookup.assumed_address
        if address is None:
            near = [text_of(name) for name in self.lookup.names_like(entry.name)]
            self._add(
                rules.UNKNOWN_FUNCTION,
                entry,
                "has no old address, and its name is neither in Xen nor in a loaded payload",
                words={"name": b"<NULL>" if entry.name is None else entry.name},
                hint="known names like it: " + ", ".join(near) if near else None,
            )
            return None
        return entry._replace(old_addr=address)

    def _verify(self, entry: FunctionEntry) -> bool:
        """Test the sizes; with ENDBR64 in play that takes a look at the old bytes (`spec/01 §14.2`).

        Returns whether Xen survives the look.
        """
        if not entry.new_addr and self.release.patches_with_nops:
            if entry.new_size > INSN_BUFFER_SIZE:
                self._add(
                    rules.NOP_TOO_LONG,
                    entry,
                    f"asks for {entry.new_size} bytes of NOPs; at most {INSN_BUFFER_SIZE} can be saved",
                )
            if entry.old_size < entry.new_size:
                self._add(
                    rules.NOP_LONGER_THAN_FUNCTION,
                    entry,
                    f"asks for {entry.new_size} bytes of NOPs in a function of {entry.old_size}",
                )
            return True
        needed = JUMP_SIZE
        try:
            offset = known_patch_offset(entry.old_addr, self.memory, self.release)
        except MemoryFault as fault:
            self._add(rules.WILD_OLD_ADDRESS, entry, f"has an old address that leads to {fault}")
            return False
        self._offsets[entry.old_addr] = offset or 0
        needed += offset or 0
        if offset is None and needed <= entry.old_size < needed + ENDBR64_SIZE:
            self._add(
                observations.START_UNKNOWN,
                entry,
                f"patches a function of {entry.old_size} bytes, whose first bytes are unknown; if it starts with "
                f"ENDBR64, the jump needs {needed + ENDBR64_SIZE} and Xen refuses the payload",
            )
        if entry.old_size < needed:
            behind = " behind its ENDBR64" if needed > JUMP_SIZE else ""
            self._add(
                rules.OLD_FUNCTION_TOO_SMALL,
                entry,
                f"patches a function of {entry.old_size} bytes; the jump{behind} needs {needed}",
            )
        return True

    def _check_distance(self, entry: FunctionEntry) -> None:
        if not entry.new_addr:
            offset = self._offset_at(entry.old_addr)
            if entry.new_size < offset or (offset and entry.new_size == offset):
                self._add(
                    observations.SHORT_NOP_ON_ENDBR64,
                    entry,
                    f"puts {entry.new_size} bytes of NOPs on a function that begins with ENDBR64: "
                    + ("applying it would kill the machine" if entry.new_size < offset else "applying it does nothing"),
                )
            return
        distance = signed(entry.old_addr - entry.new_addr)
        low, high = INT32
        if self.release.checks_distance and not low <= distance < high:
            self._add(
                rules.TOO_FAR_TO_JUMP,
                entry,
                f"would jump from {entry.old_addr:#018x} to {entry.new_addr:#018x}, {size_text(distance)} "
                "away; a jump reaches 2 GiB",
                value=distance,
                bits=signed_bits(distance),
                range=INT32,
                overrun=overrun(distance, *INT32),
            )
            return
        offset = self._offset_at(entry.old_addr)
        wrapped = wrapped_jump(entry.old_addr, entry.new_addr, offset)
        if wrapped is not None:
            self._add(
                observations.JUMP_WRAPS,
                entry,
                f"is taken, but its jump has a displacement of {wrapped['value']:#x}, which 32 signed bits do not hold",
                **wrapped,
            )

    def _offset_at(self, old_addr: int) -> int:
        if old_addr not in self._offsets:
            try:
                offset = known_patch_offset(old_addr, self.memory, self.release)
            except MemoryFault:
                offset = None
            self._offsets[old_addr] = offset or 0
        return self._offsets[old_addr]

    def _add(self, rule: Rule, entry: FunctionEntry, message: str, **details: Any) -> None:
        self.findings.add(
            rule,
            f"entry {entry.index} of {SECTION} ({entry.shown}) {message}",
            section=SECTION,
            index=entry.index,
            symbol=None if entry.name is None else entry.shown,
            **details,
        )


def wrapped_jump(old_addr: int, new_addr: int, offset: int) -> dict[str, Any] | None:
    """Return what a finding says of a jump that does not reach its function; None where it does."""
    low, high = INT32
    way = signed(jump_displacement(old_addr, new_addr, offset))
    if low <= way < high:
        return None
    return {
        "value": way,
        "bits": signed_bits(way),
        "range": INT32,
        "overrun": overrun(way, low, high),
        "lands_at": (new_addr + signed(way, 32) - way) % (1 << 64),
    }


def patched_functions(
    entries: Sequence[FunctionEntry], memory: AddressSpace, table: NopTable, release: Release
) -> tuple[PatchedFunction, ...]:
    """Return what each entry would make of the old function, entry by entry, each on the bytes as they are now."""
    return tuple(_patched_function(entry, memory, table, release) for entry in entries)


def _patched_function(entry: FunctionEntry, memory: AddressSpace, table: NopTable, release: Release) -> PatchedFunction:
    _, _, new_addr, old_addr, new_size, old_size, *_ = entry
    try:
        whole = memory.read(old_addr, SHOWN)
        offset = patch_offset(whole, release) if whole is not None else known_patch_offset(old_addr, memory, release)
    except MemoryFault:
        return PatchedFunction(entry.shown, old_addr, new_addr, old_size, new_size, 0, None, None)
    new = b""
    if offset is not None:
        new = patch_bytes(old_addr, new_addr, min(new_size, SHOWN + offset), offset, table, release)
    if whole is not None and offset is not None:
        after = (whole[:offset] + new + whole[offset + len(new) :])[:SHOWN]
        return PatchedFunction(
            entry.shown, old_addr, new_addr, old_size, new_size, offset, whole, after, whole.hex(), after.hex()
        )
    before = memory.read_partly(old_addr, SHOWN)
    patched = before.copy()
    if offset is None:
        patched.forget(0, JUMP_SIZE + ENDBR64_SIZE)
    else:
        patched.put(offset, new[: SHOWN - offset])
    return PatchedFunction(
        entry.shown,
        old_addr,
        new_addr,
        old_size,
        new_size,
        offset or 0,
        before.known_start or None,
        patched.known_start or None,
        before.shown_if_any,
        patched.shown_if_any,
    )
