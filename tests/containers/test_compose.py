"""The compose file, and the stack that it makes: the whole way of a webhook, seen from this machine."""

import asyncio
import json
import os
import sys
from datetime import timedelta
from http import HTTPStatus

import aiohttp
import pytest
from yarl import URL

from schemas.settings import Kafka, Receiver
from schemas.topics import Topics
from tests.containers.conftest import PORT_VARIABLES, ROOT, Compose
from tests.support.eventually import eventually
from tests.support.webhooks import webhook


@pytest.fixture
async def http():
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
        yield session


async def levelgate(stack, *arguments):
    """Run the command on this machine, as a developer does beside the containers; return its JSON, or how it failed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from levelgate.cli import main; main()",
        *arguments,
        "--json",
        cwd=ROOT,
        env={**os.environ, **stack.command_environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        said, complaint = await process.communicate()
    return json.loads(said) if process.returncode == 0 else {"failed": complaint.decode()}


async def handled(stack, delivery_id):
    """Wait until a delivery is handled; return its trace."""
    return await eventually(
        lambda: levelgate(stack, "trace", delivery_id), lambda seen: seen.get("state") == "handled", within_s=60
    )


async def install(stack, http) -> None:
    """Install the demo app for the agency, as a browser does."""
    async with http.get(f"{stack.url('receiver')}/oauth/start/demo", allow_redirects=False) as response:
        consent = URL(response.headers["Location"]).update_query(approve="1")
    async with http.get(consent) as response:
        assert response.status == HTTPStatus.OK, await response.text()
        assert response.url.with_query(None) == URL(f"{stack.url('receiver')}/oauth/callback/demo")


def config(**environment):
    return json.loads(Compose("levelgate", environment)("config", "--format", "json"))


def test_every_port_is_open_on_this_machine_only():
    services = config()["services"]
    ports = [port for service in services.values() for port in service.get("ports", ())]
    assert sorted(int(port["published"]) for port in ports) == [5433, 8080, 8090, 9092, 9100, 9101]
    assert {port["host_ip"] for port in ports} == {"127.0.0.1"}


def test_every_port_can_be_chosen():
    chosen = {variable: str(20000 + n) for n, variable in enumerate(PORT_VARIABLES.values())}
    services = config(**chosen)["services"]
    published = {port["published"] for service in services.values() for port in service.get("ports", ())}
    assert published == set(chosen.values())
    outside = f"OUTSIDE://localhost:{chosen['LEVELGATE_LOCAL_KAFKA_PORT']}"
    assert outside in services["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]


def test_no_process_of_ours_has_privileges_or_a_writable_image():
    services = config()["services"]
    for name in ("setup", "simulator", "receiver", "worker"):
        service = services[name]
        assert service["cap_drop"] == ["ALL"]
        assert service["read_only"] is True
        assert service["user"] == "10001:10001"


def test_the_broker_makes_no_topic_by_itself_and_remembers_offsets_longer_than_any_topic_is_kept():
    broker = config()["services"]["kafka"]["environment"]
    assert broker["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    longest = max(topic.retention for topic in Topics(Kafka()).layout(Receiver().max_body_bytes))
    assert timedelta(minutes=int(broker["KAFKA_OFFSETS_RETENTION_MINUTES"])) >= max(longest, timedelta(days=30))


async def test_receiver_worker_and_simulator_answer_that_they_are_ready(stack, http):
    for part in ("receiver", "worker", "simulator"):
        async with http.get(f"{stack.url(part)}/readyz") as response:
            assert response.status == HTTPStatus.OK, part
    for part in ("receiver_metrics", "worker"):
        async with http.get(f"{stack.url(part)}/metrics") as response:
            assert "levelgate_" in await response.text()


async def test_a_signed_webhook_is_handled_with_calls_to_the_vendor(stack, http, tmp_path):
    await install(stack, http)
    async with http.post(f"{stack.url('simulator')}/_simulator/seed") as response:
        assert response.status == HTTPStatus.OK
    body = tmp_path / "contact.json"
    body.write_text(json.dumps(webhook("ContactCreate")))

    sent = await levelgate(stack, "simulate", "send", str(body))
    assert (sent.get("status"), sent.get("outcome")) == (200, "accepted"), sent

    trace = await handled(stack, sent["id"])
    assert {handler["state"] for handler in trace["handlers"]} == {"done"}
    assert [call["status"] for call in trace["api_calls"]] == [200]


async def test_a_webhook_signed_by_another_is_refused(stack, http):
    wrong = {"Content-Type": "application/json", "X-GHL-Signature": "bm90IGEgc2lnbmF0dXJl"}
    async with http.post(f"{stack.url('receiver')}/webhooks/demo", json=webhook(), headers=wrong) as response:
        assert response.status == HTTPStatus.UNAUTHORIZED
