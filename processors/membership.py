"""The worker as a member of its group: the client that it is one by, and how long a rebalance may take with it."""

import asyncio
from contextlib import AsyncExitStack

from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import KafkaConnectionError

from levelgate.broker import client_options
from schemas.logs import get_logger
from schemas.settings import Kafka, Worker

log = get_logger(__name__)

_RETRY_S = 0.5


def give_back_s(worker: Worker) -> float:
    """Return how long giving back an assignment may take, in seconds: handlers, the last write, the last commit."""
    return worker.grace_s + worker.session_timeout_s * 2 / 3


def rebalance_s(worker: Worker) -> float:
    """Return how long the others wait for this worker in a rebalance, in seconds; then they go on without it.

    Longer than giving back takes: a worker that is expelled each time causes the next rebalance by joining again.
    """
    return worker.grace_s + worker.session_timeout_s


async def reach(
    kafka: Kafka, worker: Worker, *, name: str, max_fetch_bytes: int, stopped: asyncio.Event
) -> AIOKafkaConsumer | None:
    """Return a started client of the group, subscribed to nothing; None where `stopped` was set before it was reached.

    Waits for the broker as long as it is away. Raises KafkaError where it refuses.
    """
    while not stopped.is_set():
        client = AIOKafkaConsumer(
            **client_options(kafka),
            client_id=name,
            group_id=worker.group,
            enable_auto_commit=False,
            auto_offset_reset="none",
            partition_assignment_strategy=(RangePartitionAssignor,),
            session_timeout_ms=int(worker.session_timeout_s * 1000),
            heartbeat_interval_ms=int(worker.session_timeout_s * 1000 / 10),
            rebalance_timeout_ms=int(rebalance_s(worker) * 1000),
            max_partition_fetch_bytes=max_fetch_bytes,
            fetch_max_wait_ms=100,
        )
        async with AsyncExitStack() as stack:
            stack.push_async_callback(client.stop)
            try:
                await client.start()
            except KafkaConnectionError as error:
                log.warning("kafka_unavailable", error=type(error).__name__)
            else:
                if not stopped.is_set():
                    stack.pop_all()
                    return client
        await asyncio.sleep(_RETRY_S)
    return None
