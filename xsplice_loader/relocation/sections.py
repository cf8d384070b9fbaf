"""Which relocation sections there are to apply, and whether their form is right (`spec/01 §11`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from xsplice_loader.memory.placement import is_refused
from xsplice_loader.payload import elf
from xsplice_loader.rules import placing as rules

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from xsplice_loader.findings import Findings
    from xsplice_loader.payload import ObjectFile, Section


class RelocationSection(NamedTuple):
    """A relocation section that passed the tests on its form, with the section that it applies to."""

    section: Section
    target: Section
    entries: np.ndarray


def relocation_sections(payload: ObjectFile, findings: Findings) -> Iterator[RelocationSection]:
    """Yield the relocation sections that are to be applied (`spec/01 §11`), empty ones left out."""
    for section in payload.sections:
        if section.type not in (elf.SHT_RELA, elf.SHT_REL) or section.info >= payload.header.section_count:
            continue
        if section.info == 0:
            findings.add(
                rules.RELOCATION_SECTION_ZERO,
                f"{section.text_name} has sh_info 0: Xen would follow a NULL pointer",
                section=section.text_name,
                index=section.index,
            )
            continue
        target = payload.section(section.info)
        if not target.is_allocated or is_refused(target, findings.release):
            continue
        if section.link != payload.symbols.section_index:
            findings.add(
                rules.WRONG_SYMBOL_TABLE_LINK,
                f"{section.text_name} has sh_link {section.link}; the symbol table is section "
                f"{payload.symbols.section_index}",
                words={
                    "name": section.name,
                    "link": section.link - (1 << 32 if section.link >> 31 else 0),
                    "expected": payload.symbols.section_index,
                },
                section=section.text_name,
                index=section.index,
            )
            continue
        if _has_right_form(section, findings) and section.size:
            yield RelocationSection(section, target, payload.relocation_entries(section))


def _has_right_form(section: Section, findings: Findings) -> bool:
    is_rela = section.type == elf.SHT_RELA
    checks_header_first = findings.release.checks_relocation_header_first
    if not section.size and (is_rela or checks_header_first):
        # Skipped unseen; where the header is not looked at first, SHT_REL is refused whatever its size.
        return True
    least = elf.RELA_SIZE if is_rela else elf.REL_SIZE
    broken = []
    if section.entry_size < least or section.size % section.entry_size:
        broken.append(
            (
                rules.RELOCATION_TABLE_SIZE,
                f"{section.text_name} has {section.size} bytes in entries of {section.entry_size}; expected a "
                f"whole number of entries of at least {least} bytes",
            )
        )
    if not is_rela:
        broken.append(
            (rules.REL_UNSUPPORTED, f"{section.text_name} is of type REL; x86-64 relocations are of type RELA")
        )
    if not checks_header_first:
        broken.reverse()
    for rule, message in broken:
        findings.add(rule, message, section=section.text_name, index=section.index)
    return not broken
