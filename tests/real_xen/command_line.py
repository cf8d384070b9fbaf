"""`scripts/real-xen`: the real hypervisor, fetched, booted, and compared with this program."""

from __future__ import annotations

import datetime
import secrets
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from real_xen import legitimate
from real_xen.bench import Bench
from real_xen.capture import memory_of, memory_of_own, write
from real_xen.case import cases_of
from real_xen.coverage import report as coverage_report
from real_xen.debian import DEFAULT, XENS
from real_xen.fuzzing import fuzz_in_jobs
from real_xen.generator import Generator
from real_xen.machine import CPU, snapshot_of
from real_xen.packages import fetch
from real_xen.problem import HarnessError
from real_xen.recording import Recorder
from real_xen.soak import keep, shrunk
from real_xen.tally import Tally
from real_xen.upload_comparison import UploadBench
from xsplice_loader import Hypervisor

if TYPE_CHECKING:
    from collections.abc import Iterable

    from real_xen.bench import Trial
    from real_xen.case import Case

DISAGREES, FAILED = 1, 2
SHRUNK = 5
"""Disagreements that are made small, which takes minutes each."""
_release = click.option(
    "--release", type=click.Choice(list(XENS)), default=DEFAULT, show_default=True, help="which Xen, from Debian"
)
_PATHS = click.Path(path_type=Path)
_without_memory = click.option(
    "--without-memory",
    is_flag=True,
    help="do not give the program the captured memory of the machine; what it lists as unknown is not compared",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """The real Xen beside this program: fetch it, boot it in an emulator, and compare.

    \b
    scripts/real-xen compare fix.livepatch tonight.script
    scripts/real-xen compare --release 4.20 payloads/
    """


@main.command("fetch")
@_release
@click.option("--install", is_flag=True, help="install the emulator too, if it is missing (as root)")
def fetch_command(release: str, install: bool) -> None:
    """Fetch a Xen, its symbols, its tools and a kernel from Debian; nothing of it is installed."""
    parts = fetch(release, say, install_emulator=install)
    for package, version in parts.versions.items():
        click.echo(f"{package} {version}")


@main.command()
@_release
@click.option("--xen", type=_PATHS, metavar="FILE", help="a boot image of your own, xen or xen.gz, instead of Debian's")
@click.option(
    "--cpu", default=CPU, show_default=True, metavar="MODEL", help="processor of the machine, as for qemu -cpu"
)
@click.argument("out", type=_PATHS, metavar="OUT")
def capture(out: Path, release: str, xen: Path | None, cpu: str) -> None:
    """Boot a Xen in an emulator and write its memory to OUT, an ELF core file.

    It holds the pages of Xen's image that are mapped after boot, by their virtual addresses, and the build-id.

    \b
    scripts/real-xen capture xen-4.17.core
    scripts/real-xen capture --xen /boot/xen-4.18.gz xen-4.18.core
    """
    parts = fetch(release, say)
    if xen is None and cpu == CPU:
        data = memory_of(snapshot_of(parts, say), Hypervisor.open(parts.xen_syms)).read_bytes()
    else:
        data = memory_of_own(parts, xen, cpu, say)
    write(out, data)
    click.echo(f"wrote {out}: {len(data) / 2**20:.1f} MiB")


@main.command()
@_release
@_without_memory
@click.argument("paths", nargs=-1, required=True, type=_PATHS, metavar="DIR|FILE...")
def compare(paths: tuple[Path, ...], release: str, without_memory: bool) -> None:
    """Compare payloads and scripts (*.script: commands of xen-livepatch, one to a line).

    Payloads are made for one build of Xen, and this is Debian's; sources (*.s, see payloads/) are made for it here.
    A payload is uploaded, applied, reverted and unloaded; after each step everything that can be seen is compared:
    what the tool and Xen say, the list, the debug key x, addresses, every byte of the payload's memory and of Xen's
    code and constants.
    """
    bench = Bench(release, say, with_memory=not without_memory)
    cases = cases_of(paths, bench.build_id)
    sys.exit(DISAGREES if run(bench, cases).disagreements else 0)


@main.command()
@_release
@click.option("--chain", is_flag=True, help="payloads stand on each other, in the order given")
@click.argument("folder", type=_PATHS, metavar="OUTDIR")
@click.argument("paths", nargs=-1, required=True, type=_PATHS, metavar="DIR|FILE...")
def record(folder: Path, paths: tuple[Path, ...], release: str, chain: bool) -> None:
    """Record what the real hypervisor does, in the form of tests/data/real-xen-X.Y.Z."""
    bench = Bench(release, say)
    cases = cases_of(paths, bench.build_id)
    recorder = Recorder(bench, folder)
    if chain:
        recorder.record_chain([case for case in cases if case.kind == "payload"])
        cases = [case for case in cases if case.kind != "payload"]
    for number, case in enumerate(cases, 1):
        progress(f"[{number}/{len(cases)}] {case.name}")
        recorder.record(case)
    progress("")
    click.echo(f"recorded {len(paths)} files and folders in {folder}")


@main.command("coverage")
@_release
def coverage_command(release: str) -> None:
    """Tell which rules of the catalogue were seen on the real hypervisor, and why the others were not.

    Seen is what the records in tests/data show, and what runs of `compare` and `soak` on this machine showed.
    """
    lines, unexplained = coverage_report(release)
    for line in lines:
        click.echo(line)
    sys.exit(DISAGREES if unexplained else 0)


@main.command()
@_release
@_without_memory
@click.option("--seed", type=int, help="what everything is made from; default: a fresh one, which is printed")
@click.option("--count", type=click.IntRange(min=1), default=360, show_default=True, help="payloads and scripts, 5:1")
@click.option(
    "--keep",
    "folder",
    type=_PATHS,
    default=Path("build/real-xen"),
    show_default=True,
    help="where to put disagreements",
)
def soak(release: str, seed: int | None, count: int, folder: Path, without_memory: bool) -> None:
    """Compare generated payloads and scripts; the first disagreements are made small and kept."""
    bench = Bench(release, say, with_memory=not without_memory)
    seed = secrets.randbelow(1 << 31) if seed is None else seed
    click.echo(f"seed {seed}")
    generator = Generator(bench.hypervisor, seed)
    tally = run(bench, (generator.plot(number).case(bench.build_id) for number in range(count)), total=count)
    for trial in tally.disagreements[:SHRUNK]:
        plot = generator.plot(int(trial.case.name.rsplit("-", 1)[-1]))
        small, last = shrunk(plot, trial, bench, progress)
        progress("")
        click.echo(f"kept {keep(small, last, folder)}: {shown(str(last.comparison.differences[0]))}")
    sys.exit(DISAGREES if tally.disagreements else 0)


@main.command()
@_release
@click.option("--time", "seconds", type=click.IntRange(min=1), default=120, show_default=True, help="seconds to run")
@click.option("--seed", type=int, help="what payloads are made from; default: a fresh one, which is printed")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="processes")
@click.option(
    "-o",
    "folder",
    type=_PATHS,
    default=Path("build/real-xen"),
    show_default=True,
    help="where to put disagreements",
)
def fuzz(release: str, seconds: int, seed: int | None, jobs: int, folder: Path) -> None:
    """Upload payloads that are changed by chance, here and to the code of the real Xen, and compare.

    That code runs without a boot, in unicorn on the memory of a machine that was booted once: some hundred thousand
    uploads an hour. What is accepted is applied, reverted and unloaded. Verdict, errno, log, debug key x, addresses,
    permissions, every loaded byte and Xen's own code are compared. The same seed makes the same payloads. One
    disagreement of each kind is minimized and kept.
    """
    seed = secrets.randbelow(1 << 31) if seed is None else seed
    click.echo(f"seed {seed}")
    # Whatever has to be fetched or booted first is shared by all jobs.
    version = UploadBench(release, say).version
    report = fuzz_in_jobs(release, seed, seconds, jobs, folder)
    for kind, path in sorted(report.kept.items()):
        click.echo(f"DIFFERS  {shown(kind)}: {report.kinds[kind]} times, kept {path}")
    for rule, count in report.excused.items():
        click.echo(f"[{rule.id}] {count} times: {rule.reason}")
    outcomes = ", ".join(f"{outcome} {count}" for outcome, count in report.outcomes.most_common())
    today = datetime.datetime.now(datetime.UTC).date()
    click.echo(
        f"Xen {version}: {report.uploads} uploads ({outcomes}), {report.uploads * 3600 // seconds} an hour, "
        f"disagreements: {report.disagreements} of {len(report.kinds)} kinds ({today}, {seconds} s)"
    )
    sys.exit(DISAGREES if report.disagreements else 0)


