"""The lessons in docs/ show what their commands print today, and their links lead somewhere."""

from __future__ import annotations

import re
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def maker() -> Any:
    """Return `scripts/make-lessons` as a module."""
    loader = SourceFileLoader("make_lessons", str(ROOT / "scripts" / "make-lessons"))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


LESSONS = ("from-the-mail-to-vm_init_type", "reading-a-refusal", "relocations-with-numbers", "why-not-vmalloc")


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory: Path = tmp_path_factory.mktemp("samples")
    maker().make_samples(directory)
    return directory


def test_all_lessons_are_known() -> None:
    assert tuple(path.stem for path in maker().lessons()) == LESSONS


@pytest.mark.parametrize("name", LESSONS)
def test_outputs_are_current(name: str, samples: Path) -> None:
    text = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    assert maker().updated(text, samples) == text, "scripts/make-lessons writes them again"


def test_a_stale_output_is_seen(samples: Path) -> None:
    stale = "```console\n$ xsplice-load -q hello.livepatch\nhello.livepatch: refused\n```\n"
    assert maker().updated(stale, samples) == stale.replace("refused", "accepted")


@pytest.mark.parametrize("name", LESSONS)
def test_links_lead_somewhere(name: str) -> None:
    path = ROOT / "docs" / f"{name}.md"
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).is_file(), target
