"""One background process of the local stack: started with a pid file and a log, found again, stopped for good.

Knows nothing of what it runs. Never signals a process that it can't show to be its own: a pid file counts
only while the process of that id was started at the recorded moment.
All of this blocks; from a running event loop call it in a thread.
"""

import os
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import msgspec
import psutil

from schemas.errors import LevelgateError

_POLL_S = 0.05
_KILLED_WITHIN_S = 10.0
_PAUSED_WITHIN_S = 5.0
_TAIL_LINES = 15
_START_TOLERANCE_S = 0.05
"""The start of a process is counted in clock ticks: two readings differ by less than this."""

_NO_ENV: Mapping[str, str] = MappingProxyType({})


class StartFailed(LevelgateError):
    """A part of the local stack did not come up; the message says why, as far as its log tells."""


class PortTaken(StartFailed):
    """Another program listens where a part of the stack wants to."""


class ProcessSpec(msgspec.Struct, frozen=True):
    """What to run, and how to treat it."""

    name: str
    command: Sequence[str]
    env: Mapping[str, str] = _NO_ENV
    """Added to our own environment."""
    ports: Sequence[int] = ()
    """Where it will listen: checked before it starts."""
    port_advice: str = "give this part another port"
    """What to do when a port is taken, besides stopping who has it."""
    ready_url: str | None = None
    """Answers 200 once the process does its work; none: it is ready when it runs."""
    ready_within_s: float = 60.0
    stop_signal: int = signal.SIGTERM
    grace_s: float = 30.0
    """How long it may take to stop before it is killed."""


class _Record(msgspec.Struct, frozen=True):
    pid: int
    since_boot_s: float
    """When it was started, counted from the machine's start: setting the clock does not change it."""
    started_at: float
    """The same in seconds since 1970, finer: tells which of two processes was first."""
    ports: tuple[int, ...]
    stop_signal: int
    grace_s: float


