"""All of Levelgate in containers, as `deploy/compose.yaml` says. All of this blocks."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import orjson

from levelgate.cli.local_settings import FOLDER, VARIABLES, LocalPorts, choose_ports, ensure_settings
from levelgate.cli.output import Reporter
from levelgate.local.stack import PartStatus
from levelgate.simulator.keys import ensure_keys
from schemas.errors import LevelgateError
from schemas.settings import Settings

COMPOSE_FILE = Path("deploy/compose.yaml")

_PARTS = frozenset({"kafka", "postgres", "simulator", "receiver", "worker"})
_ASK_TIMEOUT_S = 30.0
_UP_TIMEOUT_S = 900.0
_DOWN_TIMEOUT_S = 180.0
_WATCH_POLL_S = 3.0
_INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class ComposeStack:
    """The local stack in containers. Raises LevelgateError where no Docker engine or no compose answers."""

    mode = "compose"

    def __init__(self, reporter: Reporter) -> None:
        command = compose_command()
        if command is None:
            raise LevelgateError(
                "no Docker engine answers, or `docker compose` is missing: start one, or run natively (--native)"
            )
        if not COMPOSE_FILE.is_file():
            raise LevelgateError(
                f"there is no {COMPOSE_FILE} here: run this in the project's folder, or natively (--native)"
            )
        self._reporter = reporter
        self._command = [*command, "-f", str(COMPOSE_FILE)]
        self._ports = choose_ports()

    def up(self) -> Settings:
        """Build and start all of it, and return the settings when all of it is healthy."""
        keys = ensure_keys(FOLDER / "simulator")
        # The compose file's own user and password: the port is open to this machine only.
        url = f"postgresql://levelgate:levelgate@127.0.0.1:{self._ports['postgres']}/levelgate"
        settings = ensure_settings(self._ports, url, keys)
        self._reporter.say("building and starting the containers")
        if self._run("up", "--detach", "--build", "--wait").returncode:
            logs = self._run("logs", "--tail", "15", "--no-color", capture=True)
            raise LevelgateError(f"the containers did not come up; the end of their logs:\n{logs.stdout}")
        return settings

    @contextmanager
    def foreground(self) -> Iterator[None]:
        """Run the body; stop everything when it ends, fails or is interrupted (which is a normal end)."""
        before = {number: signal.signal(number, _interrupt) for number in _INTERRUPTS}
        try:
            yield
        except KeyboardInterrupt:
            self._reporter.say("stopping")
        finally:
            for number in _INTERRUPTS:
                signal.signal(number, signal.SIG_IGN)
            try:
                self.down()
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)

    @contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """Run the body; where it fails, stop what it started, unless something ran before."""
        before = self.status()
        try:
            yield
        except BaseException:
            if not before:
                self.down()
            raise

    def watch(self) -> None:
        """Return only by raising: LevelgateError when a container has ended by itself."""
        while True:
            ended = _PARTS - {part.name for part in self.status()}
            if ended:
                logs = self._run("logs", "--tail", "15", "--no-color", *sorted(ended), capture=True)
                raise LevelgateError(f"{', '.join(sorted(ended))} has ended\n{logs.stdout}")
            time.sleep(_WATCH_POLL_S)

    def down(self) -> list[str]:
        """Stop and remove the containers, keep the volumes; return the names of the parts."""
        running = [part.name for part in self.status()]
        if running and self._run("down", timeout_s=_DOWN_TIMEOUT_S, apart=True).returncode:
            raise LevelgateError("`docker compose down` failed: see above")
        return running

    def status(self) -> list[PartStatus]:
        """Return what runs."""
        asked = self._run("ps", "--format", "json", capture=True, timeout_s=_ASK_TIMEOUT_S)
        return [
            PartStatus(
                name=row["Service"],
                pid=0,
                ports=tuple(sorted({p["PublishedPort"] for p in row.get("Publishers") or () if p["PublishedPort"]})),
                started_at=0.0,
                log=f"docker logs {row['Name']}",
            )
            for row in _rows(asked.stdout)
            if row.get("State") == "running" and row["Service"] in _PARTS
        ]

    def _run(
        self, *arguments: str, capture: bool = False, timeout_s: float = _UP_TIMEOUT_S, apart: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """`apart`: in a session of its own, so that a second Ctrl-C does not reach it."""
        try:
            return subprocess.run(  # noqa: S603 -- the command is ours, no shell
                [*self._command, *arguments],
                env=os.environ | _variables(self._ports),
                stdout=subprocess.PIPE if capture else 2,
                stderr=subprocess.STDOUT if capture and arguments[0] == "logs" else None,
                text=True,
                timeout=timeout_s,
                check=False,
                start_new_session=apart,
            )
        except subprocess.TimeoutExpired:
            raise LevelgateError(f"`docker compose {arguments[0]}` took longer than {timeout_s:g} s") from None


def compose_command() -> list[str] | None:
    """Return how compose is called here, or None where no engine answers or there is no compose."""
    if not _works("docker", "info"):
        return None
    candidates = (["docker", "compose"], ["docker-compose"])
    return next((command for command in candidates if _works(*command, "version")), None)


def _works(*command: str) -> bool:
    try:
        done = subprocess.run(command, capture_output=True, timeout=_ASK_TIMEOUT_S, check=False)  # noqa: S603 -- as above
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _variables(ports: LocalPorts) -> dict[str, str]:
    """Return what compose.yaml is told: where our folder is, who may read it, which ports."""
    folder = FOLDER.resolve()
    owner = folder.stat() if folder.is_dir() else None
    return {
        "LEVELGATE_LOCAL_FOLDER": str(folder),
        "LEVELGATE_LOCAL_USER": f"{owner.st_uid}:{owner.st_gid}" if owner else "0:0",
        **{VARIABLES[name]: str(port) for name, port in ports.items()},
    }


def _rows(text: str) -> list[dict[str, Any]]:
    # Older versions print one list, newer ones an object a line.
    rows = [orjson.loads(line) for line in text.splitlines() if line.strip()]
    return rows[0] if rows and isinstance(rows[0], list) else rows


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
