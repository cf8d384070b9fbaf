"""`xsplice-load`: load payloads, in order, on one simulated hypervisor."""

from __future__ import annotations

import codecs
import gc
import importlib.util
import os
import sys
from typing import TYPE_CHECKING, Literal, NamedTuple

import click

from xsplice_loader import __version__
from xsplice_loader.cli.hosting import UNUSABLE, UnusableError, enough_memory, find_hypervisor, safe, upload_file
from xsplice_loader.cli.options import (
    check_places,
    check_standard_input,
    hypervisor_options,
    loading_options,
    schema_option,
)
from xsplice_loader.cli.output import OutputError, emit, interruptible, keep_inputs, paint_for, write_whole
from xsplice_loader.cli.parameters import Arguments
from xsplice_loader.streams import read_bounded

if TYPE_CHECKING:
    from collections.abc import Callable

    from xsplice_loader.emulation import Run
    from xsplice_loader.host import Host
    from xsplice_loader.host.hooks import HookRunner
    from xsplice_loader.host.script import Command
    from xsplice_loader.hypervisor import Hypervisor
    from xsplice_loader.livepatch.patching import NopTable
    from xsplice_loader.memory.vmap import VmapCallback
    from xsplice_loader.report.schema import When
    from xsplice_loader.results import LoadResult, Relocation, Step

    Contents = Callable[[LoadResult], bytes]

ACCEPTED, REFUSED = 0, 1
MAX_SCRIPT = 1 << 20
"""Bytes of a script at most."""
LONGEST_NAME = 240
"""Bytes of a payload's name that a file can be called by."""

EXAMPLES = """\b
Examples:
  xsplice-load -x xen-syms-4.17-amd64 fix.livepatch
  xsplice-load -x /boot/xen-4.17-amd64.gz base.livepatch on-top.livepatch
  xsplice-load --vmap default fix.livepatch        too far from Xen's text: refused
  xsplice-load --release 4.14.0 fix.livepatch      the rules of another release
  xsplice-load --place 0xffff82d07fe00000 fix.livepatch
  xsplice-load --format json --relocations fix.livepatch > fix.json
  xsplice-load --elf out fix.livepatch && objdump -d out/fix.elf
  xsplice-load --apply base.livepatch on-top.livepatch
  xsplice-load --run xen_extra_version fix.livepatch
  xsplice-load --script commands.txt               xen-livepatch commands, one to a line

Exit status: 0 every payload accepted; 1 some payload refused, some command failed, Xen crashed, or an outcome is
unknown; 2 wrong usage or a file that cannot be read.
"""


class Settings(NamedTuple):
    """What the options say."""

    payloads: tuple[str, ...]
    hypervisor: str | None
    hypervisor_path: tuple[str, ...]
    memory: str | None
    require_hypervisor: bool
    release: str | None
    vmap: str | VmapCallback
    place: int | None
    arena: tuple[int, int] | None
    max_size: int
    nops: NopTable
    cpu_features: frozenset[int]
    run_hooks: bool
    apply: bool
    nodeps: bool
    script: str | None
    run: str | None
    args: tuple[int, ...]
    format: Literal["text", "json"]
    relocations: bool
    window: bool
    image: str | None
    elf: str | None
    output: str | None
    verbose: bool
    quiet: bool


