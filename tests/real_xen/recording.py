"""What the real hypervisor did, in the form of the records in `tests/data` (its README says what each key means)."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from real_xen.key_x import read_key_x

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from real_xen.bench import Bench
    from real_xen.case import Case
    from real_xen.observation import Observed, Text
    from xsplice_loader.host.script import Command

Row = dict[str, Any]
PAGE = 4096
HEADING_LINES = 2
"""Of what `xen-livepatch list` prints."""
REPORT_LINES = 60
CARRIED_OVER: Mapping[str, Any] = {"list": [], "patched": [], "text_changes": [], "images": {}}
"""What a step leaves out where it is as it was after the step before, and what it is at first."""
_LIVEPATCH = "livepatch: "


def payload_row(
    file: str, name: str, data: bytes, steps: Sequence[Observed], build_id: str
) -> tuple[Row, bytes | None]:
    """Return the row of one payload for `verdicts.jsonl` or `chain.jsonl`, and its loaded memory."""
    row: Row = {
        "file": file,
        "name": name,
        "sha256": hashlib.sha256(data).hexdigest(),
        "xen_build_id": build_id,
        "died": None,
    }
    image = None
    functions: list[tuple[int, int]] = []
    for step in steps:
        verb = step.command.words[0]
        if ("upload" in row and "placed" not in row) or (verb == "revert" and "patched" not in row):
            continue
        row[verb] = _spoken(step)
        if step.died is not None:
            report = [f"(XEN) {line}" for line in (*step.xen, *step.died.report[:REPORT_LINES])]
            row["died"] = {"why": step.died.reason, "during": f"xen-livepatch {step.command.line}", "console": report}
            break
        printed = next((payload for payload in read_key_x(step.x or ()) if payload.name == name), None)
        if verb == "upload" and printed is not None:
            image = step.images[name].contents
            functions = [(function.old_addr, function.old_size) for function in printed.functions]
            row["placed"] = {
                "state": printed.state,
                **{f"{region}_addr": f"{getattr(printed, region):#018x}" for region in ("text", "rw", "ro")},
                "pages": printed.pages,
                "funcs": [
                    {
                        "name": function.name,
                        "old_addr": f"{function.old_addr:#018x}",
                        "old_size": function.old_size,
                        "new_addr": f"{function.new_addr:#018x}",
                        "new_size": function.new_size,
                    }
                    for function in printed.functions
                ],
                **printed.ids,
                "text_pages": (printed.rw - printed.text) // PAGE,
                "rw_pages": (printed.ro - printed.rw) // PAGE,
                "ro_pages": printed.pages - (printed.ro - printed.text) // PAGE,
                "image_sha256": hashlib.sha256(image).hexdigest(),
                "image": f"{file}.loaded",
            }
            row["before"] = _sites(step, functions)
        elif step.rc == 0 and verb in ("apply", "revert"):
            row["patched" if verb == "apply" else "reverted"] = _sites(step, functions)
            if verb == "apply":
                row["list"] = rows_of(step)
    return row, image


def _spoken(step: Observed) -> Row:
    error = step.error
    return {
        "rc": step.rc,
        "out": list(step.out),
        "err": list(step.err),
        "xen": [f"(XEN) {line}" for line in step.xen],
        "errno": None if error is None else error[0],
        "error": None if error is None else error[1],
        "livepatch": [line.removeprefix(_LIVEPATCH) for line in step.xen if line.startswith(_LIVEPATCH)],
    }


def _sites(step: Observed, functions: list[tuple[int, int]]) -> list[Row]:
    return [{"addr": f"{address:#018x}", "bytes": step.sites[address][:size].hex()} for address, size in functions]


def sequence_row(case: Case, steps: Sequence[Observed], text: Text, after_boot: bytes, kept: Row) -> Row:
    """Return the row of a script for `sequences.jsonl`; `kept` is what an earlier record said that nobody can see."""
    return {
        "sequence": case.name.removesuffix(".script"),
        "shows": kept.get("shows", []),
        **({"run_hooks": kept["run_hooks"]} if "run_hooks" in kept else {}),
        "payloads": {path: hashlib.sha256(data).hexdigest() for path, data in sorted(case.files.items())},
        "steps": list(_sequence_steps(steps, text, after_boot)),
    }


def _sequence_steps(steps: Sequence[Observed], text: Text, after_boot: bytes) -> Iterator[Row]:
    before: Mapping[str, Any] = CARRIED_OVER
    applied = any_x = False
    for number, step in enumerate(steps):
        row: Row = {"command": step.command.line, "rc": step.rc}
        if step.died is not None:
            if step.xen:
                row["xen"] = list(step.xen)
            yield {**row, "died": {"reason": step.died.reason, "report": list(step.died.report[:REPORT_LINES])}}
            return
        row |= {key: list(said) for key in ("out", "err", "xen") if (said := getattr(step, key))}
        if step.error is not None:
            row |= {"errno": step.error[0], "error": step.error[1]}
        applied = any("state=APPLIED" in line for line in step.x or ())
        is_last = number == len(steps) - 1 or steps[number + 1].x is None or not steps[number + 1].images
        if step.x and step.images and (is_last or (applied and not any_x)):
            row["x"] = list(step.x)
            any_x = any_x or applied
        now = {
            "list": rows_of(step),
            "patched": [
                {"address": f"{address:#018x}", "bytes": contents.hex() or None}
                for address, contents in step.sites.items()
            ],
            "text_changes": changes(text.start, after_boot, step.text or after_boot),
            "images": {name: hashlib.sha256(image.contents).hexdigest() for name, image in step.images.items()},
        }
        yield {**row, **{key: value for key, value in now.items() if value != before[key]}}
        before = now


def rows_of(step: Observed) -> list[str]:
    """Return the rows of `xen-livepatch list`, without its heading."""
    has_heading = len(step.listing) > HEADING_LINES and re.match(r" ID +\|", step.listing[0])
    return list(step.listing[HEADING_LINES:]) if has_heading else []


def changes(start: int, before: bytes, now: bytes) -> list[list[str]]:
    """Return the runs of bytes that are not what they were: address, bytes now."""
    places = np.flatnonzero(np.frombuffer(before, np.uint8) != np.frombuffer(now, np.uint8)).tolist()
    runs: list[list[int]] = []
    for place in places:
        if runs and runs[-1][1] == place:
            runs[-1][1] = place + 1
        else:
            runs.append([place, place + 1])
    return [[f"{start + first:#018x}", now[first:end].hex()] for first, end in runs]


def chain_case(cases: Sequence[Case]) -> Case:
    """Return the case of payloads that stand on each other: each is applied, then all are taken down in reverse."""
    up = [command for case in cases for command in case.commands[:2]]
    down = [command for case in reversed(cases) for command in case.commands[2:]]
    files = {path: data for case in cases for path, data in case.files.items()}
    return cases[0]._replace(name="chain", kind="script", commands=(*up, *down), files=files)


class Recorder:
    """Writes records into one folder, beside those of other cases."""

    def __init__(self, bench: Bench, folder: Path) -> None:
        self._bench = bench
        self._folder = folder

    def record(self, case: Case) -> tuple[Observed, ...]:
        """Try a case on the real hypervisor only, and write its record."""
        observed = self._observe(case)
        if case.kind == "script":
            old = {row["sequence"]: row for row in self._rows("sequences.jsonl")}
            comparer = self._bench.comparer
            kept = old.get(case.name.removesuffix(".script"), {})
            row = sequence_row(case, observed, comparer.text, comparer.after_boot_bytes, kept)
            self._put("sequences.jsonl", "sequence", [row])
            self._add_to_archive(case)
        else:
            self._record_payloads([case], observed, "verdicts.jsonl", "payloads")
        return observed

    def record_chain(self, cases: Sequence[Case]) -> tuple[Observed, ...]:
        """Try payloads one on the other, and write their records."""
        observed = self._observe(chain_case(cases))
        self._record_payloads(cases, observed, "chain.jsonl", "payloads/chain")
        return observed

    def _observe(self, case: Case) -> tuple[Observed, ...]:
        return self._bench.observe(case, self._bench.foretell(case))

    def _record_payloads(self, cases: Sequence[Case], observed: Sequence[Observed], file: str, place: str) -> None:
        rows = []
        for case in cases:
            ((path, data),) = case.files.items()
            name = case.commands[0].words[1]
            steps = [step for step in observed if _is_about(step.command, name)]
            row, image = payload_row(path, name, data, steps, self._bench.snapshot.build_id)
            rows.append(row)
            target = self._folder / place / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
            if image is not None:
                (self._folder / "images").mkdir(exist_ok=True)
                (self._folder / "images" / f"{path}.loaded.gz").write_bytes(gzip.compress(image, 9, mtime=0))
        self._put(file, "file", rows)

    def _rows(self, file: str) -> list[Row]:
        path = self._folder / file
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []

    def _put(self, file: str, key: str, rows: list[Row]) -> None:
        """Write rows in place of those that have the same key, or else behind them."""
        new = {row[key]: row for row in rows}
        merged = [new.pop(row[key], row) for row in self._rows(file)]
        self._folder.mkdir(parents=True, exist_ok=True)
        text = "".join(f"{json.dumps(row)}\n" for row in (*merged, *new.values()))
        scratch = self._folder / f".{file}"
        scratch.write_text(text, encoding="utf-8")
        scratch.replace(self._folder / file)

    def _add_to_archive(self, case: Case) -> None:
        path = self._folder / "sequences.zip"
        files: dict[str, bytes] = {}
        if path.is_file():
            with zipfile.ZipFile(path) as archive:
                files = {name: archive.read(name) for name in archive.namelist()}
        files |= case.files
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in sorted(files.items()):
                archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)


def _is_about(command: Command, name: str) -> bool:
    return len(command.words) > 1 and command.words[1] == name
