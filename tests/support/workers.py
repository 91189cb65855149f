"""Workers of a test: real ones, in this process, with the handlers that the test defines."""

import asyncio
import contextlib

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import TopicPartition
from prometheus_client import CollectorRegistry

from levelgate import Overrides
from levelgate.broker import client_options
from processors.app import Worker
from processors.registry import Handler, Registry
from tests.support.eventually import eventually


def handler(function, *types, name=None, **policy) -> Handler:
    """A handler of these types, ContactCreate where none is named, with a policy as `@on` takes it."""
    overrides = Overrides(**policy)
    return Handler(
        name or function.__name__, types or ("ContactCreate",), function, built_in=False, overrides=overrides
    )


def quick(settings, **changes):
    """The settings with a worker that backs off, commits and gives up in fractions of a second."""
    worker = {
        "backoff_s": 0.05,
        "max_backoff_s": 0.2,
        "waiting_retry_s": 0.1,
        "commit_interval_s": 0.1,
        "session_timeout_s": 6,
        "grace_s": 5,
    } | changes
    return settings.model_copy(update={"worker": settings.worker.model_copy(update=worker)})


@contextlib.asynccontextmanager
async def working(settings, *handlers, ready=True):
    """A worker that is in its group and owns its partitions; stopped in order at the end."""
    worker = Worker(settings, Registry(handlers), CollectorRegistry())
    running = asyncio.create_task(worker.run())
    try:
        if ready:
            await eventually(lambda: worker.is_ready or running.done(), within_s=30)
        yield worker
    finally:
        worker.stop()
        await running


async def offsets(settings) -> dict[TopicPartition, int]:
    """What the group has committed, of each partition that it has committed at all."""
    admin = AIOKafkaAdminClient(**client_options(settings.kafka))
    await admin.start()
    try:
        found = await admin.list_consumer_group_offsets(settings.worker.group)
    finally:
        await admin.close()
    prefix = f"{settings.kafka.topic_prefix}."
    return {tp: each.offset for tp, each in found.items() if tp.topic.startswith(prefix) and each.offset >= 0}


async def committed(settings) -> int:
    """How many records the group has committed, over all partitions."""
    return sum((await offsets(settings)).values())
