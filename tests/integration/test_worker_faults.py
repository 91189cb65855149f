"""Faults under a working worker: nothing is lost, what is recorded does not run again, and it goes on by itself."""

import asyncio
from datetime import UTC, datetime
from functools import partial
from operator import eq

import aiohttp
import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.structs import TopicPartition

from levelgate.broker import apply_topics, client_options
from processors.deliveries import states
from schemas.errors import InstallationMissing
from schemas.topics import Topics
from tests.support.cable import Cable
from tests.support.deliveries import delivery, publish, until
from tests.support.eventually import eventually
from tests.support.workers import committed, handler, quick, working

# aiokafka shields a commit from our time limit, and nobody asks then how it ended.
LEFT_COMMIT = "^asyncio: .*_do_commit_offsets"
pytestmark = pytest.mark.expected_errors(
    "^aiokafka", LEFT_COMMIT, "postgres_unavailable", "offsets_lost", "partitions_odd"
)


@pytest.fixture
def settings(settings):
    return quick(settings, group=f"workers-of-{settings.kafka.topic_prefix}")


def spread(kafka, count):
    return [delivery(kafka, tenant=f"location-{n % 20}", entity=f"contact-{n}") for n in range(count)]


async def test_postgres_away_stops_the_worker_and_nothing_is_lost_or_doubled(settings, pool):
    runs = []
    entered, go_on = asyncio.Event(), asyncio.Event()

    async def note(event, ctx):
        runs.append(ctx.delivery.id)
        if event.id == "held":
            entered.set()
            await go_on.wait()

    before, during = spread(settings.kafka, 40), spread(settings.kafka, 40)
    held = delivery(settings.kafka, entity="held")
    records = [*before, held, *during]
    # So long a session that what it knows to own stays confirmed: it could commit all the time.
    settings = quick(settings, group=settings.worker.group, session_timeout_s=30)
    beside = quick(settings, group=f"{settings.worker.group}-beside")
    async with Cable.to(settings.database_url.get_secret_value()) as (cable, url):
        settings = settings.model_copy(update={"database_url": type(settings.database_url)(url)})
        async with working(settings, handler(note)) as worker, working(beside):

            def is_away():
                return worker.collector.get_sample_value("levelgate_circuit_open", {"dependency": "postgres"})

            await publish(settings.kafka, [*before, held])
            await asyncio.wait_for(entered.wait(), 30)
            await eventually(lambda: committed(settings), lambda count: count == len(before))
            cable.cut()
            go_on.set()
            await eventually(is_away)
            # One whose Postgres is there commits twice, as often as this one would.
            for count in (20, 40):
                await publish(settings.kafka, during[count - 20 : count])
                await eventually(lambda: committed(beside), partial(eq, len(before) + 1 + count))
            # Nothing of it may be committed while there is no ledger to record it in.
            assert await committed(settings) == len(before)
            cable.mend()
            await eventually(lambda: committed(settings), lambda count: count == len(records), within_s=30)

    assert sorted(runs) == sorted(record.envelope.id for record in records)
    assert await pool.fetchval("SELECT count(*) FROM handled") == len(records)


async def test_a_broker_that_dies_and_comes_back_is_consumed_on(settings, pool, own_kafka):
    runs = []

    async def note(event, ctx):
        runs.append(ctx.delivery.id)

    broker = await own_kafka()
    settings = settings.model_copy(update={"kafka": broker.settings()})
    await apply_topics(settings.kafka, settings.receiver.max_body_bytes)
    before, after = spread(settings.kafka, 40), spread(settings.kafka, 40)
    async with working(settings, handler(note)):
        await publish(settings.kafka, before)
        await until(pool, before, "handled")
        await broker.kill()
        await broker.start()
        await publish(settings.kafka, after)
        await until(pool, after, "handled", within_s=60)

    assert sorted(runs) == sorted(r.envelope.id for r in [*before, *after])


async def test_a_partition_pauses_at_its_quota_and_goes_on_behind_it(settings, pool):
    most, running = 0, 0
    go_on = asyncio.Event()

    async def slow(event, ctx):
        nonlocal most, running
        running += 1
        most = max(most, running)
        await go_on.wait()
        running -= 1

    settings = quick(settings, partition_quota=20, concurrency=500)
    records = [delivery(settings.kafka, entity=f"contact-{n}") for n in range(3000)]
    await publish(settings.kafka, records)
    async with working(settings, handler(slow)):
        await eventually(lambda: running >= 20)
        go_on.set()
        await until(pool, records, "handled", within_s=60)

    # One poll reads 500 at most before the pause takes hold.
    assert most <= 520


async def test_a_stuck_delivery_holds_the_commit_and_no_other_delivery(settings, pool):
    go_on = asyncio.Event()

    async def slow_for_one(event, ctx):
        if event.id == "contact-0":
            await go_on.wait()

    records = [delivery(settings.kafka, entity=f"contact-{n}") for n in range(50)]
    await publish(settings.kafka, records)
    async with working(settings, handler(slow_for_one)):
        await until(pool, records[1:], "handled")
        assert await committed(settings) == 0
        go_on.set()
        await eventually(lambda: committed(settings), lambda count: count == len(records))


async def test_a_parked_pair_frees_the_offset(settings, pool):
    async def patient(event, ctx):
        if event.id == "contact-0":
            raise InstallationMissing("none yet")

    settings = quick(settings, waiting_retry_s=60)
    records = [delivery(settings.kafka, entity=f"contact-{n}") for n in range(5)]
    await publish(settings.kafka, records)
    async with working(settings, handler(patient)):
        await eventually(lambda: committed(settings), lambda count: count == len(records))


