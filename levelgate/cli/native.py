"""All of Levelgate on this machine without Docker: Kafka, Postgres, simulator, receiver, worker, as processes.

All of this blocks.
"""

import asyncio
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager

from levelgate.broker import apply_topics
from levelgate.cli.local_settings import FOLDER, VARIABLES, choose_ports, ensure_settings, foreign_database
from levelgate.cli.output import Reporter
from levelgate.local.processes import ProcessSpec
from levelgate.local.stack import LocalStack, PartStatus, Ports
from levelgate.migrations import migrate
from levelgate.simulator.keys import ensure_keys
from schemas.settings import Settings

_READY_WITHIN_S = 90.0
_HOST = "127.0.0.1"


class NativeStack:
    """The local stack in `.levelgate` of the working folder, whether it runs or not."""

    mode = "native"

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._ports = choose_ports()
        self._stack = LocalStack(
            FOLDER,
            ports=Ports(**{name: self._ports[name] for name in Ports.__struct_fields__}),
            database_url=foreign_database(),
            say=reporter.say,
        )

    def up(self) -> Settings:
        """Start whatever does not run, and return the settings when all of it is ready.

        Raises StartFailed with the end of the log of the part that failed; Misconfigured.
        """
        with ThreadPoolExecutor(1) as thread:
            keys = thread.submit(ensure_keys, FOLDER / "simulator")  # seconds, once
            self._stack.up()
        settings = ensure_settings(self._ports, self._stack.database_url, keys.result())
        with self._reporter.step("tables and topics are up to date"):
            asyncio.run(_prepare(settings))
        self._stack.start(*_parts(settings))
        return settings

    def foreground(self) -> AbstractContextManager[None]:
        """Run the body; stop everything when it ends, fails or is interrupted (which is a normal end)."""
        return self._stack.foreground()

    @contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """Run the body; where it fails, stop what it started, unless something ran before."""
        before = self._stack.status()
        try:
            yield
        except BaseException:
            if not before:
                self._stack.down()
            raise

    def watch(self) -> None:
        """Return only by raising: StartFailed when a part has ended by itself."""
        self._stack.watch()

    def down(self) -> list[str]:
        """Stop all parts; return their names."""
        return self._stack.down()

    def status(self) -> list[PartStatus]:
        """Return what runs."""
        return self._stack.status()


async def _prepare(settings: Settings) -> None:
    await migrate(settings.database_url.get_secret_value())
    await apply_topics(settings.kafka, settings.receiver.max_body_bytes)


def _parts(settings: Settings) -> list[ProcessSpec]:
    receiver, worker, simulator = settings.receiver, settings.worker, settings.simulator

    def part(name: str, ports: tuple[int, ...], health_port: int, variables: str) -> ProcessSpec:
        return ProcessSpec(
            name=name,
            # -P: a `schemas.py` beside the user's handlers must not stand in for ours.
            command=[sys.executable, "-P", "-m", "levelgate", name],
            env={variable: os.environ.get(variable) or _HOST for variable in _HOST_VARIABLES},
            ports=ports,
            port_advice=f"set {variables} to a free port",
            ready_url=f"http://{_HOST}:{health_port}/readyz",
            ready_within_s=_READY_WITHIN_S,
            grace_s=max(receiver.grace_s, worker.grace_s + worker.session_timeout_s) + 15,
        )

    return [
        part("simulator", (simulator.port,), simulator.port, VARIABLES["simulator"]),
        part(
            "receiver",
            (receiver.port, receiver.metrics_port),
            receiver.port,
            f"{VARIABLES['receiver']} or {VARIABLES['receiver_metrics']}",
        ),
        part("worker", (worker.metrics_port,), worker.metrics_port, VARIABLES["worker_metrics"]),
    ]


_HOST_VARIABLES = ("LEVELGATE_RECEIVER__HOST", "LEVELGATE_WORKER__HOST", "LEVELGATE_SIMULATOR__HOST")
"""Unless asked otherwise, a stack for trying things out is open to this machine only."""
