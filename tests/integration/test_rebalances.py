"""Members that come and go while events flow: consumption goes on, and no commit goes back.

Seen elsewhere: consumption that stops for good after a rebalance, without an error (parallel-consumer #857); a listener
that waits for the code that waits in `getmany` (aiokafka #335); offsets committed by whom they are not any more.
"""

import asyncio
from collections import Counter
from itertools import pairwise

import pytest
from structlog.testing import capture_logs

from tests.support.cable import Cable
from tests.support.deliveries import delivery, publish, until
from tests.support.eventually import eventually
from tests.support.workers import committed, handler, offsets, quick, working

pytestmark = pytest.mark.expected_errors("^aiokafka")


@pytest.fixture
def settings(settings):
    # Whoever sees nothing move for so long logs an error, and that fails the test.
    return quick(settings, group=f"workers-of-{settings.kafka.topic_prefix}", stalled_after_s=10)


async def test_while_members_come_and_go_all_is_handled_once_and_no_commit_goes_back(settings, pool):
    runs: Counter[str] = Counter()
    records, commits = [], []

    async def note(event, ctx):
        runs[ctx.delivery.id] += 1
        await asyncio.sleep(0.05)  # so that something is in flight whenever partitions are given back

    async def publish_more():
        more = [delivery(settings.kafka, tenant=f"location-{n % 20}", entity=f"contact-{n}") for n in range(200)]
        records.extend(more)
        await publish(settings.kafka, more)

    async def watch_commits():
        while True:
            commits.append(await offsets(settings))
            await asyncio.sleep(settings.worker.commit_interval_s)

    def is_shared(*workers):
        return all(worker.is_ready and worker.health().partitions["active"] for worker in workers)

    async with asyncio.TaskGroup() as tasks, working(settings, handler(note)) as staying:
        watching = tasks.create_task(watch_commits())
        for _ in range(3):
            await publish_more()
            async with working(settings, handler(note), ready=False) as passing:
                await eventually(lambda: is_shared(staying, passing), within_s=20)
                await publish_more()
            await eventually(lambda: staying.health().partitions["active"] == settings.kafka.partitions, within_s=20)
        await publish_more()
        await until(pool, records, "handled")
        await eventually(lambda: committed(settings), lambda count: count == len(records))
        watching.cancel()

    assert runs == Counter(record.envelope.id for record in records)
    rewound = {tp for before, after in pairwise(commits) for tp in before if after.get(tp, -1) < before[tp]}

    assert rewound == set()


async def held_by(settings, staying, running):
    """Publish until `staying` works on a delivery, with a handler that tells so by the event `running`."""
    await publish(settings.kafka, [delivery(settings.kafka, tenant=f"location-{n}") for n in range(20)])
    await eventually(lambda: running.is_set() and staying.is_ready, within_s=20)


async def test_a_worker_that_is_stopped_while_another_holds_the_rebalance_ends(settings):
    running, go_on = asyncio.Event(), asyncio.Event()

    async def long(event, ctx):
        running.set()
        await go_on.wait()

    patient, hasty = quick(settings, grace_s=60), quick(settings, grace_s=0.1)
    async with working(patient, handler(long)) as holding:
        await held_by(settings, holding, running)
        with capture_logs() as logs:
            async with working(hasty, handler(long), ready=False):
                await eventually(lambda: not holding.is_ready)
        assert "worker_stopped" in {log["event"] for log in logs}
        assert not go_on.is_set()
        go_on.set()


@pytest.mark.expected_errors("^aiokafka", "postgres_unavailable")
async def test_a_worker_whose_postgres_hangs_gives_back_in_time_and_stays_in_the_group(settings):
    running = asyncio.Event()

    async def long(event, ctx):
        running.set()
        await asyncio.Event().wait()

    async with Cable.to(settings.database_url.get_secret_value()) as (cable, url):
        through = settings.model_copy(update={"database_url": type(settings.database_url)(url)})
        through = quick(through, grace_s=0.5)
        async with working(through, handler(long)) as hanging:
            await held_by(settings, hanging, running)
            cable.hang()
            with capture_logs() as logs:
                async with working(quick(settings, grace_s=0.5), handler(long)):
                    counts = await eventually(lambda: assigned(logs), lambda counts: sum(counts) >= 3)
            cable.mend()

    # Of three each got its share in the first rebalance: who is expelled gets none, and the other one all.
    assert sorted(counts) == [1, 2]


def assigned(logs):
    return [len(log["partitions"]) for log in logs if log["event"] == "partitions_assigned"]
