"""Workers of a test as processes of their own, which it may kill, stop and wake."""

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

import msgspec
import orjson

from tests.support.eventually import eventually

ROOT = Path(__file__).resolve().parents[2]
HANDLERS = "tests.support.recording_handlers"
SESSION_TIMEOUT_S = 10
"""Long enough that a sound worker is not expelled while a busy machine gives it no turn."""
_TOLD_LINES = 30


def environment(settings, handlers=HANDLERS) -> dict[str, str]:
    """The settings as a process reads them; its ports are chosen by the system."""
    apps = {
        name: {"client_id": app.client_id, "client_secret": app.client_secret.get_secret_value()}
        for name, app in settings.apps.items()
    }
    worker = {name: str(value) for name, value in settings.worker if name not in {"host", "metrics_port"}}
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "LEVELGATE_APPS": orjson.dumps(apps).decode(),
        "LEVELGATE_DATABASE_URL": settings.database_url.get_secret_value(),
        "LEVELGATE_SECRET_KEY": settings.secret_key.get_secret_value(),
        "LEVELGATE_TOKEN_KEYS": settings.token_keys.get_secret_value(),
        "LEVELGATE_HANDLERS": handlers,
        "LEVELGATE_SYNC": "false",
        "LEVELGATE_KAFKA__BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers,
        "LEVELGATE_KAFKA__TOPIC_PREFIX": settings.kafka.topic_prefix,
        "LEVELGATE_KAFKA__PARTITIONS": str(settings.kafka.partitions),
        "LEVELGATE_WORKER__HOST": "127.0.0.1",
        "LEVELGATE_WORKER__METRICS_PORT": "0",
        "LEVELGATE_LOG__FORMAT": "json",
    } | {f"LEVELGATE_WORKER__{name.upper()}": value for name, value in worker.items()}


class WorkerProcess(msgspec.Struct, frozen=True):
    """One `levelgate worker`."""

    process: asyncio.subprocess.Process

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    @property
    def is_alive(self) -> bool:
        return self.process.returncode is None

    async def end(self) -> int:
        """Ask it to end, waking it for that; return its exit code."""
        with contextlib.suppress(ProcessLookupError):
            self.send(signal.SIGCONT)
            self.send(signal.SIGTERM)
        async with asyncio.timeout(30):
            return await self.process.wait()


def told(log) -> str:
    """Return the last lines of a worker's log without those of single pairs, which are thousands here."""
    lines = log.read_text().splitlines()
    return "\n".join([line for line in lines if '"delivery"' not in line][-_TOLD_LINES:])


@contextlib.asynccontextmanager
async def worker_process(settings, log, *, handlers=HANDLERS, **variables):
    """Start a worker whose log goes to the file `log`; killed at the end if it still lives.

    When the body fails, how the worker ended and what it logged last is printed: pytest shows that with the failure.
    """
    env = environment(settings, handlers) | variables
    with log.open("ab") as stderr:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "levelgate", "worker", env=env, stderr=stderr, stdout=stderr
        )
    try:
        yield WorkerProcess(process)
    except BaseException:
        print(f"worker {process.pid}, exit code {process.returncode}:\n{told(log)}")  # noqa: T201
        raise
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def owners(pool, group) -> set[str]:
    """Which workers own a partition number of the group."""
    return {r["worker"] for r in await pool.fetch("SELECT worker FROM partition_owner WHERE group_id = $1", group)}


async def until_owned_by_another(pool, group, before, within_s=40) -> None:
    """Wait until no partition number is owned by one of `before` any more."""
    await eventually(lambda: owners(pool, group), lambda now: now and not now & before, within_s=within_s)
