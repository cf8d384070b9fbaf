"""`xsplice-explain`: see a payload load, one relocation in numbers, what a rule is for, how it all works."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, Literal, NamedTuple

import click

from xsplice_loader import __version__
from xsplice_loader.cli.hosting import UNUSABLE, UnusableError, find_hypervisor, safe, upload_file
from xsplice_loader.cli.options import check_places, check_standard_input, hypervisor_options, loading_options
from xsplice_loader.cli.output import emit, interruptible, keep_inputs, paint_for
from xsplice_loader.cli.pager import columns, page, wants_pager
from xsplice_loader.streams import read_bounded

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from xsplice_loader.host import Host
    from xsplice_loader.livepatch.patching import NopTable
    from xsplice_loader.memory.vmap import VmapCallback
    from xsplice_loader.report.explain import Style
    from xsplice_loader.results import LoadResult, Step
    from xsplice_loader.teaching.anatomy import Anatomy
    from xsplice_loader.teaching.blocks import Block
    from xsplice_loader.teaching.scene import Scene
    from xsplice_loader.teaching.walk import Walk

EXPLAINED = 0
_RULE = re.compile(r"xsp[0-9]+", re.IGNORECASE)

EXAMPLES = """\b
Examples:
  xsplice-explain                                  what there is to learn
  xsplice-explain overflow                         a lesson: what does not fit 32 bits
  xsplice-explain XSP089                           a rule: what it is for, and an example that breaks it
  xsplice-explain fix.livepatch                    the walk through its load, step by step
  xsplice-explain -x xen-syms base.livepatch on-top.livepatch
  xsplice-explain --reloc .text:3 fix.livepatch    one relocation: S, A, P, bits, reach
  xsplice-explain --vmap default --reloc .text:1 fix.livepatch
  xsplice-explain --html fix.html fix.livepatch    the same as a page for a browser

A word with a slash or a dot in it, and -, is a payload. Any other word is a rule or a lesson if there is one of that
name, and a payload if not: write ./vmap for a file called vmap.

Exit status: 0 explained, a refused payload too; 2 wrong usage, a file that cannot be read, or nothing of that name.
"""


class Settings(NamedTuple):
    """What the options say."""

    words: tuple[str, ...]
    hypervisor: str | None
    hypervisor_path: tuple[str, ...]
    memory: str | None
    release: str | None
    vmap: str | VmapCallback
    place: int | None
    arena: tuple[int, int] | None
    max_size: int
    nops: NopTable
    cpu_features: frozenset[int]
    reloc: tuple[str, int] | None
    html: str | None
    format: Literal["text", "json"]
    pager: bool
    output: str | None
    verbose: bool
    quiet: bool


def _relocation(_context: click.Context, _parameter: click.Parameter, text: str | None) -> tuple[str, int] | None:
    """Return section and index of `SECTION:INDEX`."""
    if text is None:
        return None
    section, separator, index = text.rpartition(":")
    if not separator or not section or not index.isascii() or not index.isdecimal() or len(index) > 12:
        raise click.BadParameter(f"expected SECTION:INDEX, for example .text:3, the first index being 0; not {text!r}")
    return section, int(index)


@click.command(epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.argument("words", nargs=-1, metavar="[PAYLOAD... | RULE | TOPIC]")
@hypervisor_options
@loading_options
@click.option(
    "--reloc",
    metavar="SECTION:INDEX",
    callback=_relocation,
    help="one relocation of the (last) payload; SECTION is what it changes, or its table; INDEX counts from 0",
)
@click.option("--html", metavar="FILE", help="write the load as a page for a browser, in one file")
@click.option(
    "--format", type=click.Choice(["text", "json"]), default="text", show_default=True, help="how to write it"
)
@click.option("--pager/--no-pager", default=True, help="on a terminal: show it with $PAGER, or less (default: yes)")
@click.option("-o", "--output", metavar="FILE", help="write it here instead of standard output")
@click.option("-v", "--verbose", is_flag=True, help="also every row, every finding, and what each rule says")
@click.option("-q", "--quiet", is_flag=True, help="of a load only the verdict and how far it came")
@click.version_option(__version__, prog_name="xsplice-explain")
def main(**options: object) -> None:
    """See a payload load, and understand why it does or does not.

    Explains a PAYLOAD (several are loaded in order, on one host), a RULE such as XSP089, or a TOPIC such as overflow.
    """
    with interruptible():
        sys.exit(run(Settings(**options)))  # type: ignore[arg-type]


def command() -> None:
    """Be the installed command."""
    main()


def run(settings: Settings) -> int:
    """Carry the command out and return its exit status."""
    if settings.verbose and settings.quiet:
        raise click.UsageError("--verbose and --quiet exclude each other")
    check_places(settings.place, settings.vmap)
    lessons, payloads = _sorted(settings.words)
    if lessons and payloads:
        raise click.UsageError(
            f"{safe(lessons[0])} is a lesson and {safe(payloads[0])} a payload: one at a time, please"
        )
    if not payloads:
        if settings.reloc is not None or settings.html is not None:
            raise click.UsageError("--reloc and --html go with a PAYLOAD")
        return _teach(settings, lessons)
    check_standard_input(
        hypervisor=settings.hypervisor, memory=settings.memory, payload="-" if "-" in payloads else None
    )
    if settings.html is not None:
        if settings.reloc is not None or settings.format != "text":
            raise click.UsageError("--html goes without --reloc and --format: the page holds all of it")
        return _write_page(settings, payloads)
    return _walk(settings, payloads)


def _sorted(words: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return the lessons and the payloads among words."""
    from xsplice_loader.rules import RULES  # noqa: PLC0415 - not for --help
    from xsplice_loader.teaching.topics import TOPICS  # noqa: PLC0415

    lessons, payloads = [], []
    for word in words:
        is_path = word == "-" or "/" in word or "." in word
        name = word.upper() if _RULE.fullmatch(word) else word.lower()
        if not is_path and (name in RULES or name in TOPICS):
            lessons.append(name)
        elif is_path or os.path.exists(word):
            payloads.append(word)
        else:
            raise click.UsageError(_unknown(word, [*RULES, *TOPICS]))
    return lessons, payloads


