"""One target under the coverage-guided fuzzer atheris: `guided.py NAME SECONDS CORPUS [libFuzzer options...]`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import atheris as fuzzer

HANGS = 10
"""Seconds after which an input is taken to hang; what is slow, but not so slow, shows in the figures."""
MEMORY = 1 << 10
"""MiB that the process may come to."""


def main() -> None:
    name, seconds, corpus, *options = sys.argv[1:]
    atheris: Any = fuzzer
    with atheris.instrument_imports(include=["xsplice_loader"]):
        from fuzzing.targets import TARGETS  # noqa: PLC0415 - what is imported here is watched

    target = TARGETS[name]
    folder = Path(corpus)
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (folder / f"seed-{number}").write_bytes(seed)
        # What is made once, on first use, is not to count as the time of some input.
        target.run(seed)
    limits = [
        f"-max_total_time={seconds}",
        f"-timeout={HANGS}",
        f"-rss_limit_mb={MEMORY}",
        f"-max_len={target.largest}",
        f"-artifact_prefix={folder.parent}/{name}-",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *limits, *options, str(folder)], target.run)
    atheris.Fuzz()


main()
