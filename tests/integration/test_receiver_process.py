"""The receiver as a process: its ports, its metrics, its signals."""

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from ingest.run import run_receiver, serve
from levelgate.local.processes import free_port
from schemas.errors import Misconfigured
from tests.support.eventually import eventually
from tests.support.keys import ed25519_public_pem
from tests.support.webhooks import encoded, signed, webhook

pytest_plugins = ["tests.fixtures.receiver"]

PROJECT = Path(__file__).parents[2]
RUN = """
import asyncio
from ingest.run import run_receiver
from schemas.logs import configure_logs
from schemas.settings import load_settings

settings = load_settings()
configure_logs(settings.log)
asyncio.run(run_receiver(settings))
"""


class Process:
    """A receiver in a process of its own."""

    def __init__(self, process, url, metrics_url) -> None:
        self._process = process
        self.url = url
        self.metrics_url = metrics_url

    async def is_ready(self, session) -> bool:
        with contextlib.suppress(aiohttp.ClientError):
            async with session.get(self.url + "/readyz") as response:
                return bool(response.status == 200)
        return False

    def send_signal(self, number) -> None:
        self._process.send_signal(number)

    async def ended(self) -> tuple[int, str]:
        async with asyncio.timeout(20):
            _, errors = await self._process.communicate()
        return self._process.returncode, errors.decode()


@contextlib.asynccontextmanager
async def receiver_process(settings):
    port, metrics_port = free_port(), free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(PROJECT),
        "LEVELGATE_APPS__DEMO__CLIENT_ID": settings.apps["demo"].client_id,
        "LEVELGATE_APPS__DEMO__CLIENT_SECRET": "x",
        "LEVELGATE_APPS__DEMO__ED25519_KEYS": f'["{ed25519_public_pem()}"]'.replace("\n", "\\n"),
        "LEVELGATE_DATABASE_URL": settings.database_url.get_secret_value(),
        "LEVELGATE_SECRET_KEY": settings.secret_key.get_secret_value(),
        "LEVELGATE_TOKEN_KEYS": settings.token_keys.get_secret_value(),
        "LEVELGATE_KAFKA__BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers,
        "LEVELGATE_KAFKA__TOPIC_PREFIX": settings.kafka.topic_prefix,
        "LEVELGATE_RECEIVER__HOST": "127.0.0.1",
        "LEVELGATE_RECEIVER__PORT": str(port),
        "LEVELGATE_RECEIVER__METRICS_PORT": str(metrics_port),
        "LEVELGATE_RECEIVER__GRACE_S": "5",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-c", RUN, env=environment, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield Process(process, f"http://127.0.0.1:{port}", f"http://127.0.0.1:{metrics_port}")
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def test_everything_answered_200_before_and_during_its_end_is_in_the_topic(receiver_settings, stored):
    async with receiver_process(receiver_settings) as process, aiohttp.ClientSession() as session:
        await eventually(lambda: process.is_ready(session), within_s=20)
        accepted: set[str] = set()
        seen: list[int] = []

        async def keep_sending(sender):
            number = 0
            with contextlib.suppress(aiohttp.ClientError):
                while True:
                    number += 1
                    body = encoded(webhook(webhookId=f"{sender}-{number}", locationId=f"location{sender}"))
                    async with session.post(f"{process.url}/webhooks/demo", data=body, headers=signed(body)) as answer:
                        said = await answer.json()
                    seen.append(answer.status)
                    if answer.status == 200:
                        accepted.add(said["id"])

        senders = [asyncio.create_task(keep_sending(sender)) for sender in range(20)]
        await eventually(lambda: len(accepted) > 200)
        process.send_signal(signal.SIGTERM)
        code, errors = await process.ended()
        await asyncio.gather(*senders)
    assert code == 0, errors
    assert set(seen) <= {200, 429}
    assert "receiver_stopped" in errors
    assert '"error"' not in errors
    assert accepted <= {record.id for record in await stored()}


async def test_metrics_are_on_a_port_of_their_own(receiver_settings):
    async with receiver_process(receiver_settings) as process, aiohttp.ClientSession() as session:
        await eventually(lambda: process.is_ready(session), within_s=20)
        async with session.get(f"{process.metrics_url}/metrics") as response:
            assert response.status == 200
            text = await response.text()
        assert 'levelgate_deliveries_received_total{app="demo",outcome="accepted"} 0.0' in text
        assert "process_cpu_seconds_total" in text
        async with session.get(f"{process.url}/metrics") as response:
            assert response.status == 404
        process.send_signal(signal.SIGINT)
        assert (await process.ended())[0] == 0


async def test_a_port_that_is_taken_is_told_in_one_sentence(receiver_settings):
    async with serve(web.Application(), "127.0.0.1", 0) as taken:
        receiver = receiver_settings.receiver.model_copy(update={"port": taken})
        with pytest.raises(Misconfigured, match=f"port {taken} can't be listened on at 127.0.0.1"):
            await run_receiver(receiver_settings.model_copy(update={"receiver": receiver}))
