"""What the workers promise, while workers are killed, frozen and added. Asserted here are these alone:

- nothing is lost: accepted = done + parked + dead + quarantined, id by id, and as the handlers' own runs say;
- once: no recorded pair runs again, and what runs twice was in flight in a worker that was killed or frozen then;
- in order: with strict handlers no event of an entity runs before the earlier ones are over.

With a handler that coalesces, a later run of the same line may have done a pair.
"""

import contextlib
import random
import signal
import time
from collections import Counter, defaultdict

import psutil
import pytest

from processors.deliveries import states
from tests.support import guarantees
from tests.support.deliveries import delivery, publish
from tests.support.eventually import eventually
from tests.support.flaky_handlers import FOLDER, HANDLERS, MAX_ATTEMPTS, NOTE_BYTES, becomes, notes
from tests.support.guarantees import Fault, Pair, Row
from tests.support.worker_processes import SESSION_TIMEOUT_S, owners, until_owned_by_another, worker_process
from tests.support.workers import committed, quick

pytestmark = pytest.mark.expected_errors("^aiokafka")

DELIVERIES, TENANTS, ENTITIES = 20_000, 50, 2_000
PARTS = 5
CONCURRENCY = 20
BACKLOG = 40  # less than what a tenant has in most parts: some of it is parked unrun
MODULE = "tests.support.flaky_handlers"
RUNS_OF_FOLDING = 0.4  # of its pairs, about

ROWS = """
SELECT delivery, handler, 'done' AS state, attempts, at FROM handled
UNION ALL SELECT delivery, handler, 'dead', attempts, died_at FROM dead
UNION ALL SELECT delivery, handler, 'parked', attempts, parked_at FROM parked
"""


@pytest.fixture
def partitions():
    return 12


@pytest.fixture
def settings(settings):
    group = f"workers-of-{settings.kafka.topic_prefix}"
    changes = {"max_attempts": MAX_ATTEMPTS, "tenant_backlog": BACKLOG, "session_timeout_s": SESSION_TIMEOUT_S}
    return quick(settings, group=group, concurrency=CONCURRENCY, **changes)


