import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def make(*arguments):
    return subprocess.run(["make", "-C", ROOT, *arguments], capture_output=True, text=True, timeout=60, check=False)  # noqa: S607 -- wherever it is


@pytest.fixture
def python(tmp_path):
    """Make a Python that fails where its script says so."""

    def write(script):
        command = tmp_path / "python"
        command.write_text(f"#!/bin/sh\n{script}\n")
        command.chmod(0o755)
        return f"PYTHON={command}"

    return write


def test_make_alone_shows_every_target_in_one_line_each():
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony
    shown = make("--no-print-directory").stdout.splitlines()
    assert sorted(line.split()[0] for line in shown) == sorted(phony[1].split())
    assert all(len(line) < 120 for line in shown)


def test_without_python_one_line_names_the_package(tmp_path):
    done = make("test", "PYTHON=no-such-python", f"VENV={tmp_path / 'venv'}")
    assert "no-such-python is missing: install the package python3\n" in done.stdout
    assert done.returncode


def test_an_old_python_is_told(tmp_path, python):
    done = make("test", python('case "$2" in *version_info*) exit 1;; esac'), f"VENV={tmp_path / 'venv'}")
    assert "is older than 3.11: install a newer one" in done.stdout
    assert done.returncode


def test_a_python_without_venv_is_told_with_the_package(tmp_path, python):
    done = make("test", python('case "$2" in *ensurepip*) exit 1;; esac'), f"VENV={tmp_path / 'venv'}")
    assert "can't make virtual environments: install the package python3-venv\n" in done.stdout
    assert done.returncode
    assert not (tmp_path / "venv").exists()


def test_the_last_thing_that_ci_prints_is_the_summary_of_the_tests():
    assert (ROOT / ".ci" / "run").read_text().splitlines()[-1] == "make --no-print-directory test"
