"""What a run of comparisons comes to, and which rules it has shown at work."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from real_xen.packages import cache_folder

if TYPE_CHECKING:
    from pathlib import Path

    from real_xen.bench import Bench, Trial


class Tally:
    """Counts trials."""

    def __init__(self, bench: Bench) -> None:
        self._release = bench.parts.release
        self._version = bench.parts.versions[f"xen-hypervisor-{bench.parts.release}-amd64"]
        self.payloads = self.scripts = self.fields = self.size = 0
        self.disagreements: list[Trial] = []
        self.seen: dict[str, str] = {}
        """Rules, and the first case that showed each."""

    def add(self, trial: Trial) -> None:
        """Count one."""
        self.payloads += trial.case.kind == "payload"
        self.scripts += trial.case.kind == "script"
        self.fields += trial.comparison.fields
        self.size += trial.comparison.size
        if not trial.agrees:
            self.disagreements.append(trial)
        for rule in trial.comparison.rules:
            self.seen.setdefault(rule, trial.case.name)

    def store(self) -> None:
        """Keep the rules that were seen, beside those of earlier runs."""
        seen_file(self._release).write_text(
            json.dumps({**self.seen, **stored(self._release)}, indent=1, sort_keys=True) + "\n", encoding="utf-8"
        )

    def summary(self) -> str:
        """Return the one line that counts."""
        return (
            f"Xen {self._version}: {self.payloads} payloads, {self.scripts} scripts, {self.fields} fields and "
            f"{self.size / 2**20:.0f} MiB of memory compared, disagreements: {len(self.disagreements)}"
        )


def seen_file(release: str) -> Path:
    """Return where the rules that were seen are kept."""
    return cache_folder() / f"seen-{release}.json"


def stored(release: str) -> dict[str, str]:
    """Return the rules that earlier runs saw, and the case that showed each."""
    try:
        found = json.loads(seen_file(release).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return {str(rule): str(case) for rule, case in found.items()}
