"""A machine that runs the real Xen, ready for payloads: booted once, and restored from its snapshot ever after."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from real_xen.console import DOMAIN_FELL, PREFIX, Said, is_dead, told, xen_lines
from real_xen.emulator import Emulator, MachineStoppedError
from real_xen.initramfs import initramfs
from real_xen.key_x import HEADING
from real_xen.packages import QEMU, cache_folder
from real_xen.problem import DomainFellError, HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from real_xen.packages import Parts

# Xen patches the instructions for SMAP into its entry points; as TCG does them, the domain's kernel dies of them.
CPU = "max,smap=off"
MEMORY = 512
"""MiB of the machine."""
DISK_SIZE = 64 << 20
"""Bytes of the disk that payload files go through."""
XEN_OPTIONS = "com1=115200,8n1 console=com1 loglvl=all guest_loglvl=all noreboot dom0_mem=256M,max:256M"
KERNEL_OPTIONS = "console=hvc0 quiet panic=-1"
BOOT_TIMEOUT = 300
STEP_TIMEOUT = 60
"""Seconds after which a machine that says nothing counts as dead."""
KEPT = 86400
"""Seconds that a snapshot of other packages is kept."""
LAST_WORDS = 10
"""Seconds that a dying machine may take for its report."""
BOOTS = 3
"""Boots that are tried until one gives a machine that can be saved and restored."""
FREED = re.compile(rb"\(XEN\) (?:\[[^]\n]*\] )?Freed \d+kB init memory")
"""What Xen says last of its own boot (xen/arch/x86/setup.c: init_done)."""
SHOWN_LINES = 12
"""Lines of Xen's that an error shows of a boot that failed."""
FELL = "the domain's kernel crashed"
"""The reason of a death that is not Xen's own."""
TO_XEN = b"\x01\x01\x01"
"""Typed on the console, this makes Xen listen instead of the domain."""
SECTOR = 4096
ADDRESS_LIMIT = 1 << 64


class Answer(NamedTuple):
    """What a command of the domain said."""

    rc: int
    out: bytes
    err: bytes
    list: bytes
    """What `xen-livepatch list` said afterwards."""


class Died(NamedTuple):
    """The end of a machine."""

    reason: str
    report: tuple[str, ...]
    """The first lines are the registers."""


class Seen(NamedTuple):
    """One step, as seen from outside."""

    answer: Answer | None
    """None: the machine died."""
    xen: tuple[str, ...]
    """Xen's lines."""
    x: tuple[str, ...]
    """What its debug key `x` printed afterwards; nothing if it was not pressed."""
    died: Died | None


class Snapshot(NamedTuple):
    """A machine that was booted once."""

    folder: Path
    arguments: tuple[str, ...]
    """Of the emulator, without the disk."""
    build_id: str
    """What the running hypervisor says of itself."""

    @property
    def memory(self) -> Path:
        """The machine's state."""
        return self.folder / "snapshot"


def snapshot_of(parts: Parts, say: Callable[[str], None]) -> Snapshot:
    """Return the snapshot of a machine with this Xen; boot one if there is none yet, which takes about 20 seconds."""
    initrd = initramfs(parts)
    version = subprocess.run([QEMU, "--version"], capture_output=True, text=True, check=True, timeout=60).stdout
    recipe = json.dumps([version, CPU, MEMORY, DISK_SIZE, XEN_OPTIONS, KERNEL_OPTIONS, parts.versions]).encode()
    digest = hashlib.sha256(recipe + initrd).hexdigest()[:16]
    folder = cache_folder() / parts.release / f"machine-{digest}"
    arguments = boot_arguments(parts.xen, parts.kernel, folder / "initrd", CPU)
    if not folder.is_dir():
        say(f"booting Xen {parts.release} for the first time")
        for old in folder.parent.glob("machine-*"):
            # Not under somebody who may be using it.
            if time.time() - old.stat().st_mtime > KEPT:
                shutil.rmtree(old, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=".machine-", dir=folder.parent) as scratch:
            work = Path(scratch) / "machine"
            work.mkdir()
            (work / "initrd").write_bytes(initrd)
            (work / "build-id").write_text(_boot(arguments, folder, work, say), encoding="utf-8")
            try:
                work.rename(folder)
            except OSError:
                # Another run booted the same one meanwhile.
                if not folder.is_dir():
                    raise
    return Snapshot(folder, arguments, (folder / "build-id").read_text(encoding="utf-8"))