class Stream:
    """All deliveries, published part by part; one in a hundred comes a second time, a few are quarantined."""

    def __init__(self, kafka) -> None:
        rng = random.Random(20)
        self.kafka = kafka
        self.lines: dict[str, list[int]] = defaultdict(list)
        self.quarantined = set(range(0, DELIVERIES, 997))
        self.records = []
        for number in range(DELIVERIES):
            entity = rng.randrange(ENTITIES)
            reason = "wrong_shape" if number in self.quarantined else None
            name, tenant = f"contact-{entity}", f"location-{entity % TENANTS}"
            if not reason:
                self.lines[name].append(number)
            self.records.append(delivery(kafka, id=f"delivery-{number}", entity=name, tenant=tenant, reason=reason))
        size = DELIVERIES // PARTS
        firsts = range(0, DELIVERIES, size)
        self.parts = [
            [*self.records[first : first + size], *rng.sample(self.records[: first + size], k=size // 100)]
            for first in firsts
        ]
        self.published = 0

    @property
    def pairs(self) -> list[Pair]:
        return [Pair(d, h) for line in self.lines.values() for d in line for h in range(len(HANDLERS))]

    async def publish_part(self) -> None:
        part = self.parts.pop(0)
        await publish(self.kafka, part)
        self.published += len(part)


class Fleet:
    """The workers of a run, and what was done to them."""

    def __init__(self, settings, pool, folder, stack) -> None:
        self.settings = settings
        self.pool = pool
        self.notes = folder / "notes"
        self.notes.mkdir()
        self.faults: list[Fault] = []
        self._folder = folder
        self._stack = stack

    async def add(self):
        log = self._folder / f"worker-{len(list(self._folder.glob('*.log')))}.log"
        variables = {FOLDER: str(self.notes)}
        return await self._stack.enter_async_context(worker_process(self.settings, log, handlers=MODULE, **variables))

    async def until_owning(self, count: int) -> None:
        """Wait until so many workers own partition numbers."""
        await eventually(self._owners, lambda now: len(now) == count, within_s=40)

    async def until_run(self, share: float) -> None:
        """Wait until about this share of all runs has been."""
        wanted = 2 * NOTE_BYTES * DELIVERIES * (len(HANDLERS) - 1 + RUNS_OF_FOLDING) * share
        await eventually(lambda: sum(f.stat().st_size for f in self.notes.iterdir()), lambda n: n > wanted, 120)

    async def strike(self, worker, number: signal.Signals) -> None:
        """Kill or freeze a worker."""
        worker.send(number)
        if number is signal.SIGKILL:
            await worker.process.wait()
        else:
            await eventually(psutil.Process(worker.process.pid).status, lambda now: now == psutil.STATUS_STOPPED)
        self.faults.append(Fault(worker.process.pid, time.time(), await self.rows()))

    async def until_taken_over(self) -> None:
        """Wait until others own what the worker that was struck last owned."""
        mark = f"-{self.faults[-1].process}-"
        before = {name for name in await self._owners() if mark in name}
        await until_owned_by_another(self.pool, self.settings.worker.group, before)

    def wake(self, worker) -> None:
        self.faults[-1] = self.faults[-1]._replace(woken_at=time.time())
        worker.send(signal.SIGCONT)

    async def rows(self) -> dict[Pair, Row]:
        rows = await self.pool.fetch(ROWS)
        found = {
            Pair(int(r["delivery"].rpartition("-")[2]), HANDLERS.index(r["handler"])): Row(
                r["state"], r["attempts"], r["at"].timestamp()
            )
            for r in rows
        }
        assert len(found) == len(rows), "a pair is recorded twice"
        return found

    async def _owners(self) -> set[str]:
        return await owners(self.pool, self.settings.worker.group)


async def run_with_faults(settings, pool, stream, folder) -> Fleet:
    """Work the stream off with workers that are killed, frozen, woken and added; return what was noted."""
    async with contextlib.AsyncExitStack() as stack:
        fleet = Fleet(settings, pool, folder, stack)
        first, second, third = [await fleet.add() for _ in range(3)]
        await stream.publish_part()
        await fleet.until_owning(3)

        await fleet.until_run(0.1)
        await fleet.strike(first, signal.SIGKILL)
        await stream.publish_part()
        await fleet.until_taken_over()
        fourth = await fleet.add()

        await fleet.until_run(0.35)
        await stream.publish_part()
        await fleet.until_run(0.45)
        await fleet.strike(second, signal.SIGSTOP)
        await fleet.until_taken_over()
        fleet.wake(second)

        await stream.publish_part()
        await fleet.until_run(0.7)
        await stream.publish_part()
        await fleet.until_run(0.75)
        await fleet.strike(third, signal.SIGKILL)
        await fleet.until_taken_over()
        fifth = await fleet.add()

        over = sum(becomes(*pair)[0] != "parked" for pair in stream.pairs)
        await fleet.until_run(0.98)
        query = "SELECT (SELECT count(*) FROM handled) + (SELECT count(*) FROM dead)"
        await eventually(lambda: pool.fetchval(query), lambda n: n >= over, within_s=120)
        await fleet.until_owning(3)
        assert [await worker.end() for worker in (second, fourth, fifth)] == [0, 0, 0]
    return fleet


async def nothing_is_lost(stream, settings, pool, rows, runs, doers):
    expected = {pair: becomes(*pair) if doers[pair] == pair else ("done", 0) for pair in stream.pairs}
    assert {pair: (row.state, row.attempts) for pair, row in rows.items()} == expected
    assert guarantees.done_without_a_run(guarantees.by_pair(runs), rows, doers) == []

    seen = await states(pool, [record.envelope.id for record in stream.records])
    of_pairs = {f"delivery-{n}": {rows[Pair(n, h)].state for h in range(len(HANDLERS))} for n, _ in rows}
    wanted = {f"delivery-{n}": "quarantined" for n in stream.quarantined} | {
        d: next((s for s in ("dead", "parked") if s in of), "handled") for d, of in of_pairs.items()
    }
    assert seen == wanted
    assert len(wanted) == DELIVERIES
    assert await committed(settings) == stream.published
    print(f"accepted {DELIVERIES} = {dict(Counter(seen.values()))}; committed {stream.published}")  # noqa: T201


def each_recorded_pair_ran_once(fleet, runs, rows, doers):
    pairs = guarantees.by_pair(runs)
    in_flight = [fault.in_flight(runs) for fault in fleet.faults]
    stale = guarantees.stale(pairs, fleet.faults, set().union(*in_flight), doers)
    assert len(stale) <= sum(fault.woken_at is not None for fault in fleet.faults), stale
    repeats = len(runs) - len({run.key for run in runs})
    print(f"in flight at each fault: {[len(each) for each in in_flight]}; run again: {repeats}; stale: {len(stale)}")  # noqa: T201
    for each in in_flight:
        assert len(each) <= 2 * CONCURRENCY * len(HANDLERS)
    assert guarantees.repeated_without_need(pairs, set().union(stale, *in_flight)) == []
    assert guarantees.begun_after_recorded(set(runs) - stale, rows) == []
    assert repeats <= sum(len(each) for each in in_flight) + len(stale)
    return guarantees.by_pair(run for run in runs if run not in stale)


async def test_nothing_is_lost_or_runs_twice_or_out_of_order_while_workers_die_freeze_and_join(
    settings, pool, tmp_path
):
    began = time.monotonic()
    stream = Stream(settings.kafka)
    fleet = await run_with_faults(settings, pool, stream, tmp_path)
    rows, runs = await fleet.rows(), guarantees.runs_of(notes(fleet.notes))
    doers = guarantees.doers(rows, stream.lines.values())
    folded = sum(doer != pair for pair, doer in doers.items())
    print(f"{len(runs)} runs in {time.monotonic() - began:.0f} s, which did {folded} pairs beside their own")  # noqa: T201

    assert folded > DELIVERIES / 10
    await nothing_is_lost(stream, settings, pool, rows, runs, doers)
    valid = each_recorded_pair_ran_once(fleet, runs, rows, doers)
    assert guarantees.out_of_order(valid, rows, stream.lines.values(), doers) == []
