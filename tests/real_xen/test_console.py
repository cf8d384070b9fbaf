"""Lines of Xen's serial port, taken apart."""

from __future__ import annotations

from real_xen.console import is_dead, told, xen_lines

WARNING = (
    "Xen WARN at fix.c:12",
    "----[ Xen-4.17.7  x86_64  debug=n  Not tainted ]----",
    "CPU:    0",
    "Xen call trace:",
    "   [<ffff82d0405b0000>] R ffff82d0405b0000",
    "   [<ffff82d040201234>] S do_sysctl+0x1/0x2",
    "",
    "livepatch: fix finished APPLY with rc=0",
)


def test_only_xens_own_lines_are_kept() -> None:
    assert xen_lines(b"domain\r\n(XEN) one\r\n#mark#\r\r\n(XEN) two\r\n") == ["one", "two"]


def test_bytes_that_are_no_text_are_shown() -> None:
    assert xen_lines(b"(XEN) a\xffb\r\n") == ["a\\xffb"]


def test_registers_of_a_warning_are_left_out() -> None:
    assert told(WARNING, died=False).lines == ("Xen WARN at fix.c:12", "livepatch: fix finished APPLY with rc=0")


def test_the_last_dump_of_a_dead_machine_is_its_report() -> None:
    last = ("----[ Xen-4.17.7  x86_64  debug=n  Not tainted ]----", "CPU:    0", "Panic on CPU 0:")
    said = told((*WARNING, *last), died=True)
    assert said.lines == ("Xen WARN at fix.c:12", "livepatch: fix finished APPLY with rc=0")
    assert said.report == last


def test_a_panic_is_the_end() -> None:
    assert is_dead(b"(XEN) Panic on CPU 0:\r\n")
    assert not is_dead(b"(XEN) livepatch: fine\r\n")
