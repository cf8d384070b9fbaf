"""`xsplice-check` as tests run it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import jsonschema
from click.testing import CliRunner, Result
from records import DATA

from xsplice_loader.cli.check import main

if TYPE_CHECKING:
    from pathlib import Path

HYPERVISORS = {
    release: DATA / f"real-xen-{release}" / "hypervisor.elf.gz" for release in ("4.14.6", "4.17.7", "4.20.3")
}


def check(*words: str | Path, **options: Any) -> Result:
    """Run the command; anything that it raises but its exit status fails the test."""
    result = CliRunner().invoke(main, [str(word) for word in words], **options)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def check_json(*words: str | Path, status: int | None = None) -> dict[str, Any]:
    """Return the document that the command writes, valid against the schema that it prints."""
    result = check("--format", "json", *words)
    assert status is None or result.exit_code == status, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    validator: Any = jsonschema.Draft202012Validator
    validator(json.loads(check("--schema").stdout)).validate(document)
    return document


def cells_of(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the cells by payload and hypervisor, each by its file name alone."""
    return {(cell["payload"].rpartition("/")[2], cell["hypervisor"]): cell for cell in document["cells"]}
