import pytest

from levelgate.local.kafka import find_java
from levelgate.local.processes import StartFailed


@pytest.fixture
def java(tmp_path, monkeypatch):
    """Put a `java` on PATH that says it is of a version, alone there."""

    def make(version):
        folder = tmp_path / "bin"
        folder.mkdir()
        command = folder / "java"
        command.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2021-09-14' >&2\n")
        command.chmod(0o755)
        monkeypatch.setenv("PATH", str(folder))
        return str(command)

    return make


@pytest.mark.parametrize("version", ["17", "17.0.15", "21.0.1", "25-ea"])
def test_the_java_on_path_is_taken_where_it_is_new_enough(java, version):
    command = java(version)
    assert find_java() == command


@pytest.mark.parametrize("version", ["1.8.0_392", "11.0.21", "16.0.2"])
def test_instead_of_an_old_one_the_wheels_is_taken(java, version):
    command = java(version)
    assert find_java() != command
    assert find_java().endswith("java-runtime/bin/java")


def test_without_java_on_path_the_wheels_is_taken(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_java().endswith("java-runtime/bin/java")


def test_without_any_it_is_told_which_is_needed(java, monkeypatch):
    command = java("11.0.21")
    monkeypatch.setattr("sys.path", [])
    with pytest.raises(StartFailed, match=rf"Java 17 or later \({command} is version 11\)"):
        find_java()
