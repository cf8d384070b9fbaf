"""`xsplice-check`: every payload against every hypervisor."""

from __future__ import annotations

import glob
import os
import sys
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import click
from click.core import ParameterSource

from xsplice_loader import __version__
from xsplice_loader.cli.configuration import PROJECT_FILE, find_configuration, read_configuration
from xsplice_loader.cli.hosting import UnusableError, enough_memory, safe
from xsplice_loader.cli.options import check_places, loading_options, memory_options, schema_option
from xsplice_loader.cli.output import OutputError, emit, interruptible, keep_inputs, paint_for, write_whole
from xsplice_loader.streams import read_bounded

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from xsplice_loader.checking.executors import Executor
    from xsplice_loader.checking.journal import Journal
    from xsplice_loader.checking.judging import Judge
    from xsplice_loader.checking.matrix import Chunk
    from xsplice_loader.checking.question import Question
    from xsplice_loader.livepatch.patching import NopTable
    from xsplice_loader.memory.vmap import VmapCallback
    from xsplice_loader.report.checked import Run
    from xsplice_loader.rules.rule import Severity

CLEAN, FINDINGS, UNUSABLE = 0, 1, 2
POLICIES = ("xen", "linux", "bfd", "lld", "mold")
SEVERITIES = ("error", "warning", "note")
MAX_JOBS = 256
EXCLUSIVE = (
    ("verbose", "quiet"),
    ("jobs", "dask"),
    ("place", "vmap"),
    ("place", "any_placement"),
    ("place", "stack"),
    ("policy", "stack"),
    ("policy", "any_placement"),
    ("policy", "window"),
)
"""Options that go without one another."""
NEUTRAL = {
    "verbose": False,
    "quiet": False,
    "jobs": 1,
    "dask": None,
    "place": None,
    "vmap": "xen",
    "any_placement": False,
    "stack": False,
    "policy": "xen",
    "window": False,
}
"""What these are when nobody asks for them."""
EXAMPLES = """\b
Examples:
  xsplice-check -x xen-syms-4.17-amd64 *.livepatch
  xsplice-check -x builds/ payloads/                every payload on every hypervisor of a directory
  xsplice-check --any-placement -x builds/ fix.livepatch
  xsplice-check --stack -x xen-syms base.livepatch on-top.livepatch
  xsplice-check --format sarif -o fix.sarif -x builds/ fix.livepatch
  xsplice-check --write-baseline known.json -x builds/ payloads/
  xsplice-check --compare-policies -x xen-syms fix.livepatch
  xsplice-check --jobs 8 --resume run.journal -x builds/ payloads/

Exit status: 0 clean, 1 findings of error severity (or of --fail-on), 2 wrong usage, or nothing could be checked.
"""


class Settings(NamedTuple):
    """What the options say."""

    config: str | None
    payloads: tuple[str, ...]
    hypervisor: tuple[str, ...]
    hypervisor_path: tuple[str, ...]
    memory: tuple[str, ...]
    require_hypervisor: bool
    match_build_id: bool
    allow_assumed: bool
    release: str | None
    vmap: str | VmapCallback
    place: int | None
    arena: tuple[int, int] | None
    max_size: int
    nops: NopTable
    cpu_features: frozenset[int]
    stack: bool
    any_placement: bool
    window: bool
    policy: str
    compare_policies: bool
    select: tuple[str, ...]
    ignore: tuple[str, ...]
    severity: tuple[str, ...]
    fail_on: Literal["error", "warning", "note"]
    exit_zero: bool
    baseline: str | None
    write_baseline: str | None
    jobs: int
    dask: str | None
    resume: str | None
    format: str
    output: str | None
    verbose: bool
    quiet: bool


def _configure(context: click.Context, _parameter: click.Parameter, path: str | None) -> str | None:
    """Take a project's own options for those that are not typed; return the file that has them."""
    if context.resilient_parsing:
        return None
    found = path if path is not None else find_configuration(os.curdir)
    if found is not None:
        context.default_map = read_configuration(found, context.command)
    return found


