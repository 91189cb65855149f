"""Kafka, Postgres and the processes given to it, under one folder: brought up, looked at, brought down.

Knows nothing of what the processes are for: it is given their commands. Leaves nothing running that it
started, however it is ended, but by `up` on purpose.
All of this blocks; from a running event loop call it in a thread.
"""

import fcntl
import http.client
import signal
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import msgspec

from levelgate.local.kafka import KafkaServer
from levelgate.local.postgres import PostgresServer
from levelgate.local.processes import Daemon, ProcessSpec, StartFailed, daemons

PORT_VARIABLES = {
    "kafka": "LEVELGATE_LOCAL_KAFKA_PORT",
    "kafka_controller": "LEVELGATE_LOCAL_KAFKA_CONTROLLER_PORT",
    "postgres": "LEVELGATE_LOCAL_POSTGRES_PORT",
}
"""The environment variable behind each of `Ports`: named in the advice when a port is taken."""

_PROBE_TIMEOUT_S = 2.0
_WATCH_POLL_S = 0.5
_INTERRUPT_AGAIN_S = 0.5
_RESTARTS = 5
"""How often a process that ends by itself is started again before the stack is given up."""


class Ports(msgspec.Struct, frozen=True):
    """Where the native parts listen, all on the loopback address."""

    kafka: int = 9092
    kafka_controller: int = 9093
    postgres: int = 5433


class PartStatus(msgspec.Struct, frozen=True):
    """One running part of the stack."""

    name: str
    pid: int
    ports: tuple[int, ...]
    started_at: float
    log: str


class LocalStack:
    """The stack whose data, logs and pid files are in `folder`, whether it runs or not."""

    def __init__(
        self,
        folder: Path,
        *,
        ports: Ports | None = None,
        database_url: str | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`database_url`: a Postgres of the user's own, used instead of a native one; `say` hears of progress."""
        self._folder = folder
        self._ports = ports or Ports()
        self._database_url = database_url
        self._say = say
        self._started: list[Daemon] = []
        self._specs: dict[str, ProcessSpec] = {}
        self.kafka = KafkaServer(
            folder,
            jars=folder / "jars",
            port=self._ports.kafka,
            controller_port=self._ports.kafka_controller,
            port_advice=f"set {PORT_VARIABLES['kafka']} or {PORT_VARIABLES['kafka_controller']} to a free port",
        )
        self.postgres = PostgresServer(
            folder, port=self._ports.postgres, port_advice=f"set {PORT_VARIABLES['postgres']} to a free port"
        )

    @property
    def bootstrap_servers(self) -> str:
        """Where Kafka's clients find it."""
        return self.kafka.bootstrap_servers

    @property
    def database_url(self) -> str:
        """The user's own Postgres, else the native one, which must have been up once."""
        return self._database_url or self.postgres.url

    def up(self) -> None:
        """Start Kafka and Postgres where they don't run yet, and return when both answer.

        Raises StartFailed (PortTaken among them) or JarsMissing.
        """
        with self._alone():
            self._refuse_other_ports(self.kafka.daemon, (self._ports.kafka, self._ports.kafka_controller))
            # Both start side by side: the JVM takes its seconds while Postgres makes its cluster.
            self.kafka.launch(say=self._say)
            self._started.append(self.kafka.daemon)
            if self._database_url is None:
                self._refuse_other_ports(self.postgres.daemon, (self._ports.postgres,))
                self.postgres.launch()
                self._started.append(self.postgres.daemon)
                self.postgres.wait_until_ready()
                self._say(f"Postgres answers on port {self._ports.postgres}")
            self.kafka.wait_until_ready()
            self._say(f"Kafka answers on port {self._ports.kafka}")

    def start(self, *specs: ProcessSpec) -> None:
        """Start processes side by side where they don't run yet, and return when all are ready.

        Raises StartFailed (PortTaken among them) with the end of the log of the first that failed.
        """
        with self._alone():
            for spec in specs:
                daemon = self.part(spec.name)
                daemon.start(spec)
                self._started.append(daemon)
                self._specs[spec.name] = spec
            for spec in specs:
                self._wait_until_ready(spec)
                self._say(f"{spec.name} is ready")

    def _wait_until_ready(self, spec: ProcessSpec) -> None:
        url = spec.ready_url
        if url is not None:
            self.part(spec.name).wait_until(lambda: _answers_ok(url), spec.ready_within_s)

    def part(self, name: str) -> Daemon:
        """Return the part called `name`, whether it runs or not."""
        return Daemon(self._folder, name)

    def down(self) -> list[str]:
        """Stop all parts, whoever started them, the last started first; return their names."""
        with self._alone():
            running = daemons(self._folder)
            for daemon in running:
                daemon.stop()
                self._say(f"{daemon.name} has stopped")
            self._started.clear()
            self._specs.clear()
        return [daemon.name for daemon in running]

    def status(self) -> list[PartStatus]:
        """Return what runs, the first started first."""
        found = []
        for daemon in reversed(daemons(self._folder)):
            process = daemon.process
            if process is not None:
                found.append(PartStatus(daemon.name, process.pid, daemon.ports, process.create_time(), str(daemon.log)))
        return found

    @contextmanager
    def foreground(self) -> Iterator[None]:
        """Run the body; when it ends, fails or is interrupted, stop all parts.

        SIGINT, SIGTERM and SIGHUP interrupt it, which is a normal end; while parts stop they are not heard.
        To be entered in the main thread.
        """
        is_ending = False

        def interrupt(_number: int, _frame: FrameType | None) -> None:
            if is_ending:  # Impatience must not cut the stopping short.
                return
            # Python drops an exception that comes within a weak reference's callback: then it comes again.
            signal.setitimer(signal.ITIMER_REAL, _INTERRUPT_AGAIN_S)
            raise KeyboardInterrupt

        before = {number: signal.signal(number, interrupt) for number in (*_INTERRUPTS, signal.SIGALRM)}
        try:
            yield
        except KeyboardInterrupt:
            is_ending = True
            self._say("stopping")
        finally:
            is_ending = True
            signal.setitimer(signal.ITIMER_REAL, 0)
            try:
                self.down()
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)

    def watch(self) -> None:
        """Start a process again that has ended by itself; return only by raising StartFailed.

        That is where Kafka or Postgres has ended, or where a process ends again and again.
        """
        restarts = dict.fromkeys(self._specs, 0)
        while True:
            for daemon in self._started:
                if daemon.process is None:
                    spec = self._specs.get(daemon.name)
                    if spec is None or restarts[spec.name] == _RESTARTS:
                        raise StartFailed(f"{daemon.name} has ended\n{daemon.log_tail()}")
                    restarts[spec.name] += 1
                    self._restart(daemon, spec)
            time.sleep(_WATCH_POLL_S)

    def _restart(self, daemon: Daemon, spec: ProcessSpec) -> None:
        self._say(f"{daemon.name} has ended by itself: starting it again; its log is {daemon.log}")
        with self._alone():
            if daemon.process is None:  # else another command was faster
                daemon.start(spec)
            self._wait_until_ready(spec)
        self._say(f"{daemon.name} is ready again")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._say("waiting for another levelgate command to be done with the stack")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _refuse_other_ports(self, daemon: Daemon, wanted: tuple[int, ...]) -> None:
        if daemon.process is not None and daemon.ports != wanted:
            has = ", ".join(map(str, daemon.ports))
            raise StartFailed(f"{daemon.name} runs already, on other ports ({has}): run `levelgate down` first")


_INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _answers_ok(url: str) -> bool:
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_PROBE_TIMEOUT_S)
    try:
        connection.request("GET", parts.path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
