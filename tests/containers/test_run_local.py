"""`levelgate run-local` in containers, in a copy of the project: folder, ports and names are the test's own."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from tests.containers.conftest import ROOT, Compose, free_ports, new_project, port_environment

_COPIED = (
    ".dockerignore",
    "LICENSE",
    "README.md",
    "pyproject.toml",
    "requirements.lock",
    "deploy",
    "schemas",
    "levelgate",
    "ingest",
    "processors",
)
_RUN_TIMEOUT_S = 200


@pytest.fixture
def project(image, tmp_path):
    """A copy of the project, and compose with the environment that the command is to run in; removed in the end."""
    for name in _COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, tmp_path / name)
    name = new_project()
    compose = Compose(
        name,
        {
            "RUN_LOCAL": "compose",
            "COMPOSE_PROJECT_NAME": name,
            "LEVELGATE_IMAGE": image,
            "LEVELGATE_LOCAL_FOLDER": str(tmp_path / ".levelgate"),
            **port_environment(free_ports()),
        },
    )
    yield tmp_path, compose
    compose("down", "--volumes")
    assert compose.left() == {}


def run_local(folder, environment):
    done = subprocess.run(
        [sys.executable, "-c", "from levelgate.cli import main; main()", "run-local", "--once", "--json"],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=_RUN_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_it_handles_every_sample_ends_all_containers_and_finds_its_data_at_the_second_start(project):
    folder, compose = project

    first = run_local(folder, compose.environment)
    assert first["mode"] == "compose"
    assert first["installed_anew"] is True
    assert (first["total"]["sent"], first["total"]["handled"]) == (83, 83)
    assert compose.left().keys() == {"volumes"}

    second = run_local(folder, compose.environment)
    assert second["installed_anew"] is False
    assert (second["total"]["sent"], second["total"]["handled"]) == (83, 83)
    assert compose.left().keys() == {"volumes"}