def boot_arguments(xen: Path, kernel: Path, initrd: Path, cpu: str) -> tuple[str, ...]:
    """Return the emulator's arguments, without the disk, for a machine that boots a Xen on a processor model."""
    return (
        *("-accel", "tcg", "-cpu", cpu, "-m", str(MEMORY), "-smp", "1"),
        *("-nodefaults", "-display", "none", "-no-reboot"),
        *("-kernel", str(xen), "-append", XEN_OPTIONS),
        *("-initrd", f"{kernel} {KERNEL_OPTIONS},{initrd}"),
    )


def _boot(arguments: tuple[str, ...], folder: Path, work: Path, say: Callable[[str], None]) -> str:
    """Boot a machine in `work`, which becomes `folder`, and return the build-id of its hypervisor.

    A kernel may be saved on its way to a fall of its own, which every restored machine would then repeat: a snapshot
    is kept only once a machine restored from it has lived through its first commands.
    """
    arguments = tuple(word.replace(str(folder), str(work)) for word in arguments)
    for tries_left in reversed(range(BOOTS)):
        build_id = _saved(arguments, work)
        try:
            with (
                tempfile.TemporaryDirectory(prefix="real-xen-") as scratch,
                Machine.restored(Snapshot(work, arguments, build_id), Path(scratch)) as machine,
            ):
                machine.put({"proof": bytes(SECTOR)})
            break
        except DomainFellError:
            if not tries_left:
                raise
            say("the domain's kernel fell; booting once more")
    return build_id


def _saved(arguments: tuple[str, ...], work: Path) -> str:
    """Boot a machine, save it, and return the build-id of its hypervisor."""
    with tempfile.TemporaryDirectory(prefix="real-xen-") as scratch, Machine(arguments, Path(scratch)) as machine:
        machine.wait_until_ready()
        found = [line.removeprefix("build-id: ") for line in machine.press_x() if line.startswith("build-id: ")]
        if len(found) != 1:
            raise HarnessError("the hypervisor does not say its build-id")
        machine.save(work / "snapshot")
    return found[0]


