"""`xsplice-load`'s text: the verdict first, then what a person asks next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.numbers import bytes_text, size_text
from xsplice_loader.report.arena import arena_lines
from xsplice_loader.report.escaping import for_terminal, path_text
from xsplice_loader.report.findings import finding_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from xsplice_loader.emulation.outcomes import Run
    from xsplice_loader.host import Host
    from xsplice_loader.relocation.window import Window
    from xsplice_loader.report.paint import Paint
    from xsplice_loader.results import LoadResult, PatchedFunction, Relocation, Step, UnknownBytes

SHOWN_BYTES = 16
"""Bytes of a function that are shown."""
SHOWN_UNKNOWN = 4
"""Runs of unknown bytes that are listed without -v."""


def load_report(
    host: Host,
    results: Sequence[LoadResult],
    relocations: Sequence[Iterable[Relocation] | None],
    steps: Sequence[Step],
    runs: Sequence[tuple[str, Run]],
    *,
    only_uploaded: Sequence[LoadResult] = (),
    verbosity: int,
    with_windows: bool,
    paint: Paint,
) -> Iterator[str]:
    """Yield the lines of the report: uploads, what was done with them, and what was run before and after.

    `only_uploaded`: those of `results` that no step is about. `verbosity`: -1 verdicts only, 0 ordinary, 1 everything.
    """
    if host.hypervisor.assumed:
        yield paint(
            "assumed hypervisor: the build that these payloads name is not at hand, so its symbols are taken to "
            "lie in Xen's image, and build-ids and old bytes are not compared",
            "warning",
        )
    for result, items in zip(results, relocations, strict=True):
        yield from _payload(result, items, verbosity, paint)
        if verbosity >= 0:
            if with_windows and (window := result.window) is not None:
                yield from _window(window)
            yield ""
    if steps:
        from xsplice_loader.report.steps import step_lines  # noqa: PLC0415 - only with --apply or --script

        yield from step_lines(steps, of_uploads=not results, verbosity=verbosity, paint=paint)
        for result in only_uploaded:
            name, command = for_terminal(path_text(result.file)), for_terminal(steps[-1].command)
            yield paint(f"{name}: only uploaded, to a host as it was before '{command}'; not applied", "warning")
        if verbosity >= 0:
            yield ""
    if runs:
        from xsplice_loader.report.runs import run_lines  # noqa: PLC0415 - only with --run

        yield from run_lines(runs, verbosity=verbosity, paint=paint)
        if verbosity >= 0:
            yield ""
    if verbosity >= 0:
        yield from hypervisor_lines(host)
        names = {loaded.placement.base: loaded.shown_name for loaded in host.payloads if loaded.mapping.mfns}
        yield from arena_lines(host.arena, names, everything=verbosity > 0)


def hypervisor_lines(host: Host) -> Iterator[str]:
    """Yield the lines that say what payloads were loaded against, and where they go."""
    hypervisor = host.hypervisor
    file = "built-in model" if hypervisor.built_in else for_terminal(path_text(hypervisor.file))
    what = f"Xen {hypervisor.own_release.name}"
    if host.state.release.name != hypervisor.own_release.name:
        what += f" under the rules of {host.state.release.name}"
    build_id = hypervisor.build_id.hex() if hypervisor.build_id is not None else "none"
    yield f"hypervisor {file}: {what}, build-id {build_id}"
    if hypervisor.memory is not None:
        yield f"captured memory {for_terminal(path_text(hypervisor.memory))}"
    start, end = host.design.range_of(hypervisor)
    yield f"payloads go to {start:#018x}-{end:#018x}"


def _payload(result: LoadResult, items: Iterable[Relocation] | None, verbosity: int, paint: Paint) -> Iterator[str]:
    yield verdict_line(result, paint)
    if verbosity < 0:
        return
    if result.verdict == "refused":
        yield from _log(result, paint)
    if result.regions is not None:
        yield from _regions(result, paint)
        if verbosity > 0:
            yield from _sections(result, paint)
        yield from _functions(result.funcs, paint)
    yield from _unknown(result.unknown, paint, everything=verbosity > 0)
    if result.relocations.total:
        by_type = ", ".join(f"{count} {name}" for name, count in result.relocations.by_type.items())
        yield f"  relocations {result.relocations.total}: {by_type}"
    if items is not None:
        yield from _relocations(items, paint)
    yield from finding_lines(result.findings, verbosity, paint)


def verdict_line(result: LoadResult, paint: Paint) -> str:
    """Return the line that says what became of an upload."""
    name = for_terminal(path_text(result.file))
    if result.verdict is None:
        return f"{name}: {paint('cannot be read', 'refused')}"
    if result.verdict == "accepted":
        warnings = sum(finding.severity == "warning" for finding in result.findings)
        after = f", {warnings} warning{'s' if warnings > 1 else ''}" if warnings else ""
        return f"{name}: {paint('accepted', 'accepted')}{after}"
    if result.verdict == "crash":
        return f"{name}: {paint('would crash Xen', 'refused')} [{result.rule}]"
    where = f" at {result.stage}" if result.stage is not None else ""
    return f"{name}: {paint('refused', 'refused')}, {result.errno_name} ({result.errno}){where} [{result.rule}]"


def _log(result: LoadResult, paint: Paint) -> Iterator[str]:
    if result.xen_message is None:
        yield paint("  Xen logs nothing", "quiet")
    for line in (result.xen_message or "").splitlines():
        yield f"  Xen logs: {for_terminal(line)}"


def _regions(result: LoadResult, paint: Paint) -> Iterator[str]:
    yield paint(f"  {'region':7}{'address':20}{'pages':>5}  {'bytes':>9}  access", "quiet")
    for region in result.regions or ():
        yield f"  {region.name:7}{region.address:#018x}  {region.pages:>5}  {region.size:#9x}  {region.permissions}"


def _sections(result: LoadResult, paint: Paint) -> Iterator[str]:
    yield paint(f"  {'section':8}{'address':20}{'bytes':>9}  {'in':5}name", "quiet")
    for section in result.sections:
        yield (
            f"  {section.index:<8}{section.address:#018x}  {section.size:#9x}  "
            f"{section.region:5}{for_terminal(section.name)}"
        )


def _functions(functions: Sequence[PatchedFunction], paint: Paint) -> Iterator[str]:
    if functions:
        yield paint("  patched when applied", "quiet")
    for function in functions:
        name = for_terminal(function.name)
        what = f"jumps to {function.new_addr:#018x}" if function.new_addr else f"gets {function.new_size} bytes of NOPs"
        behind = ", behind its ENDBR64" if function.patch_offset else ""
        yield f"    {name} at {function.old_addr:#018x} ({function.old_size} bytes) {what}{behind}"
        if function.patched_hex is not None:
            yield from _changed_bytes(function.before_hex or "", function.patched_hex, paint)


def _changed_bytes(before: str, patched: str, paint: Paint) -> Iterator[str]:
    """Show the first 16 bytes, as they are and as they would be, the changed ones painted."""
    old = _shown_bytes(before)
    new = [
        paint(after, "strong") if after != was else after for was, after in zip(old, _shown_bytes(patched), strict=True)
    ]
    yield paint(f"      before  {' '.join(old)}", "quiet")
    yield f"      after   {' '.join(new)}"


def _shown_bytes(code: str) -> list[str]:
    """Return the first bytes of some in hex, one by one."""
    return [code[place : place + 2] or "??" for place in range(0, 2 * SHOWN_BYTES, 2)]


def _unknown(unknown: Sequence[UnknownBytes], paint: Paint, *, everything: bool) -> Iterator[str]:
    """Say which bytes of the loaded memory are unknown."""
    if not unknown:
        return
    total = sum(part.size for part in unknown)
    yield paint(f"  {bytes_text(total)} unknown: they depend on memory that Xen fills in while it boots", "warning")
    for part in unknown if everything else unknown[:SHOWN_UNKNOWN]:
        where = "" if part.section is None else f" ({for_terminal(part.section)}+{part.offset:#x})"
        yield f"    {part.address:#018x}{where}, {bytes_text(part.size)}: {for_terminal(part.why)}"
    if not everything and len(unknown) > SHOWN_UNKNOWN:
        yield f"    … and {len(unknown) - SHOWN_UNKNOWN} more places; -v shows them all"


def _relocations(items: Iterable[Relocation], paint: Paint) -> Iterator[str]:
    for item in items:
        outcome = "" if item.applied else paint("  not applied", "refused")
        value = "nothing stored" if item.value is None else f"value {item.value:#x}"
        section, symbol = for_terminal(item.section), for_terminal(item.symbol)
        yield f"    {section}:{item.index} +{item.offset:#x} {item.type} {symbol}{outcome}"
        yield paint(f"      S {item.s:#018x}  A {item.a}  P {item.p:#018x}  {value}", "quiet")
        if item.instruction is not None:
            yield f"      {for_terminal(item.instruction)}"


def _window(window: Window) -> Iterator[str]:
    if window.lowest is None or window.highest is None:
        yield "  fits at no address:"
    else:
        arena = "all of the range for payloads" if window.covers_arena else "not all of the range for payloads"
        yield f"  fits from {window.lowest:#018x} to {window.highest:#018x}, {arena}"
    if window.headroom is not None:
        where = "to the nearer end" if window.headroom >= 0 else "outside"
        yield f"    {size_text(window.headroom)} {where}"
    sides = {"low": "breaks first below", "high": "breaks first above", "none": "fits nowhere"}
    for side, limit in window.tightest:
        what = f"{limit.kind} {limit.entry} of {for_terminal(limit.section)}"
        yield f"    {sides[side]}: {what} ({for_terminal(limit.symbol)})"
