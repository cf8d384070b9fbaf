"""`Hypervisor`: one Xen, read from whichever file of it is at hand."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from xsplice_loader.hypervisor.contents import FormError, HypervisorFileError, Pieces, read_contents
from xsplice_loader.hypervisor.elf import labelled_build_id
from xsplice_loader.hypervisor.forms import Lack, read_form
from xsplice_loader.hypervisor.run_time import RunTimeMemory
from xsplice_loader.memory.address_map import AddressMap, address_map, default_arena_end
from xsplice_loader.memory.address_space import UPPER_HALF
from xsplice_loader.releases import ENDBR64, ENDBR64_POISON, GIB, NEWEST, NEWEST_HIGH, PAGE_SIZE, Release, release

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xsplice_loader.hypervisor.captured import CapturedMemory
    from xsplice_loader.hypervisor.forms import Found
    from xsplice_loader.hypervisor.symbols import SymbolTable
    from xsplice_loader.memory.mapping import Protection

MODEL = os.path.join(os.path.dirname(__file__), "model.elf")
_TWO_MIB = 2 << 20
_ONLY_CAPTURED = "The hypervisor file holds no bytes: old bytes are compared only where memory was captured."


@dataclass(frozen=True, slots=True, eq=False)
class Hypervisor:
    """What payloads are loaded against. Addresses are unsigned; ranges are half open."""

    file: str
    release: Release
    """Whose rules apply."""
    build_id: bytes | None
    text_start: int
    text_end: int
    image_start: int
    image_end: int
    arena_start: int
    """The range that payloads may be placed in."""
    arena_end: int
    symbols: SymbolTable
    areas: AddressMap
    built_in: bool = False
    assumed: bool = False
    own_release: Release = NEWEST
    """The release that the image is, whatever rules were asked for."""
    has_image: bool = True
    """Whether the file holds code and data, and not only names and addresses."""
    memory: str | None = None
    """The file of captured memory, if any."""
    at_run_time: RunTimeMemory = field(init=False, repr=False)
    """Its image while it runs, as far as that is known."""
    _captured: CapturedMemory | None = field(default=None, repr=False)
    _xen_virt_start: int = field(default=0, repr=False)
    _pieces: Pieces = field(default_factory=lambda: Pieces(()), repr=False)
    _release_was_asked_for: bool = field(default=False, repr=False)
    _lacks: tuple[Lack, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        # It knows nothing of this object: a hypervisor that refers to itself stays until a collection finds it.
        at_run_time = RunTimeMemory(
            self._pieces,
            self._xen_virt_start,
            self.symbols,
            self.own_release,
            image=(self.image_start, self.image_end),
            is_model=self.built_in,
            captured=self._captured,
        )
        object.__setattr__(self, "at_run_time", at_run_time)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        release: str | None = None,
        *,
        memory: str | os.PathLike[str] | None = None,
    ) -> Hypervisor:
        """Read a hypervisor file of any form, gzipped or not; `-` is standard input.

        Args:
            path: `xen-syms`, a boot image, `xen.efi`, or a symbol list.
            release: `X.Y.Z`; replaces the rules that the image's own release has, not its addresses.
            memory: captured memory of this hypervisor while it ran, as `with_memory` takes it.

        Raises:
            HypervisorFileError: a file cannot be read, is damaged, or is not what it should be.
            UnknownReleaseError: `release` is unknown.
        """
        found = cls._open(path, os.fspath(path), release, built_in=False)
        return found if memory is None else found.with_memory(memory)

    @classmethod
    def model(cls, release: str | None = None) -> Hypervisor:
        """Return the model hypervisor that comes with the package."""
        return cls._open(MODEL, "<model>", release, built_in=True)

    @classmethod
    def find(
        cls, build_id: bytes, directories: Sequence[str | os.PathLike[str]] = (), release: str | None = None
    ) -> Hypervisor | None:
        """Return the hypervisor that has a build-id, from `directories` or the system's places, or None."""
        from xsplice_loader.hypervisor.search import files_with_build_id  # noqa: PLC0415  (seldom wanted)

        for path in files_with_build_id(build_id, directories):
            try:
                return cls.open(path, release)
            except HypervisorFileError:
                continue
        return None

    def assume(self) -> Hypervisor:
        """Return a copy that stands for an unknown hypervisor.

        It has the newest release's rules unless others were asked for, and its payload range ends where
        that of a default build does.
        """
        rules = self.release if self._release_was_asked_for else NEWEST
        arena_end = default_arena_end(rules, self._xen_virt_start)
        return replace(self, assumed=True, release=rules)._with_arena(self.arena_start, arena_end)

    def with_arena(self, start: int, end: int) -> Hypervisor:
        """Return a copy with another range for payloads.

        Raises:
            ValueError: the range is empty, not of whole pages, or not in the upper half of the address space.

        """
        if not UPPER_HALF <= start < end <= 1 << 64 or start % 4096 or end % 4096:
            raise ValueError(
                f"the payload range {start:#x}-{end:#x} is empty, not of whole pages, or not in the upper half of the "
                "address space"
            )
        return self._with_arena(start, end)

    @property
    def has_known_build_id(self) -> bool:
        """Whether a payload's build-id can be compared: a whole image that has none really has none."""
        return not self.assumed and (self.has_image or self.build_id is not None)

    @property
    def assumptions(self) -> tuple[str, ...]:
        """A sentence for each thing that the file lacks, and what is taken instead; empty for whole files."""
        if self._captured is None:
            return tuple(lack.text for lack in self._lacks)
        left = (lack for lack in self._lacks if lack.captured != "build-id" or self.build_id is None)
        return tuple(_ONLY_CAPTURED if lack.captured == "bytes" else lack.text for lack in left)

    @property
    def protections(self) -> tuple[Protection, ...]:
        """What the image's pages may be used for once it runs; what it needed to start is unmapped by then."""
        return self.at_run_time.protections

    def described(self, address: int) -> str:
        """Return an address of the image as people call it: its symbol, its section, and what boot does to that."""
        if self.assumed:
            return "memory of the hypervisor that was not found"
        return self.at_run_time.described(address) or f"{address:#018x}"

    def with_memory(self, path: str | os.PathLike[str]) -> Hypervisor:
        """Return a copy whose memory at run time is known as far as it was captured.

        `path` is an ELF core file of the running hypervisor whose segments have virtual addresses; `-` is standard
        input.

        Raises:
            HypervisorFileError: it cannot be read, is damaged, or is of another build.
        """
        from xsplice_loader.hypervisor.captured import read_captured_memory  # noqa: PLC0415  (seldom wanted)

        if self.built_in or self.assumed:
            raise HypervisorFileError(
                f"captured memory {os.fspath(path)}: the hypervisor that it was captured from is not given; "
                "name its xen-syms or boot image with -x"
            )
        captured = read_captured_memory(path, (self.image_start, self.image_end))
        build_id = self._check_build(captured)
        return replace(self, memory=captured.file, _captured=captured, build_id=build_id)

    def _check_build(self, captured: CapturedMemory) -> bytes | None:
        """Return the build-id that captured memory has, or this hypervisor's own.

        Raises:
            HypervisorFileError: it is another one, or constant bytes are other ones.
        """
        of_memory = labelled_build_id(captured.read, self.symbols.address_of)
        found = of_memory or captured.build_id
        problem = None
        if of_memory is not None and captured.build_id is not None and of_memory != captured.build_id:
            problem = f"its note has build-id {captured.build_id.hex()}, but its memory {of_memory.hex()}"
        elif found is not None and self.build_id is not None and found != self.build_id:
            problem = f"is of the build {found.hex()}, but the hypervisor {self.file} is {self.build_id.hex()}"
        else:
            compared, place = self._compared(captured)
            if place is not None:
                problem = (
                    f"differs from {self.file} at {self.described(place)}, which does not change at run time; it is of "
                    "another build, or was captured while a live patch was applied (capture it before, or after a "
                    "revert)"
                )
            elif found is None and compared < PAGE_SIZE:
                problem = (
                    f"has no build-id, and too little of Xen's text and read-only data to tell whether it is of "
                    f"{self.file}"
                )
        if problem is not None:
            raise HypervisorFileError(f"captured memory {captured.file}: {problem}")
        return found or self.build_id

    def _compared(self, captured: CapturedMemory) -> tuple[int, int | None]:
        """Return how many constant bytes were captured, and the address of the first that is another in the file."""
        compared = 0
        for start, end in self.at_run_time.constant_ranges:
            for place, contents in captured.available(start, end - start):
                own = self.at_run_time.read(place, len(contents))
                if own is None:
                    continue
                compared += len(own)
                if own != contents and (offset := _difference(own, contents)) is not None:
                    return compared, place + offset
        return compared, None

    def _with_arena(self, start: int, end: int) -> Hypervisor:
        areas = address_map(
            self.release,
            text_start=self.text_start,
            image_end=self.image_end,
            arena_start=start,
            arena_end=end,
        )
        return replace(self, arena_start=start, arena_end=end, areas=areas)

    @classmethod
    def _open(cls, path: str | os.PathLike[str], name: str, asked: str | None, *, built_in: bool) -> Hypervisor:
        rules = None if asked is None else release(asked)
        try:
            return _hypervisor(name, read_form(read_contents(path)), rules, built_in=built_in)
        except FormError as error:
            raise HypervisorFileError(f"{name}: {error}") from None
        except OSError as error:
            raise HypervisorFileError(f"{name}: cannot be read: {error.strerror or error}") from None


