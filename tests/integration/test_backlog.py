"""One tenant's flood beyond what may be in memory: parked unrun, in order, and nobody behind it waits."""

import asyncio
import random

import pytest

from levelgate.broker import partition_of
from processors.parking import list_parked
from tests.support.deliveries import delivery, publish, until
from tests.support.eventually import eventually
from tests.support.workers import committed, handler, quick, working

# aiokafka logs each step of finding its coordinator and of rejoining as an error.
pytestmark = pytest.mark.expected_errors("^aiokafka")

BOUND = 20


@pytest.fixture
def settings(settings):
    return quick(settings, group=f"backlog-{settings.kafka.topic_prefix}", tenant_backlog=BOUND, concurrency=8)


class Noting:
    """Two handlers, a strict and a relaxed one, whose runs wait for a gate and are noted."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.runs: dict[str, list[tuple[str, str]]] = {"strict": [], "relaxed": []}
        self.entities: dict[str, int] = {}
        self.overlaps = 0

    def handlers(self):
        async def strict(event, ctx):
            self.overlaps += self.entities.get(event.id, 0)
            self.entities[event.id] = self.entities.get(event.id, 0) + 1
            await self._run("strict", event, ctx)
            self.entities[event.id] -= 1

        async def relaxed(event, ctx):
            await self._run("relaxed", event, ctx)

        return [handler(strict), handler(relaxed, ordering="relaxed")]

    async def _run(self, name, event, ctx):
        if ctx.delivery.tenant == "flood":
            await self.gate.wait()
        self.runs[name].append((event.id, ctx.delivery.id))


def neighbour(settings) -> str:
    """A tenant whose events lie in the same partition as the flood's."""

    def partition(tenant):
        return partition_of(tenant.encode(), settings.kafka.partitions)

    return next(t for t in (f"quiet-{n}" for n in range(100)) if partition(t) == partition("flood"))


def flood(settings, count, entities=15):
    rng = random.Random(7)
    return [delivery(settings.kafka, tenant="flood", entity=f"c-{rng.randrange(entities)}") for _ in range(count)]


def assert_once_and_in_order(noting, records):
    ids = [r.envelope.id for r in records]
    for name, runs in noting.runs.items():
        assert sorted(i for _, i in runs if i in set(ids)) == sorted(ids), name
    wanted: dict[str, list[str]] = {}
    for record in records:
        wanted.setdefault(record.entity, []).append(record.envelope.id)
    seen: dict[str, list[str]] = {}
    for entity, delivery_id in noting.runs["strict"]:
        if delivery_id in set(ids):
            seen.setdefault(entity, []).append(delivery_id)
    assert seen == wanted
    assert noting.overlaps == 0


async def test_nobody_behind_a_flood_waits_for_it_and_its_order_holds(settings, pool):
    noting = Noting()
    first = flood(settings, 300)
    single = delivery(settings.kafka, tenant=neighbour(settings))
    await publish(settings.kafka, [*first, single])
    async with working(settings, *noting.handlers()):
        await until(pool, [single], "handled")
        assert not {i for _, i in noting.runs["strict"]} & {r.envelope.id for r in first}
        backlog = [p for p in await list_parked(pool, most=1000) if p["reason"] == "backlog"]
        assert len(backlog) >= 2 * (300 - 2 * BOUND)
        assert {p["attempts"] for p in backlog} == {0}
        later = flood(settings, 40)
        await publish(settings.kafka, later)
        noting.gate.set()
        await until(pool, [*first, *later], "handled")
        await eventually(lambda: committed(settings), lambda n: n == 341, within_s=30)

    assert_once_and_in_order(noting, [*first, *later])
    assert await list_parked(pool) == []
    assert await pool.fetchval("SELECT count(*) FROM held") == 0


async def test_a_flood_of_copies_runs_each_delivery_once(settings, pool):
    noting = Noting()
    records = flood(settings, 120)
    running = records[0]
    await publish(settings.kafka, [running])
    async with working(settings, *noting.handlers()):
        await eventually(lambda: noting.entities.get(running.entity) == 1, within_s=30)
        # Copies come before the bound and beyond it, of what runs, of what waits and of what is parked.
        copied = [running, *records[1:], running, *records, *records]
        await publish(settings.kafka, copied)
        await eventually(lambda: list_parked(pool, most=1000), lambda p: len(p) >= 2 * (120 - 2 * BOUND), within_s=30)
        noting.gate.set()
        await until(pool, records, "handled")
        await eventually(lambda: committed(settings), lambda n: n == len(copied) + 1, within_s=30)
        await eventually(lambda: list_parked(pool), lambda parked: parked == [], within_s=30)

    for runs in noting.runs.values():
        assert sorted(i for _, i in runs) == sorted(r.envelope.id for r in records)
    assert noting.overlaps == 0
    assert await pool.fetchval("SELECT count(*) FROM held") == 0


async def test_a_backlog_outlives_its_worker_and_stays_in_order(settings, pool):
    before, after = Noting(), Noting()
    records = flood(settings, 200)
    await publish(settings.kafka, records)
    async with working(
        settings.model_copy(update={"worker": settings.worker.model_copy(update={"grace_s": 0.1})}), *before.handlers()
    ):
        await eventually(lambda: list_parked(pool, most=1000), lambda p: len(p) >= 2 * (200 - 2 * BOUND), within_s=30)
    assert before.runs == {"strict": [], "relaxed": []}
    after.gate.set()
    async with working(settings, *after.handlers()):
        await until(pool, records, "handled")

    assert_once_and_in_order(after, records)
    assert await list_parked(pool) == []


async def test_what_follows_a_coalesced_run_is_not_parked_while_it_runs(settings, pool):
    gates = [asyncio.Event(), asyncio.Event()]
    runs: list[str] = []

    async def folding(event, ctx):
        runs.append(ctx.delivery.id)
        if len(runs) <= len(gates):
            await gates[len(runs) - 1].wait()

    records = [delivery(settings.kafka, tenant="flood") for _ in range(60)]
    await publish(settings.kafka, records[:1])
    async with working(settings, handler(folding, coalesce=True)) as worker:

        def read():
            labels = {"app": "demo", "family": "contact"}
            return worker.collector.get_sample_value("levelgate_deliveries_consumed_total", labels)

        await eventually(lambda: len(runs) == 1, within_s=30)
        await publish(settings.kafka, records[1:16])
        await eventually(lambda: read() == 16, within_s=30)
        gates[0].set()
        await eventually(lambda: len(runs) == 2, within_s=30)
        await publish(settings.kafka, records[16:])
        await eventually(lambda: read() == 60, within_s=30)
        gates[1].set()
        await until(pool, records, "handled")
        await eventually(lambda: list_parked(pool), lambda parked: parked == [], within_s=30)

    rows = await pool.fetch("SELECT delivery, count(*) AS rows FROM handled GROUP BY 1 HAVING count(*) > 1")
    assert rows == []
    assert runs[1] == records[15].envelope.id
