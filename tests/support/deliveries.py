"""Builders of deliveries, as the receiver would publish them, and waiting for what becomes of them."""

import itertools
from collections.abc import Iterable
from datetime import UTC, datetime

import orjson
from aiokafka import AIOKafkaProducer

from levelgate.broker import client_options
from processors.deliveries import State, states
from processors.pairs import Record
from schemas.catalogue import lookup
from schemas.envelope import Envelope, to_headers
from schemas.ids import AppName, DeliveryId, EntityId, TenantId
from schemas.settings import Kafka
from schemas.topics import UNKNOWN_FAMILY, Topics
from tests.support.eventually import eventually

_numbers = itertools.count()


def delivery(
    kafka: Kafka, *, type="ContactCreate", entity="contact-1", tenant="location-1", body=None, **changes
) -> Record:
    """A delivery of `type` about `entity`, with an id of its own unless given one; not in Kafka yet."""
    known = lookup(type)
    fields = {
        "id": DeliveryId(f"delivery-{next(_numbers)}"),
        "type": type,
        "app": AppName("demo"),
        "tenant": TenantId(tenant),
        "entity": EntityId(entity) if entity else None,
        "received_at": datetime.now(UTC),
    } | changes
    topics = Topics(kafka)
    topic = topics.quarantine if fields.get("reason") else topics.events(known.family if known else UNKNOWN_FAMILY)
    content = (
        {"type": type, "locationId": tenant, "id": entity or "", "webhookId": fields["id"]} if body is None else body
    )
    envelope = Envelope(**fields)
    return Record(envelope, topic, -1, -1, to_headers(envelope), orjson.dumps(content))


async def publish(kafka: Kafka, deliveries: Iterable[Record], *, at: datetime | None = None) -> None:
    """Put deliveries into Kafka, in their order; `at`: as if published then."""
    timestamp_ms = int(at.timestamp() * 1000) if at else None
    async with AIOKafkaProducer(**client_options(kafka), acks="all", enable_idempotence=True) as producer:
        futures = [
            await producer.send(
                each.topic, each.body, key=each.envelope.key, headers=each.headers, timestamp_ms=timestamp_ms
            )
            for each in deliveries
        ]
        for future in futures:
            await future


async def until(pool, deliveries: Iterable[Record], *wanted: State, within_s=60) -> None:
    """Wait until each of the deliveries is in one of the wanted states."""
    ids = {each.envelope.id for each in deliveries}
    await eventually(
        lambda: states(pool, list(ids)),
        lambda seen: seen.keys() == ids and {*seen.values()} <= {*wanted},
        within_s=within_s,
    )
