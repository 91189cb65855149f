"""A worker that is frozen in the middle of a run and wakes up much later."""

import signal

import asyncpg
import pytest

from tests.support.deliveries import delivery, publish, until
from tests.support.eventually import eventually
from tests.support.recording_handlers import GATE, TABLE
from tests.support.worker_processes import owners, until_owned_by_another, worker_process
from tests.support.workers import quick

pytestmark = pytest.mark.expected_errors("^aiokafka")


@pytest.fixture
async def settings(settings, pool):
    await pool.execute(TABLE)
    return quick(settings, group=f"workers-of-{settings.kafka.topic_prefix}", concurrency=20)


async def runs_of(pool):
    return {
        r["delivery"]: r["runs"] for r in await pool.fetch("SELECT delivery, count(*) AS runs FROM runs GROUP BY 1")
    }


async def test_a_frozen_worker_that_wakes_up_runs_and_writes_nothing_that_is_anothers(settings, pool, tmp_path):
    gated = delivery(settings.kafka, entity="gated")
    after = [delivery(settings.kafka, tenant=f"location-{n % 20}", entity=f"contact-{n}") for n in range(100)]
    gate = await asyncpg.connect(settings.database_url.get_secret_value())
    await gate.execute("SELECT pg_advisory_lock($1)", GATE)
    await publish(settings.kafka, [gated])
    async with (
        worker_process(settings, tmp_path / "a.log") as frozen,
        worker_process(settings, tmp_path / "b.log") as other,
    ):
        await eventually(lambda: runs_of(pool), within_s=40)
        victim = await pool.fetchval("SELECT process FROM runs")
        sleeper, successor = (frozen, other) if victim == frozen.process.pid else (other, frozen)
        await eventually(lambda: owners(pool, settings.worker.group), lambda now: len(now) == 2, within_s=40)
        before = {w for w in await owners(pool, settings.worker.group) if f"-{sleeper.process.pid}-" in w}
        sleeper.send(signal.SIGSTOP)
        await until_owned_by_another(pool, settings.worker.group, before)
        await eventually(lambda: runs_of(pool), lambda runs: runs[gated.envelope.id] >= 2, within_s=40)
        await gate.close()
        await until(pool, [gated], "handled", within_s=60)
        sleeper.send(signal.SIGCONT)
        await publish(settings.kafka, after)
        await until(pool, after, "handled", within_s=60)
        # It is back in the group, with partitions of its own again.
        await eventually(lambda: owners(pool, settings.worker.group), lambda now: len(now) == 2, within_s=40)
        assert sleeper.is_alive
        assert await sleeper.end() == 0
        assert await successor.end() == 0

    runs = await runs_of(pool)
    assert {d: n for d, n in runs.items() if n > 1} == {gated.envelope.id: runs[gated.envelope.id]}
    recorded = await pool.fetch("SELECT delivery, count(*) AS rows FROM handled GROUP BY 1 HAVING count(*) > 1")
    assert recorded == []
