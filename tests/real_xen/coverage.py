"""Which rules of the catalogue were seen at work on the real hypervisor, and why the others were not."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

from recorded_sequences import OTHER_COMMAND, recorded_words, said, words
from recorded_sequences import recorded as recorded_sequences
from recorded_tables import recorded as recorded_tables
from records import DATA, chain, recorded_hypervisor, single_uploads

from real_xen.foretelling import rules_of
from real_xen.tally import stored
from xsplice_loader import Host
from xsplice_loader.emulation import run_hook
from xsplice_loader.host.tool import LivepatchTool
from xsplice_loader.rules import RULES, checking
from xsplice_loader.rules.applicability import applies

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xsplice_loader.releases import Release
    from xsplice_loader.rules import Rule

RECORDS = {"4.14": ("4.14.6", "4.14.6"), "4.17": ("4.17.7", "4.17.7"), "4.20": ("4.20.3", "4.20.4")}
"""Folders of records of single payloads, and of sequences."""

OURS = "an observation of this program's own: Xen does not test it"
WITHOUT_ID = "Debian's Xen has a build-id"
NO_FILE = "no file reaches Xen: the tool cannot read it"
REASONS = {
    "XSP002": "an empty file never reaches Xen: the tool cannot map it",
    "XSP005": NO_FILE,
    "XSP052": WITHOUT_ID,
    "XSP162": WITHOUT_ID,
    "XSP215": WITHOUT_ID,
    "XSP193": OURS,
    "XSP194": OURS,
    "XSP199": OURS,
    "XSP200": OURS,
    "XSP201": OURS,
    "XSP202": OURS,
    "XSP203": OURS,
    "XSP208": OURS,
    "XSP209": OURS,
    "XSP240": OURS,
    "XSP241": OURS,
    "XSP246": OURS,
    "XSP247": OURS,
    "XSP248": OURS,
    "XSP210": "the tool does not ask Xen for it: it asks for the payload's state first, and says that there is none",
    "XSP245": "the marks are not in the payload, where a file could bring them along, but in Xen's own memory",
    "XSP211": "the tool does not ask Xen for it: it looks at the state first and says that it is the wrong one",
}
"""Why a rule that a release has cannot be seen there."""


OF_THE_CHECKER = frozenset(rule.id for rule in checking.ALL)
"""Rules on what is asked beyond an upload, of which no hypervisor knows anything."""


def report(release: str) -> tuple[list[str], int]:
    """Return the lines of the report on a release, and how many rules were not seen for no known reason."""
    seen = {**recorded(release), **{rule: f"{case} (this machine)" for rule, case in stored(release).items()}}
    rules = recorded_hypervisor(RECORDS[release][0]).release
    lines, missing = [], 0
    for rule in RULES.values():
        if not has(rules, rule):
            lines.append(f"{rule.id}  -        {rule.title}: not in {release}")
        elif rule.id in seen:
            lines.append(f"{rule.id}  seen     {rule.title}: {seen[rule.id]}")
        else:
            reason = REASONS.get(rule.id)
            missing += reason is None
            lines.append(f"{rule.id}  {'not seen' if reason else 'MISSING '} {rule.title}: {reason or 'not tried'}")
    count = sum(has(rules, rule) for rule in RULES.values())
    shown = sum(has(rules, rule) and rule.id in seen for rule in RULES.values())
    lines.append(
        f"Xen {release}: {count} rules, {shown} seen on the real hypervisor, {count - shown - missing} cannot be, "
        f"{missing} missing"
    )
    return lines, missing


def has(release: Release, rule: Rule) -> bool:
    """Tell whether a release has a rule."""
    return rule.id not in OF_THE_CHECKER and applies(rule, release)


def recorded(release: str) -> dict[str, str]:
    """Return the rules that the records show, each with the first record that does."""
    seen: dict[str, str] = {}
    for name, rules in _of_records(release):
        for rule in rules:
            seen.setdefault(rule, name)
    return seen


def _of_records(release: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield names of records, and the rules that they stand for: the tests hold that the program agrees with them."""
    singles, sequences = RECORDS[release]
    hypervisor = recorded_hypervisor(singles)
    for record in single_uploads(singles):
        host = Host(hypervisor, nops="k8", hook_runner=run_hook)
        yield record.name, rules_of(host.upload(record.name, record.data).findings, is_upload=True)
    host = Host(hypervisor, nops="k8", hook_runner=run_hook)
    for record in chain(singles):
        yield record.name, rules_of(host.upload(record.name, record.data).findings, is_upload=True)
    features = {
        row["name"]: row.get("cpu_features", ())
        for of in (True, False)
        for version, row in recorded_tables(of_exception_tables=of)
        if version == singles
    }
    for file in ("variants.zip", "tables.zip"):
        with zipfile.ZipFile(DATA / f"real-xen-{singles}" / file) as archive:
            for name in archive.namelist():
                host = Host(hypervisor, nops="k8", cpu_features=features.get(name, ()))
                yield name, rules_of(host.upload(name, archive.read(name)).findings, is_upload=True)
    for sequence in recorded_sequences():
        if sequence.release != sequences:
            continue
        host = Host(recorded_hypervisor(sequences), nops="k8", hook_runner=run_hook)
        tool = LivepatchTool(host, sequence.read)
        for recorded_step in sequence.steps:
            if recorded_step["command"].startswith(OTHER_COMMAND):
                continue
            step = tool.run(recorded_step["command"], words(recorded_step))
            died = bool(recorded_step.get("died"))
            if died is not (step.crash is not None) or (not died and said(step) != recorded_words(recorded_step)):
                break
            is_upload = words(recorded_step)[:1] in (["upload"], ["load"])
            yield sequence.name, rules_of(step.findings, is_upload=is_upload)
