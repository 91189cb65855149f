import json
import os
import signal
import socket
import sys

import psutil
import pytest

from levelgate.local.processes import Daemon, PortTaken, ProcessSpec, StartFailed, daemons, free_port

SLEEPS = (sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)")
DEAF = (
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)",
)
PARENT = (
    sys.executable,
    "-c",
    """import subprocess, sys, time
subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])
print('up', flush=True)
time.sleep(600)""",
)


@pytest.fixture
def daemon(tmp_path):
    daemon = Daemon(tmp_path, "part")
    yield daemon
    daemon.kill()


def spec(command=SLEEPS, **fields):
    return ProcessSpec(name="part", command=command, **fields)


def start(daemon, started):
    daemon.start(started)
    daemon.wait_until(lambda: "up" in daemon.log.read_text(), within_s=20)
    return daemon.process


def test_a_started_process_is_found_again_by_whoever_asks(daemon, tmp_path):
    process = start(daemon, spec())
    assert Daemon(tmp_path, "part").process == process
    assert [d.name for d in daemons(tmp_path)] == ["part"]


def test_a_second_start_leaves_the_running_process_alone(daemon):
    process = start(daemon, spec())
    daemon.start(spec())
    assert daemon.process == process


def test_a_stopped_process_leaves_nothing(daemon, tmp_path):
    process = start(daemon, spec())
    daemon.stop()
    assert not psutil.pid_exists(process.pid)
    assert daemon.process is None
    assert daemons(tmp_path) == []


def test_one_that_does_not_listen_is_killed_after_its_grace_time(daemon):
    process = start(daemon, spec(DEAF, grace_s=0.3))
    daemon.stop()
    assert not process.is_running()


def test_a_paused_process_stops_too(daemon):
    process = start(daemon, spec())
    daemon.pause()
    assert process.status() == psutil.STATUS_STOPPED
    daemon.stop()
    assert not process.is_running()


def test_children_do_not_outlive_their_parent(daemon):
    children = start(daemon, spec(PARENT)).children()
    assert children
    daemon.stop()
    assert not any(child.is_running() for child in children)


def test_children_of_a_parent_that_crashed_are_ended_by_the_next_kill(daemon):
    children = start(daemon, spec(PARENT)).children()
    daemon.kill()
    assert not any(child.is_running() for child in children)


def test_the_pid_file_of_a_crashed_process_does_not_count(daemon):
    process = start(daemon, spec())
    process.kill()
    process.wait()
    assert daemon.process is None
    assert start(daemon, spec()).pid != process.pid


def test_another_process_under_the_recorded_id_is_not_touched(daemon, tmp_path):
    process = start(daemon, spec())
    # A pid that was given to somebody else can't be had at will: here the record tells of an older process.
    (pid_file,) = (tmp_path / "run").iterdir()
    record = json.loads(pid_file.read_bytes())
    pid_file.write_text(json.dumps(record | {"since_boot_s": record["since_boot_s"] - 60}))
    assert daemon.process is None
    daemon.stop()
    daemon.kill()
    assert process.is_running()
    process.kill()
    process.wait()


def test_a_taken_port_is_told_with_who_has_it_and_what_to_do(daemon):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(PortTaken) as error:
            daemon.start(spec(ports=(port,), port_advice="set SOME_PORT to a free port"))
    told = str(error.value)
    assert f"port {port}, which part needs, is taken by" in told
    assert f"pid {os.getpid()}" in told
    assert told.endswith("stop it, or set SOME_PORT to a free port")
    assert daemon.process is None


def test_a_port_taken_on_all_addresses_counts_too(daemon):
    with socket.create_server(("", 0)) as server, pytest.raises(PortTaken):
        daemon.start(spec(ports=(server.getsockname()[1],)))


def test_a_free_port_is_no_hindrance(daemon):
    port = free_port()
    daemon.start(spec(ports=(port,)))
    assert daemon.ports == (port,)


def test_one_that_dies_while_it_starts_is_told_with_the_end_of_its_log(daemon):
    daemon.start(spec((sys.executable, "-c", "print('because of this'); raise SystemExit(1)")))
    with pytest.raises(StartFailed, match=r"part ended while it started(?s:.*)part\.log(?s:.*)because of this"):
        daemon.wait_until(lambda: False, within_s=20)


def test_one_that_is_never_ready_is_told_after_the_time_it_has(daemon):
    daemon.start(spec())
    with pytest.raises(StartFailed, match=r"part was not ready within 0\.1 s"):
        daemon.wait_until(lambda: False, within_s=0.1)


def test_a_command_that_is_not_there_is_told(daemon):
    with pytest.raises(StartFailed, match="part can't be started: /no/such/command: No such file"):
        daemon.start(spec(("/no/such/command",)))


def test_ctrl_c_in_the_terminal_does_not_reach_it(daemon):
    process = start(daemon, spec())
    assert os.getsid(process.pid) == process.pid != os.getsid(0)


def test_its_log_is_added_to(daemon):
    start(daemon, spec())
    daemon.stop()
    daemon.start(spec())
    daemon.wait_until(lambda: daemon.log.read_text().count("up") == 2, within_s=20)


def test_the_last_started_comes_first(tmp_path):
    parts = [Daemon(tmp_path, name) for name in ("b", "c", "a")]
    for part in parts:
        part.start(ProcessSpec(name=part.name, command=SLEEPS))
    assert [part.name for part in daemons(tmp_path)] == ["a", "c", "b"]
    for part in parts:
        part.kill()


def test_it_gets_the_signal_that_it_stops_by(daemon):
    command = (
        sys.executable,
        "-c",
        "import time\nprint('up', flush=True)\ntry: time.sleep(600)\nexcept KeyboardInterrupt: print('interrupted')",
    )
    start(daemon, spec(command, stop_signal=signal.SIGINT))
    daemon.stop()
    assert "interrupted" in daemon.log.read_text()
