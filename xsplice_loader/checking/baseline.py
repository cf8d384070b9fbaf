"""Findings that were known before: they are shown, and do not make a run fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from xsplice_loader.checking.judging import NEVER_KNOWN
from xsplice_loader.rules import RULES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from xsplice_loader.checking.judging import Judged

FORMAT = "xsplice-check-baseline/1"
LARGEST = 64 << 20
"""Bytes of a baseline at most."""


class BaselineError(Exception):
    """A baseline cannot be used; the message says why, and what to do."""


class Known(msgspec.Struct, frozen=True, omit_defaults=True):
    """One finding that is known; `fingerprint` is what counts, the rest is for people."""

    fingerprint: str
    rule: str
    payload: str
    message: str
    section: str | None = None
    symbol: str | None = None


class _Baseline(msgspec.Struct, frozen=True):
    schema: str
    findings: list[Known]


class _Schema(msgspec.Struct, frozen=True):
    schema: str


def read_baseline(data: bytes) -> frozenset[str]:
    """Return the fingerprints of a baseline.

    Raises:
        BaselineError: it is none, of another version, or names rules that are not known.
    """
    again = "write it again with --write-baseline"
    if len(data) > LARGEST:
        raise BaselineError(f"it has more than {LARGEST >> 20} MiB, which is no baseline")
    try:
        schema = msgspec.json.decode(data, type=_Schema).schema
        if schema != FORMAT:
            raise BaselineError(f"it is of the form {schema!r}, expected {FORMAT!r}: {again}")
        findings = msgspec.json.decode(data, type=_Baseline).findings
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BaselineError(f"it is no baseline ({error}): {again}") from None
    unknown = sorted({known.rule for known in findings if known.rule not in RULES})
    if unknown:
        raise BaselineError(f"it names rules that this version does not know, {', '.join(unknown[:5])}: {again}")
    return frozenset(known.fingerprint for known in findings)


def baseline(found: Iterable[tuple[str, Judged]]) -> bytes:
    """Return the baseline for findings, each with its payload; one that many hypervisors share stands in it once."""
    known = {
        judged.fingerprint: Known(
            judged.fingerprint,
            judged.finding.rule,
            payload,
            judged.finding.message,
            judged.finding.section,
            judged.finding.symbol,
        )
        for payload, judged in found
        if judged.finding.rule not in NEVER_KNOWN
    }
    document = _Baseline(FORMAT, sorted(known.values(), key=lambda one: (one.payload, one.rule, one.fingerprint)))
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"
