import re
import tomllib
from pathlib import Path

import pytest

from levelgate.local.jars import locked_jars

ROOT = Path(__file__).parents[3]
LOCKS = ("requirements.lock", "requirements-dev.lock")


def pins(lock):
    """Return name → hashes of a lock file."""
    text = (ROOT / lock).read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return {line.split("==")[0]: re.findall(r"--hash=sha256:[0-9a-f]{64}", line) for line in lines}


def canonical(requirement):
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert name
    return re.sub(r"[-_.]+", "-", name[0]).lower()


@pytest.mark.parametrize("lock", LOCKS)
def test_every_package_is_pinned_by_hash_and_no_host_is_named(lock):
    assert all(pins(lock).values())
    assert "://" not in (ROOT / lock).read_text()
    assert "index-url" not in (ROOT / lock).read_text()


def test_the_locks_hold_what_the_project_asks_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = project["project"]["dependencies"]
    extras = project["project"]["optional-dependencies"].values()
    wanted = [*needed, *(r for extra in extras for r in extra), *project["dependency-groups"]["dev"]]
    assert {canonical(r) for r in needed} <= set(pins("requirements.lock"))
    assert {canonical(r) for r in wanted} <= set(pins("requirements-dev.lock"))


def test_both_locks_pin_the_same_versions():
    versions = [
        {line.split(" ")[0] for line in (ROOT / lock).read_text().splitlines() if re.match(r"[a-z].*==", line)}
        for lock in LOCKS
    ]
    assert versions[0] <= versions[1]


def test_the_jars_are_named_by_coordinates_alone():
    assert all(re.fullmatch(r"[\w.-]+", f"{jar.group}{jar.artifact}{jar.version}") for jar in locked_jars())
