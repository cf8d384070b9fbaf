"""Long text on a terminal, a screen at a time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

DEFAULT = "less"
LESS = "FRX"
"""What less is told where nobody told it: end if all fits a screen, show colours, leave the text where it is."""


def wants_pager(output: str | None, *, wanted: bool) -> bool:
    """Tell whether text for `output` goes through a pager: only where a person reads it on a terminal."""
    return wanted and output in (None, "-") and sys.stdout is not None and sys.stdout.isatty()


def page(contents: bytes) -> bool:
    """Show text with the user's pager ($PAGER, else less), and return whether there was one that could."""
    pager = os.environ.get("PAGER", DEFAULT)
    if not pager.strip() or (pager == DEFAULT and shutil.which(DEFAULT) is None):
        return False
    try:
        # $PAGER is a command line for a shell, as git and man take it.
        process = subprocess.Popen(pager, shell=True, stdin=subprocess.PIPE, env={"LESS": LESS, **os.environ})
    except OSError:
        return False
    try:
        process.communicate(contents)
    except KeyboardInterrupt:
        # It means the pager, which has its own idea of it.
        process.wait()
    # 127 and 126: the shell found no such command, or none that it may run.
    return process.returncode not in (126, 127)


def columns(output: str | None) -> int:
    """Return how wide text for `output` may be: COLUMNS, else the terminal's width, else 80."""
    if output in (None, "-") or os.environ.get("COLUMNS"):
        return shutil.get_terminal_size((80, 24)).columns
    return 80