class Daemon:
    """The process called `name` of the stack in `folder`, whether it runs or not, whoever started it."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.log = folder / "logs" / f"{name}.log"
        self._pid_file = folder / "run" / f"{name}.json"

    @property
    def process(self) -> psutil.Process | None:
        """The running process, or none; a pid file that outlived its process is removed."""
        record = self._record()
        if record is None:
            return None
        process = _living(record)
        if process is None:
            self._pid_file.unlink(missing_ok=True)
        return process

    @property
    def started_at(self) -> float | None:
        """When it was started (seconds since 1970), or none where there is no record of it."""
        record = self._record()
        return record.started_at if record else None

    @property
    def ports(self) -> tuple[int, ...]:
        """The ports that it was started with; none where there is no record of it."""
        record = self._record()
        return record.ports if record else ()

    def start(self, spec: ProcessSpec) -> None:
        """Start it unless it runs already; its log is kept, and added to.

        It gets a session of its own: Ctrl-C in the terminal reaches only who supervises it.
        Raises PortTaken, or StartFailed where the command can't be run.
        """
        if self.process is not None:
            return
        for port in spec.ports:
            _check_port(spec, port)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._pid_file.parent.mkdir(parents=True, exist_ok=True)
        pid: int | None = None
        try:
            pid = _spawn(spec, self.log)
            self._remember(spec, psutil.Process(pid))
        except OSError as error:
            raise StartFailed(f"{self.name} can't be started: {spec.command[0]}: {error.strerror}") from error
        except psutil.NoSuchProcess:
            raise self._died() from None
        except BaseException:
            if pid is not None:  # Interrupted before anybody could find it again.
                os.kill(pid, signal.SIGKILL)
            raise

    def wait_until(self, is_ready: Callable[[], bool], within_s: float) -> None:
        """Wait until `is_ready` says so; raise StartFailed with the end of the log when it dies or takes too long."""
        deadline = time.monotonic() + within_s
        while not is_ready():
            if self.process is None:
                raise self._died()
            if time.monotonic() > deadline:
                raise StartFailed(f"{self.name} was not ready within {within_s:g} s\n{self.log_tail()}")
            time.sleep(_POLL_S)

    def stop(self) -> None:
        """Ask it to stop, kill it when its grace time is over, and return when it and its group are gone."""
        record = self._record()
        process = self.process
        if record is None or process is None:
            return
        group = _group(process)
        _signal(process, signal.SIGCONT)  # A paused process would never hear of it.
        _signal(process, record.stop_signal)
        try:
            process.wait(record.grace_s)
        except psutil.TimeoutExpired:
            _signal(process, signal.SIGKILL)
        self._finish(process, group)

    def kill(self) -> None:
        """End it at once, as a crash would (SIGKILL to the whole group)."""
        process = self.process
        if process is not None:
            self._finish(process, _group(process))

    def pause(self) -> None:
        """Freeze it (SIGSTOP), children included, until `resume`; return when it does nothing any more."""
        self._signal_all(signal.SIGSTOP)
        process = self.process
        if process is not None:
            self.wait_until(lambda: process.status() == psutil.STATUS_STOPPED, _PAUSED_WITHIN_S)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        self._signal_all(signal.SIGCONT)

    def log_tail(self) -> str:
        """Return the last lines of the log, and where to find the rest."""
        try:
            lines = self.log.read_text("utf-8", errors="replace").splitlines()[-_TAIL_LINES:]
        except FileNotFoundError:
            lines = []
        return "\n".join([f"the end of {self.log}:", *(f"  {line}" for line in lines)])

    def _died(self) -> StartFailed:
        return StartFailed(f"{self.name} ended while it started\n{self.log_tail()}")

    def _record(self) -> _Record | None:
        try:
            return msgspec.json.decode(self._pid_file.read_bytes(), type=_Record)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def _remember(self, spec: ProcessSpec, process: psutil.Process) -> None:
        record = _Record(
            pid=process.pid,
            since_boot_s=_since_boot_s(process),
            started_at=time.time(),
            ports=tuple(spec.ports),
            stop_signal=int(spec.stop_signal),
            grace_s=spec.grace_s,
        )
        unfinished = self._pid_file.with_suffix(".new")
        unfinished.write_bytes(msgspec.json.encode(record))
        unfinished.replace(self._pid_file)

    def _signal_all(self, number: int) -> None:
        process = self.process
        if process is not None:
            for member in _group(process):
                _signal(member, number)

    def _finish(self, process: psutil.Process, group: list[psutil.Process]) -> None:
        # What is left of the group is read again: a child may have had children since.
        left = {*group, *(_group(process) if process.is_running() else ())}
        for member in left:
            _signal(member, signal.SIGKILL)
        _, alive = psutil.wait_procs(left, timeout=_KILLED_WITHIN_S)
        if any(member.is_running() and member.status() != psutil.STATUS_ZOMBIE for member in alive):
            raise LevelgateError(f"{self.name} (pid {process.pid}) could not be killed")
        self._pid_file.unlink(missing_ok=True)


def _spawn(spec: ProcessSpec, log: Path) -> int:
    # Not subprocess.Popen: its object would have to live as long as the process, which may outlive us.
    return os.posix_spawnp(
        spec.command[0],
        list(spec.command),
        {**os.environ, **spec.env},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
        # A shell's background job ignores SIGINT, Python SIGPIPE: the child shall not inherit either.
        setsigdef=[signal.SIGINT, signal.SIGPIPE],
    )


def daemons(folder: Path) -> list[Daemon]:
    """Return what the stack in `folder` has started and not stopped, the last started first."""
    found = [Daemon(folder, file.stem) for file in (folder / "run").glob("*.json")]
    living = [daemon for daemon in found if daemon.process is not None]
    return sorted(living, key=lambda daemon: daemon.started_at or 0.0, reverse=True)


def free_port() -> int:
    """Return a port that nobody listens on now; somebody may take it before you do."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _check_port(spec: ProcessSpec, port: int) -> None:
    for host in ("127.0.0.1", "0.0.0.0"):  # noqa: S104 -- asked only, closed at once
        try:
            socket.create_server((host, port)).close()
        except OSError as error:
            raise PortTaken(
                f"port {port}, which {spec.name} needs, is taken by {_listener(port)}: stop it, or {spec.port_advice}"
            ) from error


def _listener(port: int) -> str:
    try:
        for connection in psutil.net_connections("tcp"):
            is_it = connection.laddr and connection.laddr.port == port and connection.status == psutil.CONN_LISTEN
            if is_it and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except psutil.Error:  # Not ours to see.
        pass
    return "another program"


def _living(record: _Record) -> psutil.Process | None:
    try:
        process = psutil.Process(record.pid)
        if abs(_since_boot_s(process) - record.since_boot_s) > _START_TOLERANCE_S:
            return None
        if process.status() == psutil.STATUS_ZOMBIE:
            process.wait(0)  # A child of ours that ended: taken note of, so that it does not stay.
            return None
    except (psutil.NoSuchProcess, psutil.TimeoutExpired):
        return None
    return process


def _since_boot_s(process: psutil.Process) -> float:
    return process.create_time() - psutil.boot_time()


def _group(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return [process]


def _signal(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return