def _unknown(word: str, names: list[str]) -> str:
    import difflib  # noqa: PLC0415 - only for a hint

    is_rule = _RULE.fullmatch(word) is not None
    near = difflib.get_close_matches(word.upper() if is_rule else word.lower(), names, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else "xsplice-explain alone lists what there is."
    what = "rule" if is_rule else "lesson, rule or file"
    return f"there is no {what} called {safe(word)}; {hint}"


def _teach(settings: Settings, lessons: list[str]) -> int:
    from xsplice_loader.teaching.contents import contents  # noqa: PLC0415 - not for --help

    told = [(lesson, *_lesson(lesson)) for lesson in lessons] or [("contents", "contents", contents())]
    if settings.format == "json":
        from xsplice_loader.report.explain_document import encode, lesson_entry  # noqa: PLC0415 - only for JSON

        emit(settings.output, encode(*(lesson_entry(kind, name, blocks) for name, kind, blocks in told)))
        return EXPLAINED
    style = _style(settings)
    _show(settings, _lesson_lines([blocks for _, _, blocks in told], style))
    return EXPLAINED


def _lesson(name: str) -> tuple[str, Iterable[Block]]:
    """Return the kind of a lesson, and what there is to tell."""
    from xsplice_loader.rules import RULES  # noqa: PLC0415 - not for --help
    from xsplice_loader.teaching.rule_lesson import rule_lesson  # noqa: PLC0415
    from xsplice_loader.teaching.topics import lesson  # noqa: PLC0415

    return ("rule", rule_lesson(RULES[name])) if name in RULES else ("topic", lesson(name))


def _lesson_lines(lessons: Iterable[Iterable[Block]], style: Style) -> Iterator[str]:
    from xsplice_loader.report.explain import lesson_lines  # noqa: PLC0415 - not for --help

    for number, blocks in enumerate(lessons):
        if number:
            yield ""
        yield from lesson_lines(blocks, style)


def _walk(settings: Settings, payloads: list[str]) -> int:
    """Show the walk of every payload, or one relocation of the last."""
    from xsplice_loader.teaching.walk import retrace, scene_of  # noqa: PLC0415 - not for --help

    contents = _contents(settings, payloads)
    host = _host(settings, contents)
    walks: list[Walk] = []
    unread: list[LoadResult] = []
    scene: Scene | None = None
    for file in payloads:
        data, below = contents[file], host.payloads
        result = upload_file(host, file, data)
        if isinstance(data, OSError):
            unread.append(result)
            continue
        scene = scene_of(host, result, data, below)
        walks.append(retrace(scene))
    for result in unread:
        click.echo(f"{safe(result.file)}: {safe(result.findings[0].message)}", err=True)
    status = UNUSABLE if unread else EXPLAINED
    if scene is None:
        return status
    if settings.reloc is not None:
        _show_relocation(settings, host, scene)
    elif settings.format == "json":
        from xsplice_loader.report.explain_document import encode, hypervisor_entry, walk_entry  # noqa: PLC0415 - as above

        emit(settings.output, encode(hypervisor_entry(host), *map(walk_entry, walks)))
    else:
        _show(settings, _walk_lines(host, walks, _style(settings)))
    return status


def _walk_lines(host: Host, walks: list[Walk], style: Style) -> Iterator[str]:
    from xsplice_loader.report.explain import wrapped  # noqa: PLC0415 - not for --help
    from xsplice_loader.report.explain_walk import walk_lines  # noqa: PLC0415
    from xsplice_loader.report.text import hypervisor_lines  # noqa: PLC0415

    for line in hypervisor_lines(host):
        yield from wrapped(line, style.width, "  ")
    for walk in walks:
        yield ""
        yield from walk_lines(walk, style)


def _show_relocation(settings: Settings, host: Host, scene: Scene) -> None:
    from xsplice_loader.teaching.anatomy import NeverPlacedError, NoSuchRelocationError, anatomy  # noqa: PLC0415 - as above

    section, index = settings.reloc or ("", 0)
    try:
        found: Anatomy | NeverPlacedError = anatomy(scene, section, index)
    except NoSuchRelocationError as error:
        raise UnusableError(safe(f"--reloc {section}:{index}: {error}")) from None
    except NeverPlacedError as error:
        found = error
    if settings.format == "json":
        from xsplice_loader.report.explain_document import encode, hypervisor_entry, relocation_entry  # noqa: PLC0415

        emit(settings.output, encode(hypervisor_entry(host), relocation_entry(scene.result, found, (section, index))))
        return
    from xsplice_loader.report.explain import lesson_lines  # noqa: PLC0415 - as above
    from xsplice_loader.teaching.relocation_blocks import never_placed_blocks, relocation_blocks  # noqa: PLC0415

    if isinstance(found, NeverPlacedError):
        blocks = never_placed_blocks(scene.result, str(found))
    else:
        blocks = relocation_blocks(found)
    _show(settings, lesson_lines(blocks, _style(settings)))


def _write_page(settings: Settings, payloads: list[str]) -> int:
    """Write the page: the uploads, and on every accepted payload apply and then revert."""
    from xsplice_loader.report.page.page import page_html  # noqa: PLC0415 - only for --html

    contents = _contents(settings, payloads)
    host = _host(settings, contents)
    results, steps = _there_and_back(host, payloads, contents)
    emit(settings.html, page_html(host, results, steps))
    for result in results:
        if result.verdict is None:
            click.echo(f"{safe(result.file)}: {safe(result.findings[0].message)}", err=True)
    return UNUSABLE if any(result.verdict is None for result in results) else EXPLAINED


def _there_and_back(
    host: Host, payloads: list[str], contents: dict[str, bytes | OSError]
) -> tuple[list[LoadResult], list[Step]]:
    """Upload all payloads, apply those that are accepted in order, and revert them in the opposite order."""
    from xsplice_loader.host.tool import LivepatchTool  # noqa: PLC0415 - as above

    results = [upload_file(host, file, contents[file]) for file in payloads]
    tool = LivepatchTool(host, contents.__getitem__, keeps_memory=True)
    names = [loaded.name for loaded in host.payloads]
    steps: list[Step] = []
    for verb, name in [*(("apply", name) for name in names), *(("revert", name) for name in reversed(names))]:
        steps.append(tool.run(f"{verb} {name}", [verb, name]))
        if steps[-1].is_last:
            break
    return results, steps


def _contents(settings: Settings, payloads: list[str]) -> dict[str, bytes | OSError]:
    return {file: read_bounded(file, settings.max_size) for file in payloads}


def _host(settings: Settings, contents: dict[str, bytes | OSError]) -> Host:
    from xsplice_loader.host import Host  # noqa: PLC0415 - numpy, which --help can do without
    from xsplice_loader.releases import UnknownReleaseError  # noqa: PLC0415

    keep_inputs([settings.output, settings.html], [*contents, settings.hypervisor, settings.memory])
    try:
        host = Host(
            find_hypervisor(
                settings.hypervisor,
                {file: data for file, data in contents.items() if isinstance(data, bytes)},
                directories=settings.hypervisor_path,
                release=settings.release,
                require=False,
                memory=settings.memory,
            ),
            vmap=settings.vmap,
            place=settings.place,
            arena=settings.arena,
            release=settings.release,
            max_size=settings.max_size,
            nops=settings.nops,
            cpu_features=settings.cpu_features,
        )
    except UnknownReleaseError as error:
        raise click.UsageError(str(error)) from None
    keep_inputs([settings.output, settings.html], [host.hypervisor.file])
    return host


def _style(settings: Settings) -> Style:
    from xsplice_loader.report.explain import Style  # noqa: PLC0415 - not for --help

    verbosity = -1 if settings.quiet else int(settings.verbose)
    return Style(columns(settings.output), paint_for(settings.output), verbosity=verbosity)


def _show(settings: Settings, lines: Iterable[str]) -> None:
    contents = "".join(f"{line}\n" for line in lines).encode()
    if not wants_pager(settings.output, wanted=settings.pager) or not page(contents):
        emit(settings.output, contents)
