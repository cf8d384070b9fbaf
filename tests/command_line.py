"""The commands as tests run them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import jsonschema
from click.testing import CliRunner, Result

from xsplice_loader.cli.explain import main as explain_main
from xsplice_loader.cli.load import main

if TYPE_CHECKING:
    from pathlib import Path


def run(*words: str | Path, **options: Any) -> Result:
    """Run the command; anything that it raises but its exit status fails the test."""
    result = CliRunner().invoke(main, [str(word) for word in words], **options)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def load_json(*words: str | Path) -> dict[str, Any]:
    """Return the document that the command writes, valid against the schema that it prints."""
    document: dict[str, Any] = json.loads(run("--format", "json", *words).stdout)
    validator: Any = jsonschema.Draft202012Validator
    validator(json.loads(run("--schema").stdout)).validate(document)
    return document


def explain(*words: str | Path, **options: Any) -> Result:
    """Run `xsplice-explain`, 80 columns wide unless `env` says otherwise."""
    options["env"] = {"COLUMNS": "80", **options.get("env", {})}
    result = CliRunner().invoke(explain_main, [str(word) for word in words], **options)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def explained(*words: str | Path) -> list[dict[str, Any]]:
    """Return what `xsplice-explain --format json` explains."""
    document: dict[str, Any] = json.loads(explain("--format", "json", *words).stdout)
    assert document["schema"] == "xsplice-explain/1"
    entries: list[dict[str, Any]] = document["explained"]
    return entries