def _hypervisor(name: str, found: Found, asked: Release | None, *, built_in: bool) -> Hypervisor:
    symbols = found.symbols
    if not len(symbols):
        raise FormError("damaged, or no Xen: its symbol table has no symbol with an address")
    lacks = list(found.lacks)
    newest = next(rules for rules in (NEWEST, NEWEST_HIGH) if rules.xen_virt_start == found.xen_virt_start)
    if found.reported is None and asked is None:
        lacks.append(Lack(f"The file does not say which release it is: the rules of {newest} are taken."))
    # Addresses follow the release that the image is; what was asked for counts only where it does not say.
    own = found.reported or asked or newest
    text_start = _first_of(symbols, b"_stext", b"_start", b"start")
    if text_start is None:
        text_start = int(symbols.addresses[0])
        lacks.append(Lack(f"The symbol _stext is missing: the text is taken to start at {text_start:#x}."))
    image_end, arena_start = _ends_of_image(symbols, own, lacks)
    arena_end = found.reported_arena_end
    if arena_end is None or not arena_start < arena_end <= found.xen_virt_start + GIB:
        arena_end = default_arena_end(own, found.xen_virt_start)
        lacks.append(Lack(f"The payload range is taken to end at {arena_end:#x}, as in a default build."))
    if not found.xen_virt_start <= text_start < image_end <= arena_start < arena_end:
        raise FormError(
            f"damaged, or no Xen: its text starts at {text_start:#x} and its image ends at {image_end:#x},"
            f" which leaves no room for payloads below {arena_end:#x}"
        )
    text_end = symbols.address_of(b"_etext")
    if text_end is None:
        text_end = image_end
        lacks.append(Lack("The symbol _etext is missing: all of the image is taken as text."))
    rules = asked or own
    return Hypervisor(
        file=name,
        release=rules,
        build_id=found.build_id,
        text_start=text_start,
        text_end=text_end,
        image_start=text_start,
        image_end=image_end,
        arena_start=arena_start,
        arena_end=arena_end,
        symbols=symbols,
        areas=address_map(
            rules, text_start=text_start, image_end=image_end, arena_start=arena_start, arena_end=arena_end
        ),
        built_in=built_in,
        # What the model lacks, it lacks by design: it stands for a default build.
        _lacks=() if built_in else tuple(lacks),
        own_release=own,
        has_image=bool(found.pieces),
        _xen_virt_start=found.xen_virt_start,
        _pieces=found.pieces,
        _release_was_asked_for=asked is not None,
    )


