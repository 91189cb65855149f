"""Taking over partition numbers: what a worker must not do that wakes up and is nobody's member any more."""

import contextlib

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from structlog.testing import capture_logs

from levelgate.broker import client_options
from processors.claims import Claims
from processors.ownership import Ownership
from processors.parking import Lines, Parking
from processors.partitions import Phase, by_number
from schemas.topics import Topics
from tests.support.eventually import eventually
from tests.support.worker_processes import owners
from tests.support.workers import quick, working

pytestmark = pytest.mark.expected_errors("^aiokafka")

NAME = "worker-that-woke-up"


@pytest.fixture
def settings(settings):
    return quick(settings, group=f"workers-of-{settings.kafka.topic_prefix}")


@contextlib.asynccontextmanager
async def reader(settings, topics):
    """A client that reads all partitions without being a member of the group."""
    async with AIOKafkaConsumer(
        **client_options(settings.kafka),
        client_id=NAME,
        group_id=settings.worker.group,
        enable_auto_commit=False,
        auto_offset_reset="none",
    ) as client:
        client.assign([TopicPartition(t, n) for t in topics.consumed() for n in range(settings.kafka.partitions)])
        client.pause(*client.assignment())
        yield client


async def nothing(_numbers):
    """Nothing of the numbers runs."""


async def test_who_is_no_member_takes_nothing_over_unless_it_was_assigned_just_now(settings, pool):
    topics = Topics(settings.kafka)
    errors: list[BaseException] = []
    claims = Claims(
        name=NAME,
        kafka=settings.kafka,
        worker=settings.worker,
        ownership=Ownership(
            pool, group=settings.worker.group, worker=NAME, session_timeout_s=6, lost=lambda _number: None
        ),
        parking=Parking(pool, group=settings.worker.group),
        lines=Lines(),
        cancel=nothing,
        claimed=lambda: None,
        failed=errors.append,
    )
    async with working(settings) as owner, reader(settings, topics) as client:
        await eventually(lambda: owner.health().partitions["active"] == settings.kafka.partitions)
        numbers = list(by_number(client.assignment(), topics.consumed(), replay=topics.replay).values())

        with capture_logs() as logs:
            claims.begin(client, numbers, just_assigned=False)
            await eventually(lambda: [log["error"] for log in logs if log["event"] == "claim_failed"][1:])
        assert {log["error"] for log in logs if log["event"] == "claim_failed"} == {"NoMember"}
        assert {held.phase for held in numbers} == {Phase.CLAIMING}
        assert await owners(pool, settings.worker.group) == {owner.name}

        # The broker's word is taken where it is fresh: then it is the older owner that must give way.
        claims.begin(client, numbers, just_assigned=True)
        await eventually(lambda: {held.phase for held in numbers} == {Phase.ACTIVE})
        claims.end()
    assert errors == []
