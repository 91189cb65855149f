"""The worker, wired: the one place where its parts are made and joined."""

import asyncio
import contextlib
import os
import socket
import time
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from types import ModuleType

import asyncpg
from prometheus_client import CollectorRegistry

from levelgate.highlevel.client import HighLevelClient
from levelgate.highlevel.keyring import KeyRing
from levelgate.highlevel.spending import Budgets, allowance
from levelgate.highlevel.tokens import TokenStore
from levelgate.highlevel.wire import open_session
from levelgate.postgres import POSTGRES_AWAY
from processors.attempts import Attempts
from processors.brakes import Brakes
from processors.budgets import BudgetTable
from processors.claims import Claims
from processors.commits import Commits
from processors.consumer import Consumer
from processors.context import Contexts
from processors.days import keep_days
from processors.dead_letters import DeadLetters
from processors.dispatch import Dispatcher
from processors.due import DuePairs
from processors.ends import Ends
from processors.health import Health, serve_health
from processors.holds import Holds
from processors.intake import Intake
from processors.ledger import Beside, Ledger
from processors.membership import rebalance_s
from processors.outages import HIGHLEVEL, POSTGRES, Outages
from processors.outbox import Outbox
from processors.ownership import Ownership
from processors.parking import Lines, Parking
from processors.reconnects import Reconnects
from processors.registry import Registry, load_registry
from processors.replays.cancelled import CancelledRuns
from processors.retries import default_policy
from processors.scheduler import Scheduler
from processors.shelving import Shelf
from processors.sql import Pool
from processors.watchdog import Watchdog
from schemas.logs import get_logger
from schemas.metrics import ApiMetrics, WorkerMetrics
from schemas.settings import Settings, parse_token_keys
from schemas.topics import Topics

log = get_logger(__name__)

_OBSERVE_S = 2.0
_DAYS_S = 3600.0
_RETRY_S = 1.0
_POOL = 10


