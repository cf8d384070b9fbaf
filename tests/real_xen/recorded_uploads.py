"""What booted hypervisors were recorded to do with an upload to a host without payloads, all records in one form."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import zipfile
from typing import TYPE_CHECKING, NamedTuple

import recorded_sequences
from records import DATA, single_uploads

if TYPE_CHECKING:
    from collections.abc import Iterator

    from real_xen.loader_oracle import Verdict

_ADDRESS = re.compile(r"(0x)?[0-9a-f]{16}")


class RecordedUpload(NamedTuple):
    """One upload; None where the record does not say."""

    name: str
    uploaded_as: str
    data: bytes
    verdict: str
    errno: int | None
    log: tuple[str, ...] | None
    """Lines without `livepatch: NAME:`."""
    address: int | None
    image: str | None
    """SHA-256 of the loaded memory."""

    def for_build(self, recorded: bytes, running: bytes) -> RecordedUpload:
        """Return it for another build: the payload names that one, and addresses are not known."""
        log = None if self.log is None else tuple(line.replace(recorded.hex(), running.hex()) for line in self.log)
        return self._replace(data=self.data.replace(recorded, running), log=log, address=None, image=None)

    def differences(self, real: Verdict, *, same_build: bool) -> list[str]:
        """Return what the loader did otherwise."""
        found = []
        errno = -real.rc or None
        if (self.verdict, self.errno) != (real.verdict, errno):
            found.append(f"{self.name}: {real.verdict} {errno} {real.crash}, recorded {self.verdict} {self.errno}")
        log = _without_prefix(real.console, self.uploaded_as)
        if self.log is not None and (log if same_build else _masked(log)) != (
            self.log if same_build else _masked(self.log)
        ):
            found.append(f"{self.name}: logs {log}, recorded {self.log}")
        if self.address is not None and (real.loaded is None or real.loaded.address != self.address):
            found.append(f"{self.name}: not at {self.address:#x}")
        if self.image is not None and (real.loaded is None or _digest(real.loaded.contents or b"") != self.image):
            found.append(f"{self.name}: other bytes in memory")
        return found


def recorded_uploads(release: str) -> Iterator[RecordedUpload]:
    """Yield the uploads of verdicts.jsonl, variants.jsonl and tables.jsonl."""
    for record in single_uploads(release):
        log = () if record.log is None else tuple(record.log.split("\n"))
        image = None if record.image is None else _digest(record.image)
        yield RecordedUpload(record.name, record.name, record.data, record.verdict, record.errno, log, None, image)
    for kind in ("variants", "tables"):
        folder = DATA / f"real-xen-{release}"
        with zipfile.ZipFile(folder / f"{kind}.zip") as payloads:
            for line in (folder / f"{kind}.jsonl").read_text(encoding="utf-8").splitlines():
                row = json.loads(line)
                # A log that shows an address of the upload's buffer was not kept.
                refusal = tuple(row["log"].split("\n")) if row.get("log") else ()
                yield RecordedUpload(
                    f"{kind} {row['name']}",
                    row["name"],
                    payloads.read(row["name"]),
                    row["verdict"],
                    row.get("errno"),
                    (*row.get("console", ()), *refusal) if "log" in row else None,
                    int(row["text_addr"], 16) if "text_addr" in row else None,
                    row.get("image_sha256"),
                )


def first_uploads(release: str) -> Iterator[RecordedUpload]:
    """Yield the uploads that sequences.jsonl begins with."""
    for sequence in recorded_sequences.recorded():
        step = sequence.steps[0]
        words = shlex.split(step["command"])
        if sequence.release != release or len(words) != 3 or words[0] != "upload":
            continue
        data = sequence.read(words[2])
        died = "died" in step
        if isinstance(data, OSError) or (not died and step["rc"] and step.get("errno") is None):
            continue
        yield RecordedUpload(
            f"sequence {sequence.name}",
            words[1],
            data,
            "crash" if died else "refused" if step["rc"] else "accepted",
            step.get("errno"),
            None if died else _without_prefix(tuple(step.get("xen", ())), words[1]),
            None,
            None if died else step["images"].get(words[1]),
        )


def _without_prefix(lines: tuple[str, ...], name: str) -> tuple[str, ...]:
    prefix = re.compile(f"^livepatch: {re.escape(name)}:? ")
    return tuple(prefix.sub("", line) for line in lines)


def _masked(lines: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_ADDRESS.sub("ADDRESS", line) for line in lines)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
