"""Workers that are frozen, or asked to end, in the middle of a run."""

import asyncio
import signal

import asyncpg
import pytest

from processors.deliveries import states
from tests.support.deliveries import delivery, publish, until
from tests.support.eventually import eventually
from tests.support.recording_handlers import GATES, TABLE
from tests.support.worker_processes import SESSION_TIMEOUT_S, owners, until_owned_by_another, worker_process
from tests.support.workers import committed, quick

pytestmark = pytest.mark.expected_errors("^aiokafka")


@pytest.fixture
async def settings(settings, pool):
    await pool.execute(TABLE)
    group = f"workers-of-{settings.kafka.topic_prefix}"
    return quick(settings, group=group, concurrency=20, session_timeout_s=SESSION_TIMEOUT_S)


class Gates:
    """What runs about the entities of `GATES` wait for, until it is opened."""

    def __init__(self, connection) -> None:
        self._connection = connection

    async def open(self, entity) -> None:
        assert await self._connection.fetchval("SELECT pg_advisory_unlock($1)", GATES[entity])


@pytest.fixture
async def gates(settings):
    connection = await asyncpg.connect(settings.database_url.get_secret_value())
    for number in GATES.values():
        await connection.execute("SELECT pg_advisory_lock($1)", number)
    yield Gates(connection)
    await connection.close()


async def runs_of(pool):
    """The processes that ran each delivery, in order."""
    rows = await pool.fetch("SELECT delivery, array_agg(process ORDER BY at) AS processes FROM runs GROUP BY 1")
    return {row["delivery"]: row["processes"] for row in rows}


async def until_shared(pool, settings):
    """Wait until both workers own partition numbers."""
    await eventually(lambda: owners(pool, settings.worker.group), lambda now: len(now) == 2, within_s=40)


async def test_a_frozen_worker_that_wakes_up_runs_and_writes_nothing_that_is_anothers(settings, pool, gates, tmp_path):
    gated = delivery(settings.kafka, entity="gated")
    after = [delivery(settings.kafka, tenant=f"location-{n % 20}", entity=f"contact-{n}") for n in range(100)]
    await publish(settings.kafka, [gated])
    async with (
        worker_process(settings, tmp_path / "a.log") as frozen,
        worker_process(settings, tmp_path / "b.log") as other,
    ):
        await eventually(lambda: runs_of(pool), within_s=40)
        victim = await pool.fetchval("SELECT process FROM runs")
        sleeper, successor = (frozen, other) if victim == frozen.process.pid else (other, frozen)
        await until_shared(pool, settings)
        before = {w for w in await owners(pool, settings.worker.group) if f"-{sleeper.process.pid}-" in w}
        sleeper.send(signal.SIGSTOP)
        await until_owned_by_another(pool, settings.worker.group, before)
        await eventually(lambda: runs_of(pool), lambda runs: len(runs[gated.envelope.id]) >= 2, within_s=40)
        await gates.open("gated")
        await until(pool, [gated], "handled", within_s=60)
        sleeper.send(signal.SIGCONT)
        await publish(settings.kafka, after)
        await until(pool, after, "handled", within_s=60)
        # It is back in the group, with partitions of its own again.
        await until_shared(pool, settings)
        assert sleeper.is_alive
        assert await sleeper.end() == 0
        assert await successor.end() == 0

    assert [d for d, processes in (await runs_of(pool)).items() if len(processes) > 1] == [gated.envelope.id]
    recorded = await pool.fetch("SELECT delivery, count(*) AS rows FROM handled GROUP BY 1 HAVING count(*) > 1")
    assert recorded == []


async def test_a_worker_that_is_asked_to_end_records_what_ends_in_time_and_hands_the_rest_over(
    settings, pool, gates, tmp_path
):
    # With a session so long, only a worker that leaves its group is followed within this test's time.
    settings = quick(settings, group=settings.worker.group, session_timeout_s=90)
    ending, stuck = records = [delivery(settings.kafka, entity=entity) for entity in ("gated", "stuck")]
    logs = [tmp_path / "a.log", tmp_path / "b.log"]
    async with worker_process(settings, logs[0]) as one, worker_process(settings, logs[1]) as another:
        await until_shared(pool, settings)
        await publish(settings.kafka, records)
        runs = await eventually(lambda: runs_of(pool), lambda runs: len(runs) == 2, within_s=40)
        (first,) = runs[ending.envelope.id]
        leaver, successor, log = (one, another, logs[0]) if first == one.process.pid else (another, one, logs[1])
        leaver.send(signal.SIGTERM)
        await eventually(lambda: "worker_stopping" in log.read_text() or not leaver.is_alive)
        await gates.open("gated")
        assert await asyncio.wait_for(leaver.process.wait(), 30) == 0
        assert await committed(settings) == 1
        assert await states(pool, [ending.envelope.id]) == {ending.envelope.id: "handled"}
        await eventually(lambda: runs_of(pool), lambda runs: len(runs[stuck.envelope.id]) == 2, within_s=40)
        await gates.open("stuck")
        await until(pool, [stuck], "handled")
        assert await successor.end() == 0

    second = successor.process.pid
    assert await runs_of(pool) == {ending.envelope.id: [first], stuck.envelope.id: [first, second]}
