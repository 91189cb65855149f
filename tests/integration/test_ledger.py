"""The ledger's flushes: what Postgres ends in the middle, and how much one of them takes."""

import asyncio
from contextlib import asynccontextmanager

import asyncpg
import msgspec
import pytest
from prometheus_client import CollectorRegistry

from processors.ledger import Ledger
from processors.ledger_rows import IndexEntry
from processors.ownership import Ownership
from schemas.metrics import WorkerMetrics
from tests.support.deliveries import delivery
from tests.support.eventually import eventually

ENDS_IDLE_TRANSACTIONS_AFTER = "50ms"


async def nothing(_connection, _tenants):
    return lambda: None


@asynccontextmanager
async def writing(pool, *, beside=nothing, registry=None):
    """A ledger that writes, and the epoch under which it owns partition number 0."""
    ownership = Ownership(pool, group="workers", worker="worker-1", session_timeout_s=60, lost=lambda _number: None)
    metrics = WorkerMetrics(registry or CollectorRegistry())
    ledger = Ledger(pool, ownership, group="workers", metrics=metrics, beside=beside)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(ledger.run())
        yield ledger, await ownership.claim(0)
        task.cancel()


def indexed(settings, epoch, offset, recorded):
    record = msgspec.structs.replace(delivery(settings.kafka), partition=0, offset=offset)
    return IndexEntry(epoch, record, ("greet",), 1, recorded)


@pytest.mark.expected_errors("postgres_unavailable")
async def test_what_was_being_written_when_the_worker_froze_is_written_when_it_wakes_up(settings, pool):
    url = settings.database_url.get_secret_value()
    frozen: list[int] = []
    gone: list[int] = []

    async def freeze_once(connection, _tenants):
        if not frozen:
            frozen.append(connection.get_server_pid())
            while not gone:
                pass  # the loop stands still, as in a frozen process; Postgres ends the transaction meanwhile
            # Postgres' last words are read, and that it has hung up is not: asyncpg knows no such state.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        return lambda: None

    async def until_gone():
        """In a thread of its own: wait until Postgres has ended the backend of the frozen worker."""
        try:
            await eventually(lambda: frozen, within_s=30)
            own = await asyncpg.connect(url)
            is_there = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1"
            await eventually(lambda: own.fetchval(is_there, *frozen), lambda count: count == 0, within_s=30)
            await own.close()
        finally:
            gone.extend(frozen or [0])

    limits = {"idle_in_transaction_session_timeout": ENDS_IDLE_TRANSACTIONS_AFTER}
    recorded = asyncio.get_running_loop().create_future()
    async with (
        asyncio.TaskGroup() as tasks,
        asyncpg.create_pool(url, min_size=1, max_size=2, server_settings=limits) as own,
        writing(own, beside=freeze_once) as (ledger, epoch),
    ):
        tasks.create_task(asyncio.to_thread(asyncio.run, until_gone()))
        entry = indexed(settings, epoch, 0, recorded.set_result)
        ledger.put(entry)
        async with asyncio.timeout(60):
            assert await recorded
    assert frozen == gone
    assert await pool.fetchval("SELECT id FROM delivery") == entry.record.envelope.id


async def test_all_that_comes_during_a_flush_is_written_by_the_next_one(settings, pool):
    registry = CollectorRegistry()
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    told: list[bool] = []
    async with writing(pool, registry=registry) as (ledger, epoch):
        async with pool.acquire() as another, another.transaction():
            await another.execute("SELECT FROM partition_owner FOR UPDATE")
            for offset in range(500):
                ledger.put(indexed(settings, epoch, offset, told.append))
                if not offset:
                    await eventually(lambda: pool.fetchval(waiting))
                await asyncio.sleep(0)
        await asyncio.wait_for(ledger.flushed(), 20)

    assert told == [True] * 500
    assert await pool.fetchval("SELECT count(*) FROM delivery") == 500
    assert registry.get_sample_value("levelgate_ledger_flush_duration_seconds_count") == 2