async def test_records_that_retention_took_are_counted_as_lost_and_the_rest_is_read(settings, pool):
    async def note(event, ctx):
        pass

    records = [delivery(settings.kafka) for _ in range(10)]
    await publish(settings.kafka, records[:1])
    async with working(settings, handler(note)):
        await eventually(lambda: committed(settings), lambda count: count == 1)
    await publish(settings.kafka, records[1:])
    await _delete_before(settings, records[0].topic, 6)
    async with working(settings, handler(note)) as worker:
        await until(pool, records[6:], "handled")
        lost = worker.collector.get_sample_value("levelgate_offsets_lost_total", {"family": "contact"})

    assert lost == 5


async def _delete_before(settings, topic, offset):
    admin = AIOKafkaAdminClient(**client_options(settings.kafka))
    await admin.start()
    try:
        for number in range(settings.kafka.partitions):
            tp = TopicPartition(topic, number)
            try:
                await admin.delete_records({tp: RecordsToDelete(before_offset=offset)})
            except Exception as error:  # noqa: BLE001 -- only the tenant's partition has that many
                assert "OffsetOutOfRange" in type(error).__name__  # noqa: PT017 -- the error is the answer here
    finally:
        await admin.close()


async def test_a_number_that_lacks_a_topic_stays_paused_and_is_reported(settings, pool):
    admin = AIOKafkaAdminClient(**client_options(settings.kafka))
    await admin.start()
    await admin.delete_topics([Topics(settings.kafka).replay])
    await admin.close()
    record = delivery(settings.kafka)
    await publish(settings.kafka, [record])

    async def note(event, ctx):
        raise AssertionError("a tenant's partitions may lie with two workers: nothing may run")

    async with working(settings, handler(note), ready=False) as worker:
        await eventually(lambda: worker.health().partitions.get("odd", 0) == settings.kafka.partitions, within_s=30)
        assert not worker.is_ready
    assert await states(pool, [record.envelope.id]) == {}


async def test_the_age_of_the_oldest_unfinished_delivery_is_exported(settings, pool):
    go_on, entered = asyncio.Event(), asyncio.Event()

    async def slow(event, ctx):
        entered.set()
        await go_on.wait()

    record = delivery(settings.kafka, received_at=datetime(2026, 1, 1, tzinfo=UTC))
    await publish(settings.kafka, [record])
    async with working(settings, handler(slow)) as worker:
        await asyncio.wait_for(entered.wait(), 15)

        def age():
            return worker.collector.get_sample_value("levelgate_oldest_unfinished_age_seconds", {"family": "contact"})

        await eventually(age, lambda seen: seen is not None and seen > 86400)
        go_on.set()
        await eventually(age, lambda seen: seen == 0)


async def liveness(worker) -> int:
    """What `/livez` answers."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{worker.metrics_port}/livez") as answer,
    ):
        return answer.status


@pytest.mark.expected_errors("^aiokafka", "worker_stalled.*'unfinished'.*'handler': 'stuck'.*'entity': 'contact-1'")
async def test_a_worker_in_which_nothing_moves_says_what_is_stuck_and_is_not_alive(settings, pool):
    go_on = asyncio.Event()

    async def stuck(event, ctx):
        await go_on.wait()

    settings = quick(settings, stalled_after_s=3)
    record = delivery(settings.kafka)
    async with working(settings, handler(stuck)) as worker:
        assert await liveness(worker) == 200
        await publish(settings.kafka, [record])
        await eventually(lambda: liveness(worker), lambda status: status == 503)
        assert worker.collector.get_sample_value("levelgate_stalled_seconds") >= 3
        go_on.set()
        await until(pool, [record], "handled")
        await eventually(lambda: liveness(worker), lambda status: status == 200)


@pytest.mark.expected_errors("^aiokafka", "worker_stalled.*'unread'")
async def test_a_worker_that_had_read_everything_when_its_fetching_ended_is_not_alive(settings):
    async def note(event, ctx):
        pass

    settings = quick(settings, stalled_after_s=2)
    async with working(settings, handler(note)) as worker:
        [fetching] = [task for task in asyncio.all_tasks() if "_fetch_requests_routine" in repr(task.get_coro())]
        fetching.cancel()
        await asyncio.wait([fetching])

        async def still_alive():
            # What was asked for when it ended may bring the first of them yet.
            await publish(settings.kafka, [delivery(settings.kafka)])
            return await liveness(worker)

        await eventually(still_alive, lambda status: status == 503, within_s=30)


@pytest.mark.expected_errors("^aiokafka", "worker_stalled.*'joining'")
async def test_a_worker_to_which_its_group_gives_nothing_is_not_alive_until_it_does(settings):
    topics = list(Topics(settings.kafka).consumed())
    holding = Holding()
    settings = quick(settings, grace_s=0.1, stalled_after_s=2)
    async with AIOKafkaConsumer(
        **client_options(settings.kafka),
        group_id=settings.worker.group,
        partition_assignment_strategy=(RangePartitionAssignor,),
        rebalance_timeout_ms=60_000,
        enable_auto_commit=False,
    ) as member:
        member.subscribe(topics, listener=holding)
        await eventually(member.assignment)
        async with working(settings, ready=False) as worker:
            try:
                await eventually(lambda: worker.metrics_port)
                await eventually(lambda: liveness(worker), lambda status: status == 503, within_s=20)
            finally:
                holding.let_go.set()
            await eventually(lambda: liveness(worker), lambda status: status == 200)
            await eventually(lambda: worker.is_ready)


class Holding(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """A member that gives nothing back until it may, and holds up its group by that."""

    def __init__(self):
        self.let_go = asyncio.Event()

    async def on_partitions_revoked(self, revoked):
        if revoked:
            await self.let_go.wait()

    async def on_partitions_assigned(self, _assigned):
        """Take nothing over."""