def _typed_first(context: click.Context, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options without those of the project's that exclude one that was typed."""

    def come_from(name: str, source: ParameterSource) -> bool:
        return context.get_parameter_source(name) is source

    for pair in EXCLUSIVE:
        for typed, other in (pair, pair[::-1]):
            if come_from(typed, ParameterSource.COMMANDLINE) and come_from(other, ParameterSource.DEFAULT_MAP):
                options[other] = NEUTRAL[other]
    if "-" in (*options["payloads"], *options["hypervisor"]) and come_from("jobs", ParameterSource.DEFAULT_MAP):
        options["jobs"] = NEUTRAL["jobs"]
    return options


def _several(_context: click.Context, _parameter: click.Parameter, values: Sequence[str]) -> tuple[str, ...]:
    """Split what may be given several times, and with commas."""
    return tuple(word for value in values for word in value.replace(",", " ").split())


@click.command(epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.argument("payloads", nargs=-1, metavar="PAYLOAD...")
@click.option(
    "--config",
    metavar="FILE",
    is_eager=True,
    callback=_configure,
    help="options from this TOML file; default: [tool.xsplice-check] of the nearest pyproject.toml",
)
@click.option(
    "-x",
    "--hypervisor",
    metavar="FILE",
    multiple=True,
    help="what to check against, any form that xsplice-load reads; a directory means every hypervisor in it; "
    "default: for each payload the build that it names",
)
@click.option(
    "--hypervisor-path", multiple=True, metavar="DIR", help="look here first for the build that a payload names"
)
@click.option("--require-hypervisor", is_flag=True, help="a payload whose build is not found is an error")
@click.option(
    "--match-build-id",
    is_flag=True,
    help="check each payload against that one of the hypervisors that it was made for, instead of all of them",
)
@click.option("--allow-assumed", is_flag=True, help="without a hypervisor: unknown symbols are warnings, not errors")
@memory_options
@loading_options
@click.option("--stack", is_flag=True, help="the payloads are one stack, ordered by the build-ids that they name")
@click.option("--any-placement", is_flag=True, help="prove it for every address of the range, not for one")
@click.option("--window", is_flag=True, help="measure at which addresses each payload fits")
@click.option(
    "--policy",
    type=click.Choice(POLICIES),
    default="xen",
    show_default=True,
    help="judge relocations as another loader or linker does",
)
@click.option("--compare-policies", is_flag=True, help="show who would accept what")
@click.option(
    "--select", multiple=True, metavar="RULE", callback=_several, help="report these rules only: XSP089, XSP1"
)
@click.option("--ignore", multiple=True, metavar="RULE", callback=_several, help="do not report these rules")
@click.option(
    "--severity", multiple=True, metavar="RULE=LEVEL", callback=_several, help="another severity: XSP063=error"
)
@click.option(
    "--fail-on",
    type=click.Choice(SEVERITIES),
    default="error",
    show_default=True,
    help="the least severity that makes the exit status 1",
)
@click.option("--exit-zero", is_flag=True, help="exit with status 0 whatever was found")
@click.option("--baseline", metavar="FILE", help="findings that are known: shown, but no failure")
@click.option("--write-baseline", metavar="FILE", help="write what is found now as a baseline, and exit with status 0")
@click.option(
    "--jobs", type=click.IntRange(1, MAX_JOBS), default=1, show_default=True, metavar="N", help="processes to work with"
)
@click.option("--dask", metavar="ADDRESS", help="work with the machines of a dask scheduler (extra: fleet)")
@click.option("--resume", metavar="FILE", help="keep a journal here; after an interruption go on from it")
@click.option(
    "--format",
    type=click.Choice(["text", "json", "sarif", "junit", "github"]),
    default="text",
    show_default=True,
    help="how to write the result",
)
@click.option("-o", "--output", metavar="FILE", help="write the result here instead of standard output")
@click.option("-v", "--verbose", is_flag=True, help="every finding, those of the baseline too")
@click.option("-q", "--quiet", is_flag=True, help="only the sums")
@schema_option("xsplice_loader.report.check_document:check_schema")
@click.version_option(__version__, prog_name="xsplice-check")
def main(**options: Any) -> None:
    """Check every payload against every hypervisor, before it is uploaded to any.

    A payload may be a file, a directory of them or a pattern.
    """
    with interruptible():
        sys.exit(run(Settings(**_typed_first(click.get_current_context(), options))))


def command() -> None:
    """Be the installed command."""
    main()


def run(settings: Settings) -> int:
    """Carry the command out and return its exit status."""
    _check_usage(settings)
    judge = _judge(settings)
    # numpy comes with it, which --help can do without.
    from xsplice_loader.checking.inputs import NothingThereError, hypervisor_files, payload_files  # noqa: PLC0415

    try:
        payloads = payload_files(settings.payloads)
    except NothingThereError as error:
        raise _nothing_in(str(error), "payloads", "*.livepatch") from None
    try:
        hypervisors: list[str | None] = [*hypervisor_files(settings.hypervisor)]
    except NothingThereError as error:
        raise _nothing_in(str(error), "hypervisors", "xen*") from None
    # A new baseline does not ask what the old one says.
    known = None if settings.write_baseline is not None else settings.baseline
    outputs = [settings.output, settings.write_baseline, settings.resume]
    keep_inputs(outputs, [*payloads, *hypervisors, *settings.memory, known, settings.config])
    if settings.stack:
        payloads = _stacked(payloads, settings.max_size)
    from xsplice_loader.checking.memories import unused  # noqa: PLC0415 - as above
    from xsplice_loader.report.checked import BY_ITSELF, Run  # noqa: PLC0415

    columns = [_text(file) if file is not None else BY_ITSELF for file in hypervisors] or [BY_ITSELF]
    given = [file for file in hypervisors if file is not None]
    question = _question(settings, given)
    if settings.match_build_id:
        hypervisors, columns = [], [BY_ITSELF]
    with _journal(settings, hypervisors or [None], payloads, question) as journal:
        unfinished = _work(settings, hypervisors or [None], payloads, question, journal)
        checked = Run.of(journal, judge, columns, [_text(file) for file in payloads])
        # These were looked for by their build-id.
        keep_inputs([settings.output, settings.write_baseline], [hypervisor.file for hypervisor in checked.hypervisors])
        if unfinished is None and not given:
            unfinished = unused(question.memory, (hypervisor.build_id for hypervisor in checked.hypervisors))
        if settings.write_baseline is not None and checked.has_checked_anything:
            from xsplice_loader.checking.baseline import baseline  # noqa: PLC0415 - seldom asked for

            write_whole(settings.write_baseline, baseline(checked.judged()))
        emit(settings.output, _render(settings, checked))
    if unfinished is not None:
        click.echo(f"Error: {safe(unfinished)}", err=True)
    if unfinished is not None or not checked.has_checked_anything:
        return UNUSABLE
    is_excused = settings.exit_zero or settings.write_baseline is not None
    return FINDINGS if checked.failing and not is_excused else CLEAN


def _nothing_in(name: str, what: str, pattern: str) -> UnusableError:
    """Return what to say of a directory or a pattern that holds nothing of the kind; `pattern`: their usual names."""
    message = f"there are no {what} in {safe(name)}"
    if os.path.isdir(name) and any(map(os.path.isdir, glob.iglob(os.path.join(glob.escape(name), "*")))):
        message += f" itself; what lies deeper is reached by a pattern: '{safe(os.path.join(name, '**', pattern))}'"
    return UnusableError(message)


def _check_usage(settings: Settings) -> None:
    if settings.verbose and settings.quiet:
        raise click.UsageError("--verbose and --quiet exclude each other")
    check_places(settings.place, settings.vmap)
    if not settings.payloads:
        raise click.UsageError("Missing argument 'PAYLOAD...'.")
    if settings.jobs > 1 and settings.dask is not None:
        raise click.UsageError("--jobs and --dask exclude each other: the cluster has workers of its own")
    if settings.dask is not None and not isinstance(settings.vmap, str):
        raise click.UsageError("a callback of your own cannot be sent to other machines: --vmap NAME goes with --dask")
    if "-" in (*settings.payloads, *settings.hypervisor) and (settings.jobs > 1 or settings.dask is not None):
        raise click.UsageError("standard input can be read once only: - goes without --jobs and --dask")
    if "-" in (*settings.payloads, *settings.hypervisor) and settings.resume is not None:
        raise click.UsageError("what standard input held is not known again: - goes without --resume")
    if settings.policy != "xen" and (settings.stack or settings.any_placement or settings.window):
        raise click.UsageError(
            "--policy judges relocations where they stand: --stack, --any-placement and --window know Xen's rules only"
        )
    if settings.write_baseline == "-":
        raise click.UsageError("--write-baseline - : standard output is where the report goes; name a file")
    if settings.match_build_id and not settings.hypervisor:
        raise click.UsageError("--match-build-id chooses among the hypervisors of -x; without -x it is what happens")
    if settings.place is not None and settings.any_placement:
        raise click.UsageError("--place and --any-placement exclude each other: one address, or all of them")
    if settings.place is not None and settings.stack:
        raise click.UsageError("--place and --stack exclude each other: two payloads cannot stand at one address")


def _judge(settings: Settings) -> Judge:
    from xsplice_loader.checking.baseline import LARGEST, BaselineError, read_baseline  # noqa: PLC0415 - not for --help
    from xsplice_loader.checking.judging import Judge, UnknownRuleError, known_rule  # noqa: PLC0415

    try:
        select, ignore = (tuple(map(known_rule, rules)) for rules in (settings.select, settings.ignore))
        severities = dict(_severity(word) for word in settings.severity)
    except UnknownRuleError as error:
        raise click.UsageError(safe(str(error))) from None
    known: frozenset[str] = frozenset()
    # A new baseline does not ask what the old one says, nor whether there is one.
    if settings.baseline is not None and settings.write_baseline is None:
        data = read_bounded(settings.baseline, LARGEST)
        try:
            if isinstance(data, OSError):
                raise BaselineError(f"it cannot be read: {data.strerror or data}")
            known = read_baseline(data)
        except BaselineError as error:
            raise UnusableError(safe(f"--baseline {settings.baseline}: {error}")) from None
    return Judge(select, ignore, severities, known, settings.fail_on, _project(settings))


def _project(settings: Settings) -> str | None:
    """Return the project's directory: where its `pyproject.toml` is, else the one that the command was typed in."""
    directory, name = os.path.split(settings.config or "")
    try:
        return os.path.abspath(directory if name == PROJECT_FILE else os.curdir)
    except FileNotFoundError:
        return None


def _severity(word: str) -> tuple[str, Severity]:
    from xsplice_loader.checking.judging import UnknownRuleError, known_rule  # noqa: PLC0415 - as above
    from xsplice_loader.rules import RULES  # noqa: PLC0415

    rule, _, level = word.partition("=")
    if level not in SEVERITIES:
        raise click.UsageError(f"--severity {safe(word)}: expected RULE=LEVEL, with {', '.join(SEVERITIES)}")
    name = known_rule(rule)
    if name not in RULES:
        raise UnknownRuleError(f"{rule!r} is the beginning of several rules; --severity takes one")
    return name, level  # type: ignore[return-value]


def _question(settings: Settings, hypervisors: list[str]) -> Question:
    from xsplice_loader.checking.question import Question  # noqa: PLC0415 - as above
    from xsplice_loader.releases import UnknownReleaseError, release  # noqa: PLC0415

    if settings.release is not None:
        try:
            release(settings.release)
        except UnknownReleaseError as error:
            raise click.UsageError(safe(str(error))) from None
    return Question(
        release=settings.release,
        vmap=settings.vmap,
        place=settings.place,
        arena=settings.arena,
        max_size=settings.max_size,
        nops=settings.nops,
        cpu_features=settings.cpu_features,
        hypervisor_path=tuple(map(os.path.abspath, settings.hypervisor_path)),
        require_hypervisor=settings.require_hypervisor,
        memory=_memory(settings, hypervisors),
        among=tuple(hypervisors) if settings.match_build_id else (),
        allow_assumed=settings.allow_assumed,
        stack=settings.stack,
        any_placement=settings.any_placement,
        window=settings.window,
        policy=settings.policy,
        compare_policies=settings.compare_policies,
    )


def _memory(settings: Settings, hypervisors: list[str]) -> tuple[tuple[str, str], ...]:
    """Return the captured memory with the hypervisors that it is of."""
    if not settings.memory:
        return ()
    from xsplice_loader.checking.memories import assigned  # noqa: PLC0415 - seldom asked for
    from xsplice_loader.hypervisor import HypervisorFileError  # noqa: PLC0415 - as above

    for core in settings.memory:
        if core == "-" or (os.path.exists(core) and not os.path.isfile(core)):
            raise click.UsageError(f"--memory {safe(core)}: a core file is read more than once; name a regular file")
    try:
        with enough_memory():
            return assigned(map(os.path.abspath, settings.memory), hypervisors)
    except HypervisorFileError as error:
        raise click.UsageError(safe(str(error))) from None


def _stacked(payloads: list[str], max_size: int) -> list[str]:
    """Return the payloads of a stack from the bottom to the top."""
    from xsplice_loader.checking.stacks import Link, in_order, link_of  # noqa: PLC0415 - as above
    from xsplice_loader.payload import PayloadFile  # noqa: PLC0415

    links = {}
    for file in payloads:
        if file == "-" or (os.path.exists(file) and not os.path.isfile(file)):
            raise UnusableError(f"{safe(file)} can be read once only; a stack is read before it is ordered: name files")
        data = read_bounded(file, max_size)
        links[file] = Link(None, None) if isinstance(data, OSError) else link_of(PayloadFile(data))
    return in_order(links)


def _journal(
    settings: Settings, hypervisors: Sequence[str | None], payloads: Sequence[str], question: Question
) -> Journal:
    from xsplice_loader.checking.journal import Journal, JournalError, identity_of  # noqa: PLC0415 - as above

    count = len(hypervisors) * len(payloads)
    try:
        if settings.resume is None:
            return Journal.temporary(count)
        return Journal.resumed(settings.resume, identity_of(hypervisors, payloads, question), count)
    except JournalError as error:
        raise UnusableError(safe(f"--resume {error}")) from None
    except OSError as error:
        where = "a temporary file" if settings.resume is None else f"--resume {settings.resume}"
        raise OutputError(safe(f"{where}: {error.strerror or error}")) from None


def _work(
    settings: Settings,
    hypervisors: Sequence[str | None],
    payloads: Sequence[str],
    question: Question,
    journal: Journal,
) -> str | None:
    """Check what is not checked yet; return why something is left, if anything is."""
    from xsplice_loader.checking.executors import ExecutorError  # noqa: PLC0415 - as above
    from xsplice_loader.checking.matrix import chunks  # noqa: PLC0415

    missing = _missing(chunks(hypervisors, payloads, whole=settings.stack), journal)
    count = len(hypervisors) * len(payloads)
    executor = _executor(settings)
    is_watched = sys.stderr is not None and sys.stderr.isatty() and not settings.quiet
    bar = click.progressbar(length=count, label="checking", file=sys.stderr, show_pos=True, hidden=not is_watched)
    try:
        with bar:
            bar.update(journal.done)
            for answer in executor.run(missing, question):
                journal.add(answer)
                bar.update(1)
        journal.flush()
    except ExecutorError as error:
        kept = "" if settings.resume is not None else "; with --resume FILE a run could go on from there"
        return f"{error}: {count - journal.done} of {count} cells are not done{kept}"
    except OSError as error:
        raise OutputError(f"the cells cannot be kept: {error.strerror or error}") from None
    return None


def _missing(chunks: Iterable[Chunk], journal: Journal) -> Iterator[Chunk]:
    """Leave out chunks that are done; one that is half done is done again."""
    for chunk in chunks:
        if not all(journal.is_done(chunk.first + offset) for offset in range(len(chunk.payloads))):
            yield chunk


def _executor(settings: Settings) -> Executor:
    from xsplice_loader.checking.executors import Processes, Serial  # noqa: PLC0415 - as above

    if settings.dask is None:
        return Processes(settings.jobs) if settings.jobs > 1 else Serial()
    from xsplice_loader.checking.cluster import Cluster, ClusterError  # noqa: PLC0415 - seldom asked for

    try:
        return Cluster(settings.dask)
    except ClusterError as error:
        raise UnusableError(safe(str(error))) from None


def _render(settings: Settings, checked: Run) -> Iterator[bytes]:
    if settings.format == "json":
        from xsplice_loader.report.check_document import check_json  # noqa: PLC0415 - only what is asked for

        return check_json(checked)
    if settings.format == "sarif":
        from xsplice_loader.report.sarif import sarif  # noqa: PLC0415 - as above

        return sarif(checked)
    if settings.format == "junit":
        from xsplice_loader.report.junit import junit  # noqa: PLC0415 - as above

        return junit(checked)
    if settings.format == "github":
        from xsplice_loader.report.github import github  # noqa: PLC0415 - as above

        return _encoded(github(checked))
    from xsplice_loader.report.check_text import check_lines  # noqa: PLC0415 - as above

    verbosity = -1 if settings.quiet else int(settings.verbose)
    return _encoded(check_lines(checked, verbosity=verbosity, paint=paint_for(settings.output)))


def _encoded(lines: Iterable[str]) -> Iterator[bytes]:
    return (f"{line}\n".encode() for line in lines)


def _text(path: str) -> str:
    from xsplice_loader.checking.cell import shown_path  # noqa: PLC0415 - as above

    return shown_path(path)
