"""Everything a machine with a given Xen is made of, fetched once and kept in the cache."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from real_xen.apt import Suite, install, own_suite, unpack, version_of
from real_xen.debian import BUSYBOX, EMULATOR, KERNEL, OWN_SUITE, XENS
from real_xen.problem import HarnessError
from real_xen.shared_objects import needed_by

if TYPE_CHECKING:
    from collections.abc import Callable

QEMU = "qemu-system-x86_64"
KERNEL_FILES = ("./boot/vmlinuz-*", "*/drivers/xen/*", "*/drivers/virtio/*", "*/drivers/block/virtio_blk*")
"""What is kept of the kernel's package, which is large."""
SETTLED = "complete.json"
"""Written last: a folder without it is no good."""


class Parts(NamedTuple):
    """What was fetched for one Xen."""

    release: str
    xen: Path
    """The boot image, unzipped."""
    xen_syms: Path
    kernel: Path
    modules: tuple[Path, ...]
    """The kernel's modules that may be needed."""
    busybox: Path
    tools: Path
    """A tree with the tools and their libraries."""
    versions: dict[str, str]
    """Debian's version of each package."""

    @property
    def livepatch(self) -> Path:
        """The tool `xen-livepatch`."""
        return the_one(self.tools, f"usr/lib/xen-{self.release}/bin/xen-livepatch")


def cache_folder() -> Path:
    """Return where everything is kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "xsplice-loader" / "real-xen"


def fetched(release: str) -> Parts | None:
    """Return what is there of a release, if all of it is."""
    cache = cache_folder()
    try:
        versions = {
            **json.loads((cache / "kernel" / SETTLED).read_text(encoding="utf-8")),
            **json.loads((cache / release / SETTLED).read_text(encoding="utf-8")),
        }
    except FileNotFoundError:
        return None
    tree, kernel = cache / release, cache / "kernel"
    return Parts(
        release=release,
        xen=tree / "xen",
        xen_syms=tree / "xen-syms",
        kernel=the_one(kernel, "tree/boot/vmlinuz-*"),
        modules=tuple(sorted(kernel.glob("tree/**/*.ko*"))),
        busybox=the_one(kernel, "tree/**/bin/busybox"),
        tools=tree / "tree",
        versions=versions,
    )


def fetch(release: str, say: Callable[[str], None], *, install_emulator: bool = False) -> Parts:
    """Fetch what is missing of a release.

    Args:
        release: X.Y, one of `XENS`.
        say: is told what is being done.
        install_emulator: install the emulator if it is not there, as root.

    Raises:
        HarnessError: something cannot be had.
    """
    if shutil.which(QEMU) is None:
        if not install_emulator:
            raise HarnessError(f"{QEMU} is missing; `scripts/real-xen fetch --install` installs it (as root)")
        say(f"installing {EMULATOR}")
        install([EMULATOR])
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    for name, fill in (("kernel", _fill_kernel), (release, _fill_xen)):
        if not (cache / name / SETTLED).is_file():
            _fill(cache, name, fill, say)
    parts = fetched(release)
    if parts is None:
        raise HarnessError(f"{cache} was changed meanwhile")
    return parts


def _fill(
    cache: Path,
    name: str,
    fill: Callable[[Path, str, Path, Callable[[str], None]], dict[str, str]],
    say: Callable[[str], None],
) -> None:
    """Have a folder of the cache filled, beside its place, and moved there when it is complete."""
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=cache) as scratch:
        work = Path(scratch) / name
        work.mkdir()
        versions = fill(work, name, cache, say)
        (work / SETTLED).write_text(json.dumps(versions, indent=1) + "\n", encoding="utf-8")
        target = cache / name
        if target.exists():
            shutil.rmtree(target)
        work.rename(target)


def _fill_kernel(work: Path, _name: str, cache: Path, say: Callable[[str], None]) -> dict[str, str]:
    suite = Suite(own_suite() or OWN_SUITE, cache)
    if suite.candidate(KERNEL) is None:
        suite.refresh()
    images = [package for package in suite.depends(KERNEL) if package.startswith("linux-image-")]
    if not images:
        raise HarnessError(f"{KERNEL} of {suite.name} depends on no kernel")
    say(f"fetching {images[0]} and {BUSYBOX}")
    kernel, busybox = suite.download([images[0], BUSYBOX], work / "debs")
    unpack(kernel, work / "tree", KERNEL_FILES)
    unpack(busybox, work / "tree")
    versions = {images[0]: version_of(kernel), BUSYBOX: version_of(busybox)}
    shutil.rmtree(work / "debs")
    return versions


def _fill_xen(work: Path, release: str, cache: Path, say: Callable[[str], None]) -> dict[str, str]:
    xen = XENS[release]
    suite = Suite(xen.suite, cache)
    say(f"fetching Xen {release} from {xen.suite}")
    tree, debs = work / "tree", work / "debs"
    versions = {}
    for package, path in zip(xen.packages, suite.download(xen.packages, debs), strict=True):
        versions[package] = version_of(path)
        unpack(path, tree)
    _add_libraries(suite, xen.tools, tree, debs)
    shutil.rmtree(debs)
    for source, target in (("boot/xen-*.gz", "xen"), ("usr/lib/debug/**/xen-syms-*", "xen-syms")):
        (work / target).write_bytes(unzipped(the_one(tree, source)))
    return versions


def _add_libraries(suite: Suite, package: str, tree: Path, debs: Path) -> None:
    """Unpack libraries that `package` depends on, and those depend on, until the tool has all it needs."""
    tool = the_one(tree, "usr/lib/xen-*/bin/xen-livepatch")
    layer, seen = suite.depends(package), {package}
    while needed_by(tool, tree).missing:
        wanted = sorted({name for name in layer if name.startswith("lib") and "python" not in name} - seen)
        if not wanted:
            raise HarnessError(f"{package} depends on nothing that has {', '.join(needed_by(tool, tree).missing)}")
        for path in suite.download(wanted, debs):
            unpack(path, tree)
        seen.update(wanted)
        layer = [name for one in wanted for name in suite.depends(one)]


def unzipped(path: Path) -> bytes:
    """Return a file's content, unpacked if it is gzipped."""
    data = path.read_bytes()
    return gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data


def the_one(folder: Path, pattern: str) -> Path:
    """Return the file that `pattern` means in `folder`.

    Raises:
        HarnessError: there is none.
    """
    found = sorted(path for path in folder.glob(pattern) if path.is_file() and path.suffix != ".map")
    if not found:
        raise HarnessError(f"no {pattern} in {folder}: a package is not what it used to be")
    return found[0]
