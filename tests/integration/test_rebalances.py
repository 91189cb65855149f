"""Members that come and go while events flow: consumption goes on, and no commit goes back.

Seen elsewhere: consumption that stops for good after a rebalance, without an error (parallel-consumer #857); a listener
that waits for the code that waits in `getmany` (aiokafka #335); offsets committed by whom they are not any more.
"""

import asyncio
from collections import Counter
from itertools import pairwise

import pytest

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
        return all(worker.is_ready and worker.phases()["active"] for worker in workers)

    async with asyncio.TaskGroup() as tasks, working(settings, handler(note)) as staying:
        watching = tasks.create_task(watch_commits())
        for _ in range(3):
            await publish_more()
            async with working(settings, handler(note), ready=False) as passing:
                await eventually(lambda: is_shared(staying, passing), within_s=20)
                await publish_more()
            await eventually(lambda: staying.phases()["active"] == settings.kafka.partitions, within_s=20)
        await publish_more()
        await until(pool, records, "handled")
        await eventually(lambda: committed(settings), lambda count: count == len(records))
        watching.cancel()

    assert runs == Counter(record.envelope.id for record in records)
    rewound = {tp for before, after in pairwise(commits) for tp in before if after.get(tp, -1) < before[tp]}

    assert rewound == set()
