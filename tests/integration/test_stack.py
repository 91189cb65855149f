import asyncio
import os
import queue
import signal
import socket
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import asyncpg
import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from levelgate.broker import apply_topics, client_options
from levelgate.local.processes import PortTaken, ProcessSpec, StartFailed, free_port
from levelgate.local.stack import LocalStack, Ports
from schemas.settings import Kafka
from schemas.topics import Topics
from tests.support.eventually import eventually

SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/readyz" else 404)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def server(name="receiver", **fields):
    port = free_port()
    return ProcessSpec(
        name=name,
        command=(sys.executable, "-c", SERVER, str(port)),
        ports=(port,),
        ready_url=f"http://127.0.0.1:{port}/readyz",
        **fields,
    )


@pytest.fixture
def folder(tmp_path, jars):
    folder = tmp_path / ".levelgate"
    folder.mkdir()
    jars.mkdir(parents=True, exist_ok=True)
    (folder / "jars").symlink_to(jars)
    return folder


@pytest.fixture
def stack(folder):
    stack = LocalStack(folder, ports=Ports(kafka=free_port(), kafka_controller=free_port(), postgres=free_port()))
    yield stack
    stack.down()


def listens(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.expected_errors("^aiokafka.*NotLeaderForPartition")
async def test_a_second_start_finds_what_the_first_one_stored(stack):
    await asyncio.to_thread(stack.up)
    kafka = Kafka(bootstrap_servers=stack.bootstrap_servers, partitions=1)
    topic = Topics(kafka).dead
    await apply_topics(kafka, 1024 * 1024)
    async with AIOKafkaProducer(**client_options(kafka)) as producer:
        await producer.send_and_wait(topic, b"kept")
    connection = await asyncpg.connect(stack.database_url)
    await connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    await connection.close()
    parts = await asyncio.to_thread(stack.status)
    ports = [port for part in parts for port in part.ports]
    assert [part.name for part in parts] == ["kafka", "postgres"]
    assert all(listens(port) for port in ports)

    assert await asyncio.to_thread(stack.down) == ["postgres", "kafka"]
    assert not any(psutil.pid_exists(part.pid) for part in parts)
    assert not any(listens(port) for port in ports)
    assert await asyncio.to_thread(stack.status) == []

    await asyncio.to_thread(stack.up)
    connection = await asyncpg.connect(stack.database_url)
    assert await connection.fetchval("SELECT answer FROM kept") == 42
    await connection.close()
    async with AIOKafkaConsumer(**client_options(kafka), auto_offset_reset="earliest") as consumer:
        consumer.assign([TopicPartition(topic, 0)])
        record = await consumer.getone()
    assert record.value == b"kept"


def test_a_second_up_leaves_what_runs_alone_and_a_database_of_the_users_own_is_used_as_it_is(folder):
    stack = LocalStack(folder, database_url="postgresql://elsewhere", ports=Ports(free_port(), free_port()))
    stack.up()
    before = stack.status()
    assert [part.name for part in before] == ["kafka"]
    assert stack.database_url == "postgresql://elsewhere"
    stack.up()
    assert stack.status() == before
    other = LocalStack(folder, database_url="postgresql://elsewhere", ports=Ports(free_port(), free_port()))
    with pytest.raises(
        StartFailed, match=r"kafka runs already, on other ports \(\d+, \d+\): run `levelgate down` first"
    ):
        other.up()
    assert other.down() == ["kafka"]


def test_a_port_of_kafkas_that_others_have_is_told_with_the_setting_to_change(folder):
    with socket.create_server(("127.0.0.1", 0)) as foreign:
        port = foreign.getsockname()[1]
        stack = LocalStack(folder, ports=Ports(kafka=port, kafka_controller=free_port(), postgres=free_port()))
        with pytest.raises(PortTaken, match=rf"port {port}, which kafka needs.*set LEVELGATE_LOCAL_KAFKA_PORT"):
            stack.up()
    assert stack.status() == []


def test_a_port_of_postgres_that_others_have_is_told_with_the_settings_to_change(stack, folder):
    with socket.create_server(("127.0.0.1", 0)) as foreign:
        port = foreign.getsockname()[1]
        stack = LocalStack(folder, ports=Ports(kafka=free_port(), kafka_controller=free_port(), postgres=port))
        with pytest.raises(PortTaken, match=rf"port {port}.*LEVELGATE_LOCAL_POSTGRES_PORT.*LEVELGATE_DATABASE_URL"):
            stack.up()


def test_a_process_is_started_until_it_says_that_it_is_ready(stack):
    stack.start(server())
    (part,) = stack.status()
    assert part.name == "receiver"
    assert listens(part.ports[0])


def test_parts_stop_in_the_reverse_order_of_their_start(stack):
    stack.start(server("simulator"))
    stack.start(server("receiver"), server("worker"))
    assert stack.down() == ["worker", "receiver", "simulator"]


def test_a_process_that_dies_while_it_starts_is_told_with_its_log(stack):
    with pytest.raises(StartFailed, match=r"worker ended while it started(?s:.*)no such setting"):
        stack.start(
            ProcessSpec(
                name="worker",
                command=(sys.executable, "-c", "raise SystemExit('no such setting')"),
                ready_url="http://127.0.0.1:1/readyz",
            )
        )


def test_a_process_that_ends_by_itself_is_started_again_but_not_for_ever(folder):
    said: queue.Queue[str] = queue.Queue()
    stack = LocalStack(folder, say=said.put)
    stack.start(server())
    with ThreadPoolExecutor(1) as thread:
        watching = thread.submit(stack.watch)
        try:
            for _ in range(5):
                stack.part("receiver").kill()
                while said.get(timeout=30) != "receiver is ready again":
                    pass
            stack.part("receiver").kill()
            with pytest.raises(StartFailed, match="receiver has ended"):
                watching.result(timeout=30)
        finally:
            stack.down()


def test_watching_ends_when_postgres_ends_by_itself(stack):
    stack.up()
    stack.postgres.daemon.kill()
    with pytest.raises(StartFailed, match="postgres has ended"):
        stack.watch()


FOREGROUND = """
import sys
from pathlib import Path
from levelgate.local.processes import ProcessSpec
from levelgate.local.stack import LocalStack

stack = LocalStack(Path(sys.argv[1]))
with stack.foreground():
    stack.start(ProcessSpec(name="deaf", grace_s=1, command=(sys.executable, "-c", sys.argv[2])))
    stack.start(ProcessSpec(name="willing", command=("sleep", "600")))
    print("up", flush=True)
    stack.watch()
print("ended", flush=True)
"""

DEAF = textwrap.dedent("""
    import signal, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    time.sleep(600)
""")


@contextmanager
def killed_at_the_end(command, **options):
    with subprocess.Popen(command, **options) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_foreground_leaves_no_process_even_when_interrupted_again(folder, number):
    with killed_at_the_end(
        [sys.executable, "-c", FOREGROUND, str(folder), DEAF],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as foreground:
        assert foreground.stdout
        assert foreground.stdout.readline() == "up\n"
        started = psutil.Process(foreground.pid)
        parts = LocalStack(folder).status()
        assert [part.name for part in parts] == ["deaf", "willing"]
        foreground.send_signal(number)
        with suppress(psutil.NoSuchProcess):
            started.send_signal(number)
        assert foreground.stdout.read() == "ended\n"
        assert foreground.wait() == 0
    assert not any(psutil.pid_exists(part.pid) for part in parts)


SWALLOWING = """
import sys, time
from pathlib import Path
from levelgate.local.stack import LocalStack

with LocalStack(Path(sys.argv[1])).foreground():
    try:
        print("up", flush=True)
        time.sleep(600)
    except KeyboardInterrupt:
        time.sleep(600)
print("ended", flush=True)
"""


def test_an_interruption_that_is_swallowed_comes_again(folder):
    with killed_at_the_end(
        [sys.executable, "-c", SWALLOWING, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as foreground:
        assert foreground.stdout
        assert foreground.stdout.readline() == "up\n"
        foreground.send_signal(signal.SIGINT)
        assert foreground.stdout.read() == "ended\n"


@pytest.mark.expected_errors("^aiokafka.*NotLeaderForPartition")
async def test_a_killed_broker_comes_back_on_its_port_with_its_records(own_kafka):
    broker = await own_kafka()
    kafka = broker.settings(partitions=1)
    topic = Topics(kafka).dead
    await apply_topics(kafka, 1024 * 1024)
    async with AIOKafkaProducer(**client_options(kafka)) as producer:
        await producer.send_and_wait(topic, b"kept")
    await broker.kill()
    assert not listens(int(broker.bootstrap_servers.rpartition(":")[2]))
    await broker.start()
    async with AIOKafkaConsumer(**client_options(kafka), auto_offset_reset="earliest") as consumer:
        consumer.assign([TopicPartition(topic, 0)])
        assert (await consumer.getone()).value == b"kept"


async def test_a_frozen_broker_answers_again_after_it_was_resumed(own_kafka):
    broker = await own_kafka()
    kafka = broker.settings(partitions=1)
    await apply_topics(kafka, 1024 * 1024)
    async with AIOKafkaProducer(**client_options(kafka)) as producer:
        await producer.send_and_wait(Topics(kafka).dead, b"early")
        await broker.pause()
        sent = await producer.send(Topics(kafka).dead, b"late")
        assert not sent.done()
        await broker.resume()
        await eventually(sent.done, within_s=30)
        assert sent.exception() is None
