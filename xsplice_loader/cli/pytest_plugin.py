"""A plugin for pytest: payloads are collected as tests, one for each hypervisor.

    pytest --xsplice builds/ payloads/

Without `--xsplice` it does nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from xsplice_loader.checking.cells import Cell

SUFFIX = ".livepatch"


class PayloadRefusedError(Exception):
    """A payload would not be loaded; the message is what `xsplice-check` says of it."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that turns this on."""
    parser.getgroup("xsplice").addoption(
        "--xsplice",
        action="append",
        default=[],
        metavar="HYPERVISOR",
        help=f"check every *{SUFFIX} file against this hypervisor, or all of this directory (repeatable)",
    )


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> PayloadCollector | None:
    """Collect payloads, if that was asked for."""
    if file_path.suffix != SUFFIX or not parent.config.getoption("xsplice"):
        return None
    collector: PayloadCollector = PayloadCollector.from_parent(parent, path=file_path)
    return collector


class PayloadCollector(pytest.File):
    """One payload."""

    def collect(self) -> Iterator[pytest.Item]:
        """Yield a test for each hypervisor."""
        from xsplice_loader.checking.inputs import NothingThereError, hypervisor_files  # noqa: PLC0415 - if asked for

        try:
            hypervisors = hypervisor_files(self.config.getoption("xsplice"))
        except NothingThereError as error:
            raise pytest.UsageError(f"--xsplice: there are no hypervisors in {error}") from None
        for hypervisor in hypervisors:
            item: CellItem = CellItem.from_parent(self, name=hypervisor, hypervisor=hypervisor)
            yield item


class CellItem(pytest.Item):
    """One payload on one hypervisor."""

    def __init__(self, *, hypervisor: str, **more: object) -> None:
        super().__init__(**more)  # type: ignore[arg-type]
        self.hypervisor = hypervisor

    def runtest(self) -> None:
        """Upload the payload; a finding of error severity fails the test."""
        from xsplice_loader.checking.matrix import Chunk, answer  # noqa: PLC0415 - as above
        from xsplice_loader.checking.question import Question  # noqa: PLC0415

        (found,) = answer(Chunk(0, self.hypervisor, (str(self.path),)), Question())
        if not found.cell.accepted:
            raise PayloadRefusedError(_said(found.cell))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None) -> str:
        """Return what was found; where in this program it was found does not matter."""
        del style
        return str(excinfo.value)

    def reportinfo(self) -> tuple[Path, int, str]:
        """Name the test by its payload and hypervisor."""
        return self.path, 0, f"{self.path.name} on {self.hypervisor}"


def _said(cell: Cell) -> str:
    from xsplice_loader.report.findings import finding_lines  # noqa: PLC0415 - as above
    from xsplice_loader.report.paint import plain  # noqa: PLC0415

    return "\n".join(finding_lines(cell.findings, 1, plain))