@click.command(epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.argument("payloads", nargs=-1, metavar="PAYLOAD...")
@hypervisor_options
@click.option("--require-hypervisor", is_flag=True, help="exit with status 2 if that build is not found")
@loading_options
@click.option(
    "--run-hooks",
    is_flag=True,
    help="run the payloads' hooks instead of assuming that they return 0; a hook that cannot be followed to its end "
    "makes the outcome unknown",
)
@click.option("--apply", is_flag=True, help="apply each payload after its upload")
@click.option("--nodeps", is_flag=True, help="when applying: whatever the payloads say they stand on")
@click.option(
    "--script",
    metavar="FILE",
    help="instead of PAYLOAD...: commands of xen-livepatch, one to a line; payloads are looked for beside the script",
)
@click.option(
    "--run",
    metavar="FUNCTION",
    help="apply the payloads, and execute a function of the hypervisor, or an address, before and after: "
    "what it returns, the way it takes, what it writes",
)
@click.option("--args", type=Arguments(), default="", metavar="LIST", help="its arguments: up to six integers")
@click.option(
    "--format", type=click.Choice(["text", "json"]), default="text", show_default=True, help="how to write the result"
)
@click.option("--relocations", is_flag=True, help="list every relocation, with instruction, S, A, P and value")
@click.option("--window", is_flag=True, help="measure at which addresses all of the payload fits")
@click.option("--image", metavar="DIR", help="write the loaded memory of each accepted payload as DIR/NAME.image")
@click.option("--elf", metavar="DIR", help="write each accepted payload as DIR/NAME.elf, for objdump, gdb and nm")
@click.option("-o", "--output", metavar="FILE", help="write the result here instead of standard output")
@click.option("-v", "--verbose", is_flag=True, help="also sections, and every finding")
@click.option("-q", "--quiet", is_flag=True, help="only the verdicts")
@schema_option("xsplice_loader.report.document:json_schema")
@click.version_option(__version__, prog_name="xsplice-load")
def main(**options: object) -> None:
    """Load payloads, in order, on one simulated Xen.

    Shows the verdict, errno, log line, addresses and bytes that the real one gives, and why.
    """
    with interruptible():
        sys.exit(run(Settings(**options)))  # type: ignore[arg-type]


def command() -> None:
    """Be the installed command."""
    # It lives for a tenth of a second and makes nothing cyclic; looking for cycles would take a twentieth of that.
    gc.disable()
    main()


def run(settings: Settings) -> int:
    """Carry the command out and return its exit status."""
    if settings.verbose and settings.quiet:
        raise click.UsageError("--verbose and --quiet exclude each other")
    check_places(settings.place, settings.vmap)
    if settings.script is None and not settings.payloads:
        raise click.UsageError("Missing argument 'PAYLOAD...'.")
    if settings.script is not None and (settings.payloads or settings.apply):
        raise click.UsageError("--script stands in the place of PAYLOAD... and --apply: the script uploads and applies")
    if settings.nodeps and not settings.apply and settings.run is None:
        raise click.UsageError(
            "--nodeps goes with --apply or --run; in a script it stands behind the name: apply NAME --nodeps"
        )
    if settings.args and settings.run is None:
        raise click.UsageError("--args goes with --run FUNCTION")
    commands = None if settings.script is None else _commands(settings.script)
    paths = _paths(settings, commands)
    check_standard_input(
        hypervisor=settings.hypervisor,
        memory=settings.memory,
        script=settings.script,
        payload="-" if "-" in paths.values() else None,
    )
    inputs = [*paths.values(), settings.hypervisor, settings.memory, settings.script]
    keep_inputs([settings.output], inputs)
    contents = {file: read_bounded(path, settings.max_size) for file, path in paths.items()}
    host = _host(settings, {file: data for file, data in contents.items() if isinstance(data, bytes)})
    # What a payload brings along is not there before, and cannot be compared.
    before = _execute(host, settings, "before", required=False)
    rest: list[LoadResult] = []
    if commands is None and not settings.apply and settings.run is None:
        steps = None
        results = [upload_file(host, file, contents[file]) for file in settings.payloads]
    else:
        with enough_memory():
            steps, results, rest = _run(settings, host, commands, contents)
        results += rest
    is_over = steps is not None and any(step.is_last for step in steps)
    runs = before if is_over else [*before, *_execute(host, settings, "after", required=True)]
    files = _files(settings, results)
    keep_inputs([settings.output, *(path for path, _, _ in files)], [*inputs, host.hypervisor.file])
    for path, result, contents_of in files:
        write_whole(path, contents_of(result))
        _warn_of_unknown(path, result)
    emit(settings.output, _render(settings, host, results, steps, runs, rest))
    return _status(results, steps or [], runs)


def _commands(script: str) -> list[Command]:
    """Return the commands of a script."""
    from xsplice_loader.host.script import ScriptError, read_script  # noqa: PLC0415 - only for scripts

    data = read_bounded(script, MAX_SCRIPT)
    shown = safe(script)
    if isinstance(data, OSError):
        raise UnusableError(f"{shown} cannot be read: {data.strerror or data}")
    if len(data) > MAX_SCRIPT:
        raise UnusableError(f"{shown} has more than {MAX_SCRIPT} bytes, which is no script")
    try:
        return read_script(data.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape"))
    except ScriptError as error:
        raise UnusableError(f"{shown}: {safe(str(error))}") from None


def _paths(settings: Settings, commands: list[Command] | None) -> dict[str, str]:
    """Return the payloads by the names that they are given, and where they are; a script's lie beside it."""
    if commands is None or settings.script is None:
        return {file: file for file in settings.payloads}
    from xsplice_loader.host.script import files_of  # noqa: PLC0415 - as above

    return {file: _beside(settings.script, file) for file in files_of(commands)}


def _beside(script: str, file: str) -> str:
    """Return where a script's file is."""
    return file if file == "-" else os.path.join(os.path.dirname(script), file)


def _run(
    settings: Settings, host: Host, commands: list[Command] | None, contents: dict[str, bytes | OSError]
) -> tuple[list[Step], list[LoadResult], list[LoadResult]]:
    """Run a script, or upload and apply one payload after the other.

    Return the steps, what became of their uploads, and of the uploads of payloads that no step is left for.
    """
    from xsplice_loader.host.files import name_of  # noqa: PLC0415 - as above
    from xsplice_loader.host.script import run_script, upload_and_apply  # noqa: PLC0415
    from xsplice_loader.host.tool import LivepatchTool  # noqa: PLC0415

    def read(file: str) -> bytes | OSError:
        if file not in contents:
            contents[file] = read_bounded(_beside(settings.script or "", file), settings.max_size)
        return contents[file]

    looks_closer = settings.relocations or settings.window or settings.image is not None or settings.elf is not None
    tool = LivepatchTool(host, read, keeps_memory=looks_closer)
    if commands is not None:
        return list(run_script(tool, commands)), tool.uploads, []
    named = [(name_of(file), file) for file in settings.payloads]
    steps = list(upload_and_apply(tool, named, nodeps=settings.nodeps))
    uploaded = len(tool.uploads)
    # Once the machine is dead, or its state unknown, there are no steps any more. Whether it would have accepted the
    # rest is worth a look all the same, on the host as it was before the last step.
    rest = [upload_file(host, file, contents[file]) for file in settings.payloads[uploaded:]]
    return steps, tool.uploads, rest


def _host(settings: Settings, payloads: dict[str, bytes]) -> Host:
    from xsplice_loader.host import Host  # noqa: PLC0415 - numpy, which --help can do without
    from xsplice_loader.releases import UnknownReleaseError  # noqa: PLC0415

    try:
        return Host(
            _hypervisor(settings, payloads),
            vmap=settings.vmap,
            place=settings.place,
            arena=settings.arena,
            release=settings.release,
            max_size=settings.max_size,
            nops=settings.nops,
            cpu_features=settings.cpu_features,
            hook_runner=_hook_runner() if settings.run_hooks else None,
        )
    except UnknownReleaseError as error:
        raise click.UsageError(str(error)) from None


def _hook_runner() -> HookRunner:
    from xsplice_loader.emulation import EmulatorMissingError, run_hook  # noqa: PLC0415 - seldom asked for

    if importlib.util.find_spec("unicorn") is None:
        raise UnusableError(str(EmulatorMissingError()))
    return run_hook


def _execute(host: Host, settings: Settings, when: When, *, required: bool) -> list[tuple[When, Run]]:
    """Run the function that was asked for, if any; one that is not there is an error where it is required."""
    if settings.run is None:
        return []
    from xsplice_loader.emulation import EmulatorMissingError, UnknownFunctionError, run  # noqa: PLC0415 - as above

    try:
        return [(when, run(host.state, settings.run, settings.args))]
    except UnknownFunctionError as error:
        if not required:
            return []
        raise UnusableError(safe(f"--run {settings.run}: {error}")) from None
    except EmulatorMissingError as error:
        raise UnusableError(str(error)) from None


def _hypervisor(settings: Settings, payloads: dict[str, bytes]) -> Hypervisor:
    return find_hypervisor(
        settings.hypervisor,
        payloads,
        directories=settings.hypervisor_path,
        release=settings.release,
        require=settings.require_hypervisor,
        memory=settings.memory,
    )


def _render(
    settings: Settings,
    host: Host,
    results: list[LoadResult],
    steps: list[Step] | None,
    runs: list[tuple[When, Run]],
    rest: list[LoadResult],
) -> bytes:
    items = [_list(result, host) if settings.relocations else None for result in results]
    if settings.format == "json":
        from xsplice_loader.report.document import document, encode  # noqa: PLC0415 - only for JSON

        return encode(document(host, results, items, steps, runs, with_windows=settings.window))
    from xsplice_loader.report.text import load_report  # noqa: PLC0415 - only for text

    verbosity = -1 if settings.quiet else int(settings.verbose)
    shows_uploads = settings.script is None or settings.relocations or settings.window
    lines = load_report(
        host,
        # A script tells of its uploads itself, as far as that goes.
        results if shows_uploads else [],
        items if shows_uploads else [],
        steps or [],
        runs,
        only_uploaded=rest,
        verbosity=verbosity,
        with_windows=settings.window,
        paint=paint_for(settings.output),
    )
    return "".join(f"{line}\n" for line in lines).encode()


def _list(result: LoadResult, host: Host) -> list[Relocation]:
    from xsplice_loader.relocation.listing import list_relocations  # noqa: PLC0415 - only with --relocations

    return list(list_relocations(result.trace, host.state.release)) if result.trace is not None else []


def _files(settings: Settings, results: list[LoadResult]) -> list[tuple[str, LoadResult, Contents]]:
    """Return what is to be written beside the report: where, of which payload, and what makes it."""
    accepted = {result.name: result for result in results if result.accepted}.values()
    files: list[tuple[str, LoadResult, Contents]] = []
    if settings.image is not None:
        files += [(_path_in(settings.image, result.name, "image"), result, _image) for result in accepted]
    if settings.elf is not None:
        traced = (result for result in accepted if result.trace is not None)
        files += [(_path_in(settings.elf, result.name, "elf"), result, _elf) for result in traced]
    return files


def _image(result: LoadResult) -> bytes:
    return result.image or b""


def _elf(result: LoadResult) -> bytes:
    from xsplice_loader.report.elf_file import elf_file  # noqa: PLC0415 - only for --elf

    return b"" if result.trace is None else elf_file(result.trace)


def _warn_of_unknown(path: str, result: LoadResult) -> None:
    """Say which bytes of a file that was written are not what a host would have."""
    if result.unknown:
        from xsplice_loader.numbers import bytes_text  # noqa: PLC0415 - only for files with unknown bytes
        from xsplice_loader.report.text import SHOWN_UNKNOWN  # noqa: PLC0415

        total = sum(part.size for part in result.unknown)
        places = ", ".join(f"{part.address:#018x}" for part in result.unknown[:SHOWN_UNKNOWN])
        more = ", …" if len(result.unknown) > SHOWN_UNKNOWN else ""
        click.echo(
            f"warning: {safe(path)}: {bytes_text(total)} unknown, left as before that step: {places}{more}", err=True
        )


def _path_in(directory: str, name: str, extension: str) -> str:
    try:
        os.makedirs(directory, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{safe(directory)} cannot be made: {error.strerror or error}") from None
    # A script may call a payload what it likes; the file stays in the folder, and its name fits a file system.
    inside = name.replace("/", "\\x2f")
    if len(os.fsencode(inside)) > LONGEST_NAME:
        raise OutputError(f"{safe(name)} is too long for the name of a file")
    return os.path.join(directory, f"{inside}.{extension}")


def _status(results: list[LoadResult], steps: list[Step], runs: list[tuple[When, Run]]) -> int:
    if any(result.verdict is None for result in results):
        return UNUSABLE
    went_well = all(result.accepted for result in results) and all(step.succeeded for step in steps)
    went_well = went_well and all(run.outcome == "returned" for _, run in runs)
    return ACCEPTED if went_well else REFUSED
