"""What came of an upload or an action, in a few words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.rules.errnos import errno_name
from xsplice_loader.teaching.blocks import Block, Listing, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xsplice_loader.results import ActionResult, LoadResult


def verdict_text(result: LoadResult) -> str:
    """Return what became of an upload: verdict, errno, step and rule."""
    if result.accepted:
        return "accepted"
    if result.verdict == "crash":
        return f"would crash Xen [{result.rule}]"
    where = f" at {result.stage}" if result.stage is not None else ""
    return f"refused, {result.errno_name} ({result.errno}){where} [{result.rule}]"


def upload_outcome(result: LoadResult) -> Iterator[Block]:
    """Yield what came of an upload, and the lines that Xen logs."""
    yield Verdict(verdict_text(result), good=result.accepted)
    if result.log:
        yield Listing(tuple(f"(XEN) {line}" for line in result.log))


def action_text(result: ActionResult) -> str:
    """Return what came of an action."""
    if result.crash is not None:
        return f"the machine dies [{result.crash}]"
    if result.unknown is not None:
        return "unknown"
    rc = result.rc or 0
    if rc:
        return f"refused, {_errno_text(rc)}"
    if result.payload_rc:
        return f"taken, and the payload's status says {_errno_text(result.payload_rc)}"
    return "done"


def _errno_text(rc: int) -> str:
    return f"{errno_name(-rc)} ({rc})" if rc < 0 else str(rc)
