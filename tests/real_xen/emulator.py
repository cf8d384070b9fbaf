"""One emulated machine: its process, the three lines to it, and the end of all of them."""

from __future__ import annotations

import contextlib
import json
import selectors
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Any, Self

from real_xen.packages import QEMU
from real_xen.problem import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

CHUNK = 65536
QMP_TIMEOUT = 60
"""Seconds for one answer of the emulator; saving a snapshot is the longest."""


class MachineStoppedError(Exception):
    """The emulator is no more: the machine reset itself, or the emulator fell."""


class Emulator:
    """A running emulator. `console` and `channel` grow as the machine speaks on its two serial ports."""

    def __init__(self, arguments: Sequence[str]) -> None:
        """Start the emulator with `arguments`, to which the lines are added."""
        lines, theirs = zip(*(socket.socketpair() for _ in range(3)), strict=True)
        self._console_line, self._channel_line, self._monitor_line = lines
        self.console = bytearray()
        """Everything that Xen's serial port said."""
        self.channel = bytearray()
        """What the second serial port said, and nobody took yet."""
        self._monitor = bytearray()
        self._selector = selectors.DefaultSelector()
        for line, sink in ((lines[0], self.console), (lines[1], self.channel), (lines[2], self._monitor)):
            line.setblocking(False)
            self._selector.register(line, selectors.EVENT_READ, sink)
        ends = [end.fileno() for end in theirs]
        # With the harness, however that ends, its machines end.
        command = ["setpriv", "--pdeathsig", "KILL", QEMU, *arguments]
        for name, end in zip(("xen", "job", "qmp"), ends, strict=True):
            command += ["-chardev", f"socket,id={name},fd={end}"]
        command += ["-serial", "chardev:xen", "-serial", "chardev:job", "-mon", "chardev=qmp,mode=control"]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=ends,
            start_new_session=True,
        )
        for end in theirs:
            end.close()
        try:
            self._wait(lambda: b"\n" in self._monitor, QMP_TIMEOUT, "the emulator does not start")
            self._monitor.clear()
            self.qmp("qmp_capabilities")
        except MachineStoppedError as stopped:
            self.close()
            raise HarnessError(f"the emulator does not start: {stopped}") from None
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the emulator."""
        self._process.kill()
        self._process.wait()
        if self._process.stderr is not None:
            self._process.stderr.close()
        self._selector.close()
        for line in (self._console_line, self._channel_line, self._monitor_line):
            line.close()

    def listen(self, seconds: float) -> None:
        """Take what the machine says within `seconds`, or return as soon as it said something.

        Raises:
            MachineStoppedError: it will not say anything any more.
        """
        for key, _ in self._selector.select(max(seconds, 0)):
            try:
                data = key.fileobj.recv(CHUNK)  # type: ignore[union-attr]
            except BlockingIOError:
                continue
            except ConnectionResetError:
                data = b""
            if not data:
                raise MachineStoppedError(self._last_words())
            key.data.extend(data)

    def wait_for(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Listen until `condition` holds; return whether it does after `seconds` at most."""
        deadline = time.monotonic() + seconds
        while not condition():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self.listen(left)
        return True

    def _wait(self, condition: Callable[[], bool], seconds: float, complaint: str) -> None:
        if not self.wait_for(condition, seconds):
            raise HarnessError(complaint)

    def _last_words(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            _, errors = self._process.communicate(timeout=5)
            return errors.decode(errors="replace").strip()
        return ""

    def send(self, data: bytes) -> None:
        """Say something on the second serial port."""
        _send(self._channel_line, data)

    def type(self, data: bytes) -> None:
        """Type something on Xen's console."""
        _send(self._console_line, data)

    def qmp(self, command: str, **arguments: Any) -> Any:
        """Have the emulator itself do something, and return its answer.

        Raises:
            HarnessError: it cannot, or does not answer in time.
        """
        request = {"execute": command, "arguments": {key.replace("_", "-"): arguments[key] for key in arguments}}
        _send(self._monitor_line, json.dumps(request).encode() + b"\n")
        while True:
            self._wait(lambda: b"\n" in self._monitor, QMP_TIMEOUT, f"the emulator does not answer to {command}")
            end = self._monitor.index(b"\n") + 1
            answer = json.loads(self._monitor[:end])
            del self._monitor[:end]
            if "error" in answer:
                raise HarnessError(f"{command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]


def _send(line: socket.socket, data: bytes) -> None:
    line.settimeout(QMP_TIMEOUT)
    try:
        line.sendall(data)
    except (BrokenPipeError, ConnectionResetError, TimeoutError) as error:
        raise MachineStoppedError(str(error)) from None
    finally:
        line.setblocking(False)
