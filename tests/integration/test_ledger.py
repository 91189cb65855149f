"""Writes of the ledger that Postgres ends in the middle."""

import asyncio
import time

import asyncpg
import msgspec
import pytest
from prometheus_client import CollectorRegistry

from processors.ledger import Ledger
from processors.ledger_rows import IndexEntry
from processors.ownership import Ownership
from schemas.metrics import WorkerMetrics
from tests.support.deliveries import delivery

ENDS_IDLE_TRANSACTIONS_AFTER = "50ms"
LONGER_S = 0.5


@pytest.mark.expected_errors("postgres_unavailable")
async def test_what_was_being_written_when_the_worker_froze_is_written_when_it_wakes_up(settings, pool):
    froze = asyncio.Event()

    async def freeze_once(_connection, _tenants):
        if not froze.is_set():
            froze.set()
            wakes_at = time.monotonic() + LONGER_S
            while time.monotonic() < wakes_at:
                pass  # the loop stands still, as in a frozen process; Postgres ends the transaction meanwhile
            # Postgres' last words are read, and that it has hung up is not: asyncpg knows no such state.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        return lambda: None

    url = settings.database_url.get_secret_value()
    limits = {"idle_in_transaction_session_timeout": ENDS_IDLE_TRANSACTIONS_AFTER}
    recorded = asyncio.get_running_loop().create_future()
    async with (
        asyncpg.create_pool(url, min_size=1, max_size=2, server_settings=limits) as own,
        asyncio.TaskGroup() as tasks,
    ):
        ownership = Ownership(own, group="workers", worker="worker-1", session_timeout_s=60, lost=lambda _number: None)
        epoch = await ownership.claim(0)
        ledger = Ledger(own, ownership, group="workers", metrics=WorkerMetrics(CollectorRegistry()), beside=freeze_once)
        writing = tasks.create_task(ledger.run())
        record = msgspec.structs.replace(delivery(settings.kafka), partition=0, offset=0)
        ledger.put(IndexEntry(epoch, record, ("greet",), 1, recorded.set_result))
        async with asyncio.timeout(20):
            assert await recorded
        writing.cancel()
    assert froze.is_set()
    assert await pool.fetchval("SELECT id FROM delivery") == record.envelope.id