class Machine:
    """One running machine."""

    def __init__(self, arguments: tuple[str, ...], scratch: Path, *, state: Path | None = None) -> None:
        """Start a machine, from its saved `state` or from nothing; `scratch` is a folder for its files."""
        self._scratch = scratch
        self._disk = scratch / "disk"
        self._read_file = scratch / "memory"
        with self._disk.open("wb") as disk:
            disk.truncate(DISK_SIZE)
        self._next_sector = 0
        self._marks = 0
        incoming = () if state is None else ("-incoming", f"exec:cat {shlex.quote(str(state))}")
        self._emulator = Emulator(
            (
                *arguments,
                *("-drive", f"file={self._disk},format=raw,if=none,id=disk,readonly=on"),
                *("-device", "virtio-blk-pci,drive=disk"),
                *incoming,
            )
        )

    @classmethod
    def restored(cls, snapshot: Snapshot, scratch: Path) -> Self:
        """Return a machine as it was after its boot."""
        machine = cls(snapshot.arguments, scratch, state=snapshot.memory)
        try:
            emulator = machine._emulator
            while emulator.qmp("query-status")["status"] == "inmigrate":
                emulator.listen(0.01)
            machine._mark()
        except (MachineStoppedError, TimeoutError):
            machine.close()
            raise DomainFellError("a restored machine does not live") from None
        except BaseException:
            machine.close()
            raise
        return machine

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Switch the machine off."""
        self._emulator.close()
        self._disk.unlink(missing_ok=True)
        self._read_file.unlink(missing_ok=True)

    def wait_until_ready(self) -> None:
        """Wait for the end of the boot.

        Raises:
            HarnessError: it does not come.
        """
        emulator = self._emulator
        try:
            is_up = emulator.wait_for(lambda: b"ready\n" in emulator.channel or is_dead(emulator.console), BOOT_TIMEOUT)
        except MachineStoppedError as stopped:
            raise HarnessError(f"the emulator ended while booting: {stopped}") from None
        if not is_up or b"ready\n" not in emulator.channel:
            last = "; ".join(xen_lines(bytes(emulator.console))[-3:])
            raise HarnessError(f"Xen did not boot in {BOOT_TIMEOUT} s: {last}")
        emulator.channel.clear()
        emulator.type(TO_XEN)
        self._mark()

    def wait_until_booted(self) -> None:
        """Wait until Xen has freed the memory that it needed to boot: from then on its image stays as it is.

        Raises:
            HarnessError: it does not come that far.
        """
        emulator = self._emulator
        try:
            emulator.wait_for(
                lambda: FREED.search(emulator.console) is not None or is_dead(emulator.console), BOOT_TIMEOUT
            )
        except MachineStoppedError as stopped:
            raise HarnessError(f"the emulator ended while booting{self._last_lines()}: {stopped}") from None
        if FREED.search(emulator.console) is None:
            how = "crashed while booting" if is_dead(emulator.console) else f"did not boot in {BOOT_TIMEOUT} s"
            raise HarnessError(f"Xen {how}{self._last_lines()}")

    def _last_lines(self) -> str:
        lines = [line for line in xen_lines(bytes(self._emulator.console)) if line.strip("* ")][-SHOWN_LINES:]
        return (
            "; its last lines:\n" + "\n".join(f"  (XEN) {line}" for line in lines) if lines else "; it printed nothing"
        )

    def stop(self) -> None:
        """Stop the processor; memory stays as it is."""
        self._emulator.qmp("stop")

    def go_on(self) -> None:
        """Let a stopped processor run."""
        self._emulator.qmp("cont")

    def monitor(self, command: str) -> str:
        """Run a command of the emulator's human monitor, and return what it prints."""
        return str(self._emulator.qmp("human-monitor-command", command_line=command))

    def save(self, target: Path) -> None:
        """Save the machine's state; it stands still afterwards."""
        emulator = self._emulator
        emulator.qmp("migrate", uri=f"exec:cat > {shlex.quote(str(target))}")
        while (status := emulator.qmp("query-migrate").get("status")) not in ("completed", "failed"):
            emulator.listen(0.05)
        if status == "failed":
            raise HarnessError(f"the emulator cannot save its state to {target}")

    def put(self, files: Mapping[str, bytes]) -> None:
        """Give the domain files, by path: relative to where its commands run.

        Raises:
            HarnessError: they are too large for the disk.
            DomainFellError: the domain is no more.
        """
        if sum(-(-len(data) // SECTOR) for data in files.values()) * SECTOR > DISK_SIZE:
            raise HarnessError(f"payloads of more than {DISK_SIZE >> 20} MiB in one script")
        for path, data in files.items():
            sectors = -(-len(data) // SECTOR)
            if (self._next_sector + sectors) * SECTOR > DISK_SIZE:
                self._next_sector = 0
            with self._disk.open("r+b") as disk:
                disk.seek(self._next_sector * SECTOR)
                disk.write(data)
            command = f"take {self._next_sector} {len(data)} {shlex.quote(path)}"
            self._next_sector += sectors
            try:
                answer = self._ask(command)
            except (MachineStoppedError, TimeoutError):
                raise DomainFellError(f"the machine died while it was given {path}") from None
            if answer.rc or answer.err:
                raise HarnessError(f"the domain cannot take {path}: {answer.err.decode(errors='replace').strip()}")

    def step(self, command: str, *, press_x: bool) -> Seen:
        """Run a command of the domain's and say all that came of it."""
        emulator = self._emulator
        start = len(emulator.console)
        try:
            answer = self._ask(command)
            x = self.press_x() if press_x else ()
            if not press_x:
                self._mark()
        except MachineStoppedError as stopped:
            return self._death(start, str(stopped) or "the machine stopped")
        except TimeoutError:
            return self._death(start, "the machine hangs")
        lines = _with_heading_apart(xen_lines(bytes(emulator.console[start:])))
        until = lines.index(HEADING) if press_x else len(lines)
        return Seen(answer, told(lines[:until], died=False).lines, tuple(x), None)

    def _death(self, start: int, reason: str) -> Seen:
        emulator = self._emulator
        if is_dead(emulator.console[start:]):
            reason = FELL if DOMAIN_FELL in emulator.console[start:] else "the hypervisor crashed"
            size = -1
            try:
                # The report is complete when nothing follows any more.
                while size != len(emulator.console):
                    size = len(emulator.console)
                    emulator.wait_for(lambda: b"Manual reset required" in emulator.console[start:], LAST_WORDS)
            except MachineStoppedError:
                pass
        said: Said = told(xen_lines(bytes(emulator.console[start:])), died=True)
        return Seen(None, said.lines, (), Died(reason, said.report))

    def press_x(self) -> list[str]:
        """Press Xen's debug key `x`, and return what it prints.

        Raises:
            MachineStoppedError, TimeoutError: the machine did not survive that.
        """
        emulator = self._emulator
        start = len(emulator.console)
        emulator.type(b"x")
        heading = HEADING.encode()
        self._expect(lambda: heading in emulator.console[start:], start)
        self._mark()
        said = bytes(emulator.console[start:])
        # Where the line before lost its end, the heading has no beginning.
        lines = _with_heading_apart(xen_lines(PREFIX.encode() + said if said.startswith(heading) else said))
        return lines[lines.index(HEADING) :]

    def _mark(self) -> None:
        """Wait until everything that Xen had to say so far has arrived."""
        emulator = self._emulator
        self._marks += 1
        mark = f"#{os.getpid()}-{self._marks}#"
        start = len(emulator.console)
        emulator.send(f"mark '{mark}'\n".encode())
        self._expect(lambda: mark.encode() in emulator.console[start:], start)

    def _ask(self, command: str) -> Answer:
        emulator = self._emulator
        start = len(emulator.console)
        emulator.channel.clear()
        emulator.send(b"step " + _quoted(command) + b"\n")
        header = re.compile(rb"\Adone (\d+) (\d+) (\d+) (\d+)\n")

        def is_complete() -> bool:
            found = header.match(emulator.channel)
            return found is not None and len(emulator.channel) >= found.end() + sum(map(int, found.groups()[1:]))

        self._expect(is_complete, start)
        found = header.match(emulator.channel)
        if found is None:
            raise HarnessError("the domain's answer cannot be read")
        rc, *sizes = map(int, found.groups())
        parts, position = [], found.end()
        for size in sizes:
            parts.append(bytes(emulator.channel[position : position + size]))
            position += size
        return Answer(rc, *parts)

    def _expect(self, condition: Callable[[], bool], start: int) -> None:
        """Wait for a condition, or for the machine's death.

        Raises:
            MachineStoppedError: it died.
            TimeoutError: it says nothing of the sort.
        """
        emulator = self._emulator
        if not emulator.wait_for(lambda: condition() or is_dead(emulator.console[start:]), STEP_TIMEOUT):
            raise TimeoutError
        if not condition():
            raise MachineStoppedError

    def memory(self, address: int, size: int) -> bytes | None:
        """Return bytes of the hypervisor's memory; None unless all are mapped."""
        try:
            self._emulator.qmp(
                "memsave", val=address - ADDRESS_LIMIT, size=size, filename=str(self._read_file), cpu_index=0
            )
        except HarnessError:
            return None
        return self._read_file.read_bytes()

    def memory_up_to(self, address: int, size: int) -> bytes:
        """Return those of `size` bytes of the hypervisor's memory that come before the first that is not mapped."""
        self._read_file.unlink(missing_ok=True)
        whole = self.memory(address, size)
        # What the emulator could read before it failed is in the file.
        return self._read_file.read_bytes() if whole is None else whole


def _with_heading_apart(lines: list[str]) -> list[str]:
    """Give what key `x` prints first a line of its own; one that Xen's buffer did not hold runs into the next."""
    apart = []
    for line in lines:
        before = line.removesuffix(HEADING)
        apart += [line] if before in (line, "") else [before, HEADING]
    return apart


def _quoted(command: str) -> bytes:
    """Return a command as one word of a line of the domain's shell."""
    data = command.encode("utf-8", "surrogateescape")
    if data.isascii() and command.isprintable():
        return shlex.quote(command).encode()
    return b"\"$(printf '%b' '" + b"".join(b"\\0%03o" % byte for byte in data) + b"')\""