def run(bench: Bench, cases: Iterable[Case], *, total: int | None = None) -> Tally:
    """Compare cases, a line for each, and print the summary."""
    tally = Tally(bench)
    excused: set[legitimate.Rule] = set()
    started = time.monotonic()
    known = len(cases) if isinstance(cases, list) else total
    for number, case in enumerate(cases, 1):
        progress(f"[{number}/{known}] {case.name}")
        trial = bench.attempt(case)
        tally.add(trial)
        excused.update(trial.comparison.excused)
        progress("")
        report(trial)
    tally.store()
    for rule in legitimate.RULES:
        if rule in excused:
            click.echo(f"[{rule.id}] {rule.reason}")
    today = datetime.datetime.now(datetime.UTC).date()
    click.echo(f"{tally.summary()} ({today}, {time.monotonic() - started:.0f} s)")
    return tally


def report(trial: Trial) -> None:
    """Print what came of a case."""
    comparison = trial.comparison
    first = trial.foretold[0].step
    verdict = "agrees" if trial.agrees else "DIFFERS"
    outcome = "crash" if first.crash else "accepted" if first.succeeded else f"errno {first.errno}"
    excuses = "".join(f" [{rule.id}]" for rule in comparison.excused)
    what = outcome if trial.case.kind == "payload" else f"{len(trial.observed)} steps"
    click.echo(f"{verdict:8} {shown(trial.case.name)}: {what}, {comparison.fields} fields{excuses}")
    for difference in comparison.differences:
        click.echo(f"         {shown(str(difference))}")


def shown(text: str) -> str:
    """Return text that does no harm to a terminal."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape", "ignore").decode() for char in text)


def say(text: str) -> None:
    """Tell what takes time."""
    click.echo(f"real-xen: {text}", err=True)


def progress(text: str) -> None:
    """Show on a terminal where we are; an empty text wipes it away."""
    if sys.stderr.isatty():
        click.echo(f"\r\x1b[K{shown(text)}", nl=False, err=True)


def entry() -> None:
    """Run the command line."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _frame: sys.exit(128 + received))
    try:
        main(prog_name="scripts/real-xen")
    except HarnessError as error:
        progress("")
        say(str(error))
        sys.exit(FAILED)
