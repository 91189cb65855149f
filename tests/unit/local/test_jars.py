import hashlib
import os
import re
from pathlib import Path

import pytest

from levelgate.local.jars import JarsMissing, fetch_jars, locked_jars


@pytest.fixture
def mvn(tmp_path):
    """Make a command that answers as mvn would, with what a script does in the output folder.

    As with mvn, a relative output folder is one below the pom's folder.
    """

    def make(script):
        command = tmp_path / "mvn"
        command.write_text(
            '#!/bin/sh\nwhile [ "$1" != -f ]; do shift; done\ncd "$(dirname "$2")" || exit 1\n'
            'for part in "$@"; do case "$part" in -DoutputDirectory=*) out="${part#*=}";; esac; done\n'
            'mkdir -p "$out" && cd "$out" || exit 1\n' + script
        )
        command.chmod(0o755)
        return str(command)

    return make


def test_the_lock_names_kafka_with_a_hash_for_each_jar_and_no_host():
    jars = locked_jars()
    assert len(jars) == 92
    assert len({jar.file_name for jar in jars}) == 92
    assert all(re.fullmatch(r"[0-9a-f]{64}", jar.sha256) for jar in jars)
    assert {f"{jar.artifact} {jar.version}" for jar in jars if jar.artifact in {"kafka_2.13", "kafka-tools"}} == {
        "kafka_2.13 4.3.1",
        "kafka-tools 4.3.1",
    }


def test_jars_that_are_there_are_not_fetched_again(jars, mvn):
    heard: list[str] = []
    fetch_jars(jars, say=heard.append)
    heard.clear()
    fetch_jars(jars, say=heard.append, mvn=mvn("exit 1\n"))
    assert heard == []


def test_a_jar_that_was_changed_is_fetched_again(jars, tmp_path, mvn):
    fetch_jars(jars, say=lambda _: None)
    jar = locked_jars()[0]
    folder = tmp_path / "jars"
    folder.mkdir()
    for file in jars.glob("*.jar"):
        os.link(file, folder / file.name)
    (folder / jar.file_name).unlink()
    (folder / jar.file_name).write_bytes(b"something else")
    fetch_jars(folder, say=lambda _: None, mvn=mvn(f"cp {jars / jar.file_name} .\n"))
    assert hashlib.sha256((folder / jar.file_name).read_bytes()).hexdigest() == jar.sha256


def test_a_relative_folder_is_one_below_the_working_folder(jars, tmp_path, mvn):
    fetch_jars(jars, say=lambda _: None)
    fetch_jars(Path("here/jars"), say=lambda _: None, mvn=mvn(f"cp {jars}/*.jar .\n"))
    assert len(list((tmp_path / "here/jars").glob("*.jar"))) == 92


def test_what_arrives_with_another_hash_is_refused_and_not_kept(tmp_path, mvn):
    command = mvn("".join(f"echo other > {jar.file_name}\n" for jar in locked_jars()))
    with pytest.raises(JarsMissing, match="its SHA-256 differs"):
        fetch_jars(tmp_path / "jars", say=lambda _: None, mvn=command)
    assert list((tmp_path / "jars").iterdir()) == []


def test_what_does_not_arrive_is_named(tmp_path, mvn):
    with pytest.raises(JarsMissing, match=rf"{re.escape(locked_jars()[0].file_name)} did not arrive"):
        fetch_jars(tmp_path / "jars", say=lambda _: None, mvn=mvn("exit 0\n"))


def test_mvns_own_words_are_told_when_it_fails(tmp_path, mvn):
    with pytest.raises(JarsMissing, match="no route to the repository"):
        fetch_jars(tmp_path / "jars", say=lambda _: None, mvn=mvn("echo no route to the repository; exit 1\n"))
