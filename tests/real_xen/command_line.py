"""`scripts/real-xen`: the real hypervisor, fetched, booted, and compared with this program."""

from __future__ import annotations

import datetime
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from real_xen.bench import Bench
from real_xen.case import cases_of
from real_xen.debian import DEFAULT, XENS
from real_xen.packages import fetch
from real_xen.problem import HarnessError
from real_xen.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Iterable

    from real_xen.bench import Trial
    from real_xen.case import Case

DISAGREES, FAILED = 1, 2
_release = click.option(
    "--release", type=click.Choice(list(XENS)), default=DEFAULT, show_default=True, help="which Xen, from Debian"
)
_PATHS = click.Path(path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """The real Xen beside this program: fetch it, boot it in an emulator, and compare.

    \b
    scripts/real-xen compare fix.livepatch tonight.script
    scripts/real-xen compare --release 4.20 payloads/
    """  # noqa: D301 - \b is for click


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
@click.argument("paths", nargs=-1, required=True, type=_PATHS, metavar="DIR|FILE...")
def compare(paths: tuple[Path, ...], release: str) -> None:
    """Compare payloads and scripts (*.script: commands of xen-livepatch, one to a line).

    A payload is uploaded, applied, reverted and unloaded; after each step everything that can be seen is compared:
    what the tool and Xen say, the list, the debug key x, addresses, every byte of the payload's memory and of Xen's
    code and constants. Payloads are made for one build of Xen: that of --release.
    """
    cases = cases_of(list(paths))
    bench = Bench(release, say)
    sys.exit(DISAGREES if run(bench, cases).disagreements else 0)


def run(bench: Bench, cases: Iterable[Case], *, total: int | None = None) -> Tally:
    """Compare cases, a line for each, and print the summary."""
    tally = Tally(bench)
    started = time.monotonic()
    known = len(cases) if isinstance(cases, list) else total
    for number, case in enumerate(cases, 1):
        progress(f"[{number}/{known}] {case.name}")
        trial = bench.attempt(case)
        tally.add(trial)
        progress("")
        report(trial)
    tally.store()
    today = datetime.datetime.now(datetime.UTC).date()
    click.echo(f"{tally.summary()} ({today}, {time.monotonic() - started:.0f} s)")
    return tally


def report(trial: Trial) -> None:
    """Print what came of a case."""
    comparison = trial.comparison
    last = trial.foretold[0].step
    verdict = "agrees" if trial.agrees else "DIFFERS"
    outcome = "crash" if last.crash else "accepted" if last.succeeded else f"errno {last.errno}"
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


def entry() -> NoReturn:
    """Run the command line."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        main(prog_name="scripts/real-xen")
    except HarnessError as error:
        progress("")
        say(str(error))
        sys.exit(FAILED)
