"""Kafka's jars: the ones of `jars.lock`, each checked against its hash, fetched once.

Fetched by `mvn` where it is there, else by jgo from PyPI, both with whatever repositories they are set up with.
Nothing is resolved here: the lock names every jar.
"""

import fcntl
import hashlib
import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

import msgspec

from schemas.errors import LevelgateError

_FETCH_TIMEOUT_S = 900.0
_JAR_TIMEOUT_S = 60


class JarsMissing(LevelgateError):
    """The jars could not be fetched, or are not what the lock says."""


class Jar(msgspec.Struct, frozen=True):
    """One line of the lock."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def file_name(self) -> str:
        """What the jar is called in every Maven repository."""
        return f"{self.artifact}-{self.version}.jar"


def locked_jars() -> tuple[Jar, ...]:
    """Return every jar of the lock."""
    text = (resources.files("levelgate.local") / "jars.lock").read_text("utf-8")
    return tuple(_parse(line) for line in text.splitlines() if line and not line.startswith("#"))


def fetch_jars(folder: Path, *, say: Callable[[str], None], mvn: str | None = None) -> None:
    """Make `folder` hold the jars of the lock; those that are there and right are not fetched again.

    `mvn` is the command to fetch with; none: the one on PATH, if any, else jgo.
    Raises JarsMissing.
    """
    # mvn takes a relative folder as one below its pom.
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        missing = [jar for jar in locked_jars() if not _is_there(folder, jar)]
        if not missing:
            return
        mvn = mvn or shutil.which("mvn")
        say(f"fetching {len(missing)} jars of Kafka with {'mvn' if mvn else 'jgo'}, once")
        with tempfile.TemporaryDirectory(dir=folder, prefix=".new-") as new:
            arrived = Path(new)
            if mvn:
                _fetch_by_mvn(mvn, missing, arrived)
            else:
                _fetch_by_jgo(missing, arrived)
            for jar in missing:
                _take_over(arrived / jar.file_name, folder, jar)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait for other processes that fetch into the same folder: mvn's own repository bears one at a time."""
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _parse(line: str) -> Jar:
    coordinates, _, digest = line.partition(" ")
    group, artifact, version = coordinates.split(":")
    return Jar(group, artifact, version, digest.removeprefix("sha256:"))


def _is_there(folder: Path, jar: Jar) -> bool:
    file = folder / jar.file_name
    return file.is_file() and _sha256(file) == jar.sha256


def _take_over(file: Path, folder: Path, jar: Jar) -> None:
    if not file.is_file():
        raise JarsMissing(f"{jar.file_name} did not arrive: try again, or put it into {folder}")
    if _sha256(file) != jar.sha256:
        raise JarsMissing(f"{jar.file_name} as it arrived is not what jars.lock says: its SHA-256 differs")
    file.replace(folder / jar.file_name)


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _fetch_by_mvn(mvn: str, jars: list[Jar], folder: Path) -> None:
    pom = folder / "pom.xml"
    pom.write_text(_POM.format(dependencies="".join(_DEPENDENCY.format(jar=jar) for jar in jars)), "utf-8")
    copy = f"{mvn} -q -B -f {pom} dependency:copy-dependencies -DoutputDirectory={folder}"
    try:
        done = subprocess.run(  # noqa: S603 -- the command is ours, no shell
            copy.split(), capture_output=True, text=True, timeout=_FETCH_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise JarsMissing(f"mvn could not fetch Kafka's jars: {type(error).__name__}") from error
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-5:])
        raise JarsMissing(f"mvn could not fetch Kafka's jars:\n{said}")


def _fetch_by_jgo(jars: list[Jar], folder: Path) -> None:
    try:
        from jgo.maven import MavenContext  # noqa: PLC0415 -- half a second, needed once in a project's life
    except ImportError:
        raise JarsMissing("to fetch Kafka's jars, install mvn, or jgo: pip install 'levelgate[local]'") from None
    logging.getLogger("jgo").setLevel(logging.WARNING)
    context = MavenContext(repo_cache=folder / "repository", local_repos=[], timeout=_JAR_TIMEOUT_S)
    for jar in jars:
        artifact = context.project(jar.group, jar.artifact).at_version(jar.version).artifact()
        try:
            artifact.resolve().replace(folder / jar.file_name)
        except (OSError, RuntimeError) as error:
            raise JarsMissing(f"{jar.file_name} could not be fetched: {type(error).__name__}") from error


_POM = """\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>levelgate</groupId><artifactId>kafka-jars</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>{dependencies}</dependencies>
</project>
"""

_DEPENDENCY = """
    <dependency>
      <groupId>{jar.group}</groupId><artifactId>{jar.artifact}</artifactId><version>{jar.version}</version>
      <exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion></exclusions>
    </dependency>"""
