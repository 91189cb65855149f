"""A run before it runs: what is known of it while Postgres is asked whether its partition is still ours."""

import asyncio

import msgspec
from prometheus_client import CollectorRegistry

from processors.attempts import Attempts
from processors.brakes import Brakes
from processors.context import Contexts, events_of
from processors.holds import Holds
from processors.outages import Outages
from processors.ownership import Ownership
from processors.pairs import Done, History
from processors.retries import default_policy
from schemas.metrics import WorkerMetrics
from tests.support.deliveries import delivery
from tests.support.eventually import eventually
from tests.support.highlevel import our_side
from tests.support.workers import handler

LOCKED = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


async def test_who_is_to_be_done_by_a_run_counts_as_running_while_the_epoch_is_asked_for(settings, pool):
    async def greet(event, ctx):
        pass

    times = [0.0]
    greeting, metrics = handler(greet), WorkerMetrics(CollectorRegistry())
    ownership = Ownership(
        pool, group="workers", worker="w", session_timeout_s=60, lost=lambda _: None, monotonic=lambda: times[-1]
    )
    leader, follower, newest = (
        msgspec.structs.replace(delivery(settings.kafka), partition=0, offset=n) for n in range(3)
    )
    others = (leader.pair("greet", 0), follower.pair("greet", 0))
    epoch = await ownership.claim(0)
    times.append(1000.0)  # that was long ago
    async with our_side(settings) as ours:
        attempts = Attempts(
            [greeting],
            contexts=Contexts(client=ours.client, tokens=ours.tokens, pool=pool),
            ownership=ownership,
            holds=Holds(),
            policy=default_policy(settings.worker),
            outages=Outages(metrics),
            brakes=Brakes(["greet"], settings.worker, metrics),
            metrics=metrics,
        )
        pair = newest.pair("greet", 0)
        event = events_of(newest)[0]
        async with asyncio.TaskGroup() as tasks, pool.acquire() as other, other.transaction():
            await other.execute("SELECT FROM partition_owner FOR UPDATE")
            run = tasks.create_task(attempts.make(newest, pair, greeting, event, History(), epoch, "live", others))
            await eventually(lambda: pool.fetchval(LOCKED))
            assert set(attempts.running) == {pair, *others}

    assert isinstance(run.result(), Done)
    assert not attempts.running
