"""Payload files for the checker."""

from __future__ import annotations

from pathlib import Path

import pytest

from xsplice_loader.forge import forge

SAMPLES = Path(__file__).parents[2] / "payloads"


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with all samples, made for the model."""
    folder = tmp_path_factory.mktemp("samples")
    for source in sorted(SAMPLES.glob("*.s")):
        (folder / f"{source.stem}.livepatch").write_bytes(forge(source.read_text(encoding="utf-8")))
    return folder
