"""Flushes of the ledger that go wrong: an answer that is lost, a row that Postgres does not take."""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import asyncpg
import msgspec
import pytest
from prometheus_client import CollectorRegistry

from processors.dead_letters import list_dead
from processors.ledger import Ledger, RowRefused
from processors.ledger_rows import BacklogEntry, IndexEntry, PairEntry
from processors.ownership import Ownership
from processors.pairs import Dead, Done, Failure, History, Parked
from schemas.metrics import WorkerMetrics
from tests.support.deliveries import delivery


async def nothing(_connection, _tenants):
    return lambda: None


class Deaf(asyncpg.Connection):
    """A connection that, once, goes when Postgres has carried a COMMIT out, before its answer is heard."""

    is_next = False

    async def execute(self, query, *args, **options):
        answer = await super().execute(query, *args, **options)
        if query == "COMMIT;" and Deaf.is_next:
            Deaf.is_next = False
            self.terminate()
            raise ConnectionResetError("before the answer came")
        return answer


@asynccontextmanager
async def owned(pool):
    """A ledger that does not write yet, and the epoch under which it owns partition number 0."""
    ownership = Ownership(pool, group="workers", worker="worker-1", session_timeout_s=60, lost=lambda _number: None)
    yield (
        Ledger(pool, ownership, group="workers", metrics=WorkerMetrics(CollectorRegistry()), beside=nothing),
        await ownership.claim(0),
    )


class Told(dict[object, bool]):
    """What each entry's waiter was told."""

    def of(self, name):
        return lambda ours: self.setdefault(name, ours)


def records(settings, count):
    return [msgspec.structs.replace(delivery(settings.kafka), partition=0, offset=n) for n in range(count)]


def history(message="no"):
    return History(1, (Failure(datetime.now(UTC), "ValueError", message),))


@pytest.mark.expected_errors("postgres_unavailable")
async def test_a_flush_whose_answer_was_lost_is_not_made_again(settings, pool):
    now = datetime.now(UTC)
    done, parked, dead, unrun, before = records(settings, 5)
    told, known = Told(), []

    def pair(epoch, record, outcome, *, was_parked=False):
        return PairEntry(epoch, record, record.pair("greet", 0), outcome, was_parked, told.of(record.offset))

    def backlog(epoch, record):
        outcome = Parked(datetime.now(UTC), History(), "backlog", now)
        return BacklogEntry(
            epoch, record, record.pair("greet", 0), outcome, lambda: known.append(record.offset), told.of(record.offset)
        )

    async with (
        asyncpg.create_pool(
            settings.database_url.get_secret_value(), min_size=1, max_size=2, connection_class=Deaf
        ) as own,
        owned(own) as (ledger, epoch),
        asyncio.TaskGroup() as tasks,
    ):
        writing = tasks.create_task(ledger.run())
        ledger.put(backlog(epoch, before))
        await asyncio.wait_for(ledger.flushed(), 20)
        Deaf.is_next = True
        ledger.put(IndexEntry(epoch, done, ("greet",), 1, told.of("index")))
        ledger.put(pair(epoch, done, Done(now, History(1))))
        ledger.put(pair(epoch, parked, Parked(now, history(), "retry", now)))
        ledger.put(pair(epoch, dead, Dead(now, history())))
        ledger.put(backlog(epoch, unrun))
        ledger.put(backlog(epoch, before))
        await asyncio.wait_for(ledger.flushed(), 20)
        writing.cancel()

    assert not Deaf.is_next
    assert told == dict.fromkeys(["index", *range(5)], True)
    assert known == [before.offset]  # read again: the row of it is the one of before
    counts = {
        t: await pool.fetchval(f"SELECT count(*) FROM {t}") for t in ("delivery", "handled", "parked", "dead", "held")
    }
    assert counts == {"delivery": 1, "handled": 1, "parked": 3, "dead": 1, "held": 4}


@pytest.mark.expected_errors("row_refused")
async def test_of_a_row_that_is_refused_the_texts_are_left_out_and_all_others_are_written(settings, pool):
    made = records(settings, 20)
    told = Told()
    async with owned(pool) as (ledger, epoch), asyncio.TaskGroup() as tasks:
        for record in made:
            message = "no \x00 in Postgres" if record is made[7] else "no"
            outcome = Dead(datetime.now(UTC), history(message))
            ledger.put(
                PairEntry(
                    epoch, record, record.pair("greet", 0), outcome, was_parked=False, recorded=told.of(record.offset)
                )
            )
        writing = tasks.create_task(ledger.run())
        await asyncio.wait_for(ledger.flushed(), 20)
        writing.cancel()

    assert told == dict.fromkeys(range(20), True)
    messages = {each["record_offset"]: each["errors"][0]["message"] for each in await list_dead(pool)}
    assert messages == dict.fromkeys(range(20), "no") | {7: ""}


@pytest.mark.expected_errors("row_refused")
async def test_a_row_that_nothing_can_be_left_out_of_stops_the_ledger_and_is_named(settings, pool):
    first, bad = records(settings, 2)
    bad = msgspec.structs.replace(bad, envelope=msgspec.structs.replace(bad.envelope, type="\x00"))
    async with owned(pool) as (ledger, epoch):
        for record in (first, bad):
            ledger.put(IndexEntry(epoch, record, ("greet",), 1, lambda _ours: None))
        with pytest.RaisesGroup(pytest.RaisesExc(RowRefused, match=f"{bad.envelope.id}, {bad.topic} 0 at 1")):
            await asyncio.wait_for(ledger.run(), 20)

    assert await pool.fetchval("SELECT id FROM delivery") == first.envelope.id
