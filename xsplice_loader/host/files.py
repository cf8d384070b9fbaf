"""Payloads as files: the names that they go by, and what there is to say of one that cannot be read."""

from __future__ import annotations

import os

from xsplice_loader.payload import text_of
from xsplice_loader.results import Finding, LoadResult
from xsplice_loader.rules import upload


def name_of(file: str) -> str:
    """Return the name under which a file is uploaded: without directory and last extension, `stdin` for `-`."""
    return "stdin" if file == "-" else os.path.splitext(os.path.basename(file.rstrip("/")))[0]


def unreadable(file: str, error: OSError) -> LoadResult:
    """Return the result for a file that cannot be read: no verdict, and a finding that says why."""
    reason = error.strerror or str(error)
    finding = Finding(rule=upload.UNREADABLE.id, severity="error", message=f"the file cannot be read: {reason}")
    return LoadResult(
        file=file, name=text_of(os.fsencode(name_of(file))), verdict=None, rule=finding.rule, findings=(finding,)
    )
