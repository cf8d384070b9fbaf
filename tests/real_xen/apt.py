"""Debian's packages by name, downloaded with their signatures checked, and unpacked without being installed.

Packages of this machine's own suite come by its own package lists. For another suite the first Debian mirror in those
lists is asked, with lists and files of its own in the cache: nothing of the machine's configuration is touched.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from real_xen.problem import HarnessError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
TIMEOUT = 900
"""Seconds that one download may take."""


class Suite:
    """One Debian suite, as apt sees it."""

    def __init__(self, name: str, cache: Path) -> None:
        """Take packages from the suite called `name`; `cache` is where lists of other suites are kept."""
        self.name = name
        self._folder = cache / f"apt-{name}"
        self._options: tuple[str, ...] = () if name in _own_suites() else self._own_files()

    def _own_files(self) -> tuple[str, ...]:
        """Return the options that make apt use a configuration of its own for this suite."""
        folder = self._folder
        for part in ("lists/partial", "archives/partial"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        sources = folder / "sources.list"
        sources.write_text(f"deb [arch=amd64 signed-by={KEYRING}] {_mirror()} {self.name} main\n", encoding="utf-8")
        (folder / "status").touch()
        settings = {
            "Dir::Etc::SourceList": sources,
            "Dir::Etc::SourceParts": "/dev/null",
            "Dir::Etc::Preferences": "/dev/null",
            "Dir::Etc::PreferencesParts": "/dev/null",
            "Dir::State": folder,
            "Dir::State::Lists": folder / "lists",
            "Dir::State::Status": folder / "status",
            "Dir::Cache": folder,
            "Acquire::Languages": "none",
        }
        return tuple(word for key, value in settings.items() for word in ("-o", f"{key}={value}"))

    def refresh(self) -> None:
        """Fetch the lists of packages: of another suite always, of this machine's own only as root."""
        if not self._options and os.geteuid() != 0:
            raise HarnessError("apt's package lists lack what is needed; run `apt-get update` as root")
        _run(["apt-get", "-q", *self._options, "-o", "APT::Sandbox::User=root", "update"], f"the lists of {self.name}")

    def are_lists_there(self) -> bool:
        """Tell whether the lists of this suite were fetched at all."""
        return not self._options or any((self._folder / "lists").glob("*_Packages*"))

    def candidate(self, package: str) -> str | None:
        """Return the version that would be downloaded; None if there is none."""
        text = _run(["apt-cache", *self._options, "policy", package], package)
        found = re.search(r"^ +Candidate: (\S+)", text, re.MULTILINE)
        return None if found is None or found[1] == "(none)" else found[1]

    def depends(self, package: str) -> list[str]:
        """Return the packages that `package` names as what it depends on, first alternatives only."""
        text = _run(["apt-cache", *self._options, "show", "--no-all-versions", package], package)
        found = re.search(r"^Depends: (.+)$", text, re.MULTILINE)
        return [] if found is None else [re.split(r"[\s:(|]", part.strip())[0] for part in found[1].split(",")]

    def download(self, packages: Sequence[str], folder: Path) -> list[Path]:
        """Download packages into `folder`; return their files in the same order."""
        if not self.are_lists_there() or any(self.candidate(package) is None for package in packages):
            self.refresh()
        missing = [package for package in packages if self.candidate(package) is None]
        if missing:
            raise HarnessError(f"the mirror of {self.name} has no {', '.join(missing)}")
        folder.mkdir(parents=True, exist_ok=True)
        # As root, apt would fetch as a user who may not write here.
        command = ["apt-get", "-q", *self._options, "-o", "APT::Sandbox::User=root", "download", *packages]
        _run(command, ", ".join(packages), folder)
        return [next(iter(sorted(folder.glob(f"{package}_*.deb")))) for package in packages]


def unpack(package: Path, target: Path, patterns: Iterable[str] = ()) -> None:
    """Unpack a package's files into `target`: those matching `patterns` of tar, or all of them."""
    target.mkdir(parents=True, exist_ok=True)
    wanted = list(patterns)
    if not wanted:
        _run(["dpkg-deb", "-x", str(package), str(target)], package.name)
        return
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE) as files:
        command = ["tar", "-x", "-C", str(target), "--no-same-owner", "--wildcards", *wanted]
        done = subprocess.run(command, stdin=files.stdout, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    if done.returncode or files.returncode:
        raise HarnessError(f"cannot unpack {package.name}: {_last_line(done.stderr)}")


def version_of(package: Path) -> str:
    """Return the version of a downloaded package."""
    return _run(["dpkg-deb", "-f", str(package), "Version"], package.name).strip()


def install(packages: Sequence[str]) -> None:
    """Install packages on this machine, without what they merely recommend; root only."""
    _run(["apt-get", "-q", "update"], "the package lists")
    environment = {"DEBIAN_FRONTEND": "noninteractive"}
    _run(
        ["apt-get", "-q", "install", "-y", "--no-install-recommends", *packages], ", ".join(packages), None, environment
    )


def own_suite() -> str | None:
    """Return the code name of the Debian that this machine runs, if it does."""
    try:
        text = Path("/etc/os-release").read_text(encoding="utf-8")
    except OSError:
        return None
    fields = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    return fields.get("VERSION_CODENAME") if fields.get("ID") == "debian" else None


def _own_suites() -> frozenset[str]:
    name = own_suite()
    return frozenset() if name is None else frozenset([name])


def _mirror() -> str:
    """Return the first Debian mirror that this machine is configured with."""
    form = "$(ORIGIN) $(COMPONENT) $(REPO_URI)"
    text = _run(["apt-get", "indextargets", "--format", form, "Created-By: Packages"], "the configured mirrors")
    for line in text.splitlines():
        origin, component, uri = line.split(" ", 2)
        if origin == "Debian" and component == "main" and "security" not in uri:
            return uri
    return "http://deb.debian.org/debian/"


def _run(command: list[str], what: str, folder: Path | None = None, environment: dict[str, str] | None = None) -> str:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "LC_ALL": "C", **(environment or {})},
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
    except FileNotFoundError:
        raise HarnessError(f"{command[0]} is missing; this needs Debian or a relative of it") from None
    except subprocess.TimeoutExpired:
        raise HarnessError(f"{command[0]} took more than {TIMEOUT} s for {what}") from None
    if done.returncode:
        raise HarnessError(f"{command[0]} failed for {what}: {_last_line(done.stderr)}")
    return done.stdout


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no message"])[-1]