def _ends_of_image(symbols: SymbolTable, own: Release, lacks: list[Lack]) -> tuple[int, int]:
    """Return where the mapped image ends, and where the payload range starts (`spec/02 §8.2`)."""
    end = symbols.address_of(b"_end")
    mapped_end = symbols.address_of(b"__2M_rwdata_end")
    if end is None:
        end = int(symbols.addresses[-1]) + 1
        arena_start = _rounded_up(end, _TWO_MIB)
        lacks.append(Lack(f"The symbol _end is missing: the payload range is taken to start at {arena_start:#x}."))
        return end, arena_start
    if not own.arena_starts_at_rwdata_end:
        arena_start = _rounded_up(end, _TWO_MIB)
        return min(mapped_end or end, arena_start), arena_start
    if mapped_end is None:
        mapped_end = _rounded_up(end, PAGE_SIZE)
        lacks.append(Lack(f"The symbol __2M_rwdata_end is missing: {mapped_end:#x} is taken, the page after _end."))
    return mapped_end, mapped_end


def _difference(linked: bytes, running: bytes) -> int | None:
    """Return the offset of the first byte that differs, but for ENDBR64 in the form of functions never called so.

    Where the processor tracks indirect branches, boot takes the ENDBR64 of functions that only direct calls reach
    (xen/arch/x86/alternative.c: _apply_alternatives).
    """
    same = bytearray(running)
    offset = running.find(ENDBR64_POISON)
    while offset >= 0:
        if linked.startswith(ENDBR64, offset):
            same[offset : offset + len(ENDBR64)] = ENDBR64
        offset = running.find(ENDBR64_POISON, offset + 1)
    return next((at for at, (one, other) in enumerate(zip(linked, same, strict=True)) if one != other), None)


def _first_of(symbols: SymbolTable, *names: bytes) -> int | None:
    return next((address for name in names if (address := symbols.address_of(name)) is not None), None)


def _rounded_up(value: int, unit: int) -> int:
    return -(-value // unit) * unit