class Worker:
    """One worker process. `run` consumes until `stop` is called, then ends in order."""

    def __init__(self, settings: Settings, registry: Registry, collector: CollectorRegistry) -> None:
        self._settings = settings
        self._registry = registry
        self.collector = collector
        self._metrics = WorkerMetrics(collector)
        self._api_metrics = ApiMetrics(collector)
        self._outages = Outages(self._metrics)
        self._brakes = Brakes([handler.name for handler in registry.handlers], settings.worker, self._metrics)
        self._stop = asyncio.Event()
        self._error: BaseException | None = None
        self._consumer: Consumer | None = None
        self._ledger: Ledger | None = None
        self._watchdog = Watchdog(
            stalled_after_s=settings.worker.stalled_after_s,
            rebalance_s=rebalance_s(settings.worker),
            now=time.monotonic(),
        )
        self.name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self.metrics_port = 0
        """The port that metrics and health really listen on, once `run` has begun."""

    def stop(self) -> None:
        """Ask the worker to end: it takes no more, finishes within the grace time, commits and leaves."""
        self._stop.set()

    @property
    def is_ready(self) -> bool:
        """Whether it is in the group and works on every partition that it was assigned."""
        return self._consumer is not None and self._consumer.is_ready

    def health(self) -> Health:
        """How it is now."""
        return Health(
            worker=self.name,
            is_ready=self.is_ready,
            partitions=self._consumer.phases() if self._consumer else {},
            circuit_open=[
                *([HIGHLEVEL] if self._outages.is_under_way else []),
                *([POSTGRES] if self._is_postgres_away else []),
            ],
            braked=self._brakes.braked,
            stalled_s=self._watchdog.stalled_s if self._watchdog.is_stalled else None,
        )

    @property
    def _is_postgres_away(self) -> bool:
        return self._ledger is not None and not self._ledger.is_healthy

    async def run(self) -> None:
        """Work until stopped. Raises what ended it where that was not `stop`."""
        async with contextlib.AsyncExitStack() as stack:
            self.metrics_port = await stack.enter_async_context(
                serve_health(
                    self._settings.worker.host, self._settings.worker.metrics_port, self.collector, self.health
                )
            )
            # A worker frozen within a transaction of its own must not hold its partitions back for ever.
            limit_ms = int(self._settings.worker.session_timeout_s * 500)
            pool = await stack.enter_async_context(
                await self._pool(self.name, idle_in_transaction_session_timeout=str(limit_ms))
            )
            # Handlers that keep connections while they wait for something must not keep the ledger from writing.
            handlers_pool = await stack.enter_async_context(await self._pool(f"handlers of {self.name}"))
            session = await stack.enter_async_context(open_session())
            keyring = KeyRing(parse_token_keys(self._settings.token_keys))
            tokens = TokenStore(pool, keyring, session, self._settings, self._api_metrics)
            stack.push_async_callback(tokens.aclose)
            table = BudgetTable(pool, group=self._settings.worker.group)
            budgets = Budgets(allowance(self._settings.vendor), load=table.load)
            client = HighLevelClient(
                session,
                self._settings.vendor,
                tokens,
                self._api_metrics,
                observer=self._outages.called,
                budgets=budgets,
            )
            contexts = Contexts(client=client, tokens=tokens, pool=handlers_pool)
            await self._work(pool, contexts, budgets, table.saver(budgets))
        if self._error is not None:
            raise self._error

    async def _work(self, pool: Pool, contexts: Contexts, budgets: Budgets, beside: Beside) -> None:
        worker, kafka = self._settings.worker, self._settings.kafka
        lines = Lines()
        parking = Parking(pool, group=worker.group)
        # `fenced` is looked up when it is called: the consumer is made last, of parts that know it by this alone.
        ownership = Ownership(
            pool,
            group=worker.group,
            worker=self.name,
            session_timeout_s=worker.session_timeout_s,
            lost=lambda number: consumer.fenced(number),  # noqa: PLW0108 -- made below
        )
        ledger = self._ledger = Ledger(pool, ownership, group=worker.group, metrics=self._metrics, beside=beside)
        cancelled = CancelledRuns(pool)
        holds = Holds()
        attempts = Attempts(
            self._registry.handlers,
            contexts=contexts,
            ownership=ownership,
            holds=holds,
            policy=default_policy(worker),
            outages=self._outages,
            brakes=self._brakes,
            metrics=self._metrics,
        )
        dispatcher = Dispatcher(
            registry=self._registry,
            attempts=attempts,
            ledger=ledger,
            lines=lines,
            parking=parking,
            waiting_retry_s=worker.waiting_retry_s,
            cancelled=cancelled,
            metrics=self._metrics,
        )
        scheduler = Scheduler(
            dispatcher,
            concurrency=worker.concurrency,
            places=self._outages.places,
            unrecorded=lambda: ledger.unrecorded,
            metrics=self._metrics,
            failed=self._failed,
        )
        ledger.after_flush = scheduler.pump
        shelf = Shelf(
            ledger,
            lines,
            handlers_of=dispatcher.handlers_of,
            is_strict=dispatcher.is_strict,
            is_running=dispatcher.is_running,
            metrics=self._metrics,
        )
        intake = Intake(
            apps=self._settings.apps,
            topics=Topics(kafka),
            tenant_backlog=worker.tenant_backlog,
            ledger=ledger,
            scheduler=scheduler,
            shelf=shelf,
            metrics=self._metrics,
        )
        claims = Claims(
            name=self.name,
            kafka=kafka,
            worker=worker,
            ownership=ownership,
            parking=parking,
            lines=lines,
            cancel=partial(scheduler.stop, grace_s=0),
            claimed=budgets.claimed,
            failed=self._failed,
        )
        consumer = self._consumer = Consumer(
            name=self.name,
            intake=intake,
            kafka=kafka,
            worker=worker,
            max_body_bytes=self._settings.receiver.max_body_bytes,
            ledger=ledger,
            ownership=ownership,
            claims=claims,
            commits=Commits(ownership, interval_s=worker.commit_interval_s, failed=self._failed),
            ends=Ends(Topics(kafka), stalled_after_s=worker.stalled_after_s),
            lines=lines,
            scheduler=scheduler,
            metrics=self._metrics,
            is_held=lambda: self._outages.is_open,
        )
        due = DuePairs(parking, scheduler, lines, holds, budget_wait_s=budgets.wait_s, active=lambda: consumer.active)
        outbox = Outbox(
            kafka,
            self._settings.receiver.max_body_bytes,
            DeadLetters(pool, group=worker.group),
            active=lambda: consumer.active,
        )
        background = [
            ledger.run(),
            due.run(),
            cancelled.run(),
            Reconnects(pool, group=worker.group, active=lambda: consumer.active).run(),
            outbox.run(),
            self._renew(ownership),
            self._outages.run(scheduler.pump),
            self._watch(consumer, dispatcher),
            self._observe(consumer, parking),
            self._keep_days(pool),
        ]
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(each) for each in background]
            consuming = tasks.create_task(consumer.run())
            log.info("worker_started", worker=self.name, group=worker.group, handlers=len(self._registry.handlers))
            await self._stop.wait()
            log.info("worker_stopping", worker=self.name)
            await consumer.stop()
            await consuming
            for task in running:
                task.cancel()
        log.info("worker_stopped", worker=self.name)

    def _failed(self, error: BaseException) -> None:
        if self._error is None:
            log.error("worker_failed", error=type(error).__name__, exc_info=error)
            self._error = error
        self._stop.set()

    async def _pool(self, name: str, **server_settings: str) -> Pool:
        url = self._settings.database_url.get_secret_value()
        while True:
            try:
                pool: Pool = await asyncpg.create_pool(
                    url,
                    min_size=1,
                    max_size=_POOL,
                    timeout=_RETRY_S * 5,
                    command_timeout=60,
                    server_settings={"application_name": name, **server_settings},
                )
            except POSTGRES_AWAY as error:
                if self._stop.is_set():
                    raise
                log.warning("postgres_unavailable", error=type(error).__name__)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_RETRY_S):
                        await self._stop.wait()
            else:
                return pool

    async def _renew(self, ownership: Ownership) -> None:
        while True:
            await asyncio.sleep(self._settings.worker.session_timeout_s / 6)
            with contextlib.suppress(*POSTGRES_AWAY):
                await ownership.renew()

    async def _watch(self, consumer: Consumer, dispatcher: Dispatcher) -> None:
        dog = self._watchdog
        while True:
            await asyncio.sleep(min(_OBSERVE_S, self._settings.worker.stalled_after_s / 4))
            now = time.monotonic()
            was_stalled = dog.is_stalled
            stall = dog.look(now, moves=consumer.moves, standing=consumer.standing, running=dispatcher.running)
            self._metrics.stalled.set(dog.stalled_s)
            self._metrics.circuit_open.labels(POSTGRES).set(self._is_postgres_away)
            if stall is not None and not was_stalled:
                log.error("worker_stalled", **stall.fields(now))

    async def _observe(self, consumer: Consumer, parking: Parking) -> None:
        reasons = ("retry", "waiting", "disconnected", "braked", "behind", "backlog", "due", "redriven")
        while True:
            consumer.observe()
            with contextlib.suppress(*POSTGRES_AWAY):
                counts = await parking.counts(consumer.active)
                for reason in {*reasons, *counts}:
                    self._metrics.parked.labels(reason).set(counts.get(reason, 0))
            await asyncio.sleep(_OBSERVE_S)

    async def _keep_days(self, pool: Pool) -> None:
        while True:
            try:
                await keep_days(pool, days=self._settings.ledger_days, now=datetime.now(UTC))
            except POSTGRES_AWAY as error:
                log.warning("days_not_kept", error=type(error).__name__)
                await asyncio.sleep(_RETRY_S)
            else:
                await asyncio.sleep(_DAYS_S)


def build_worker(
    settings: Settings,
    *,
    built_in: Sequence[ModuleType],
    collector: CollectorRegistry | None = None,
) -> Worker:
    """Make a worker with the users' handlers that settings name and `built_in` ones; opens nothing yet.

    Raises Misconfigured where a handler module can't be used.
    """
    registry = load_registry(settings.handlers, built_in)
    return Worker(settings, registry, collector or CollectorRegistry())
