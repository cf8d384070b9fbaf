"""The steps that others put into their CI are run here as they stand in the files that they copy."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest
import yaml

from xsplice_loader.forge import forge

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a payload that loads, one that does not, and a hypervisor."""
    folder = tmp_path_factory.mktemp("project")
    for name, where in (("hello", "good"), ("far-data", "bad")):
        (folder / where).mkdir()
        source = (ROOT / "payloads" / f"{name}.s").read_text(encoding="utf-8")
        (folder / where / f"{name}.livepatch").write_bytes(forge(source))
    (folder / "builds").mkdir()
    (folder / "builds" / "xen-syms").write_bytes((ROOT / "xsplice_loader/hypervisor/model.elf").read_bytes())
    return folder


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new virtual environment."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder, with_pip=True)
    return folder / "bin"


def shell(step: str, path: Path, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}", **environment}
    return subprocess.run(
        ["bash", "-eo", "pipefail", "-c", step], cwd=folder, env=variables, capture_output=True, text=True, check=False
    )


def snippet(heading: str) -> Any:
    found = re.search(rf"^## {heading}\n.*?```yaml\n(.*?)```", GUIDE, re.MULTILINE | re.DOTALL)
    assert found is not None
    return yaml.safe_load(found[1])


def test_the_action(project: Path, fresh: Path) -> None:
    action = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
    (used,) = snippet("GitHub")
    assert set(used["with"]) <= set(action["inputs"])
    install, report, check = (step["run"] for step in action["runs"]["steps"])
    done = shell(install, fresh, project, ACTION_PATH=str(ROOT))
    assert done.returncode == 0, done.stderr
    inputs = {"HYPERVISORS": "builds/", "OPTIONS": used["with"]["options"]}
    assert shell(check, fresh, project, PAYLOADS="good/*.livepatch", **inputs).returncode == 0
    failed = shell(check, fresh, project, PAYLOADS="good bad/far-data.livepatch", **inputs)
    assert failed.returncode == 1
    assert failed.stdout.startswith("::error file=bad/far-data.livepatch,line=1,title=XSP089")
    lines = shell(check, fresh, project, PAYLOADS="\ngood/hello.livepatch\nbad/far-data.livepatch\n", **inputs)
    assert lines.returncode == 1
    # Without hypervisors and options there are none, and not an empty one.
    assert shell(check, fresh, project, PAYLOADS="good", HYPERVISORS="", OPTIONS="").returncode == 0
    written = shell(report, fresh, project, PAYLOADS="bad", SARIF="out.sarif", **inputs)
    assert written.returncode == 0, written.stderr
    assert '"ruleId":"XSP089"' in (project / "out.sarif").read_text(encoding="utf-8")


def test_gitlab(project: Path) -> None:
    job = snippet("GitLab")["livepatch"]
    install, check = job["script"]
    assert install == "python3 -m pip install --quiet xsplice-loader"
    done = shell(check.replace("build/", "bad/"), Path(sys.executable).parent, project)
    assert done.returncode == 1, done.stderr
    assert 'failures="1"' in (project / job["artifacts"]["reports"]["junit"]).read_text(encoding="utf-8")


def test_pre_commit(project: Path) -> None:
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    ((repository),) = snippet("pre-commit")
    (used,) = repository["hooks"]
    assert used["id"] == hook["id"]
    for files, status in (("good/hello.livepatch", 0), ("bad/far-data.livepatch", 1)):
        assert re.search(hook["files"], files)
        step = " ".join([hook["entry"], *used["args"], files])
        assert shell(step, Path(sys.executable).parent, project).returncode == status


def test_the_options_in_the_guide_exist(project: Path) -> None:
    found = re.search(r"```toml\n(.*?)```", GUIDE, re.DOTALL)
    assert found is not None
    (project / "known-findings.json").write_text('{"schema": "xsplice-check-baseline/1", "findings": []}')
    (project / "pyproject.toml").write_text(found[1], encoding="utf-8")
    path = Path(sys.executable).parent
    assert shell("xsplice-check good", path, project).returncode == 0
    assert shell("xsplice-check bad", path, project).returncode == 1
    (project / "pyproject.toml").unlink()
