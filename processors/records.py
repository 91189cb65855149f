"""From Kafka's records to deliveries, and what becomes of a record that is none."""

from datetime import UTC, datetime

from aiokafka.structs import ConsumerRecord

from processors.pairs import Dead, Failure, History, Record
from schemas.envelope import NO_TENANT, Envelope, from_headers
from schemas.errors import BrokenEnvelope
from schemas.ids import AppName, DeliveryId

ENVELOPE_HANDLER = "levelgate.envelope"
"""Whose dead letter a record becomes that no receiver of ours can have written."""

BROKEN = "broken_envelope"


def read(record: ConsumerRecord) -> Record:
    """Return a Kafka record as a delivery; one that has no envelope gets one that says so."""
    headers = list(record.headers)
    body = record.value or b""
    try:
        # Postgres can't store NUL in a text: what has one is no envelope of ours.
        envelope = None if any(b"\x00" in value for _, value in headers) else from_headers(headers)
    except BrokenEnvelope:
        envelope = None
    if envelope is None:
        envelope = Envelope(
            id=broken_id(record),
            type="broken",
            app=AppName("-"),
            tenant=NO_TENANT,
            received_at=datetime.fromtimestamp(record.timestamp / 1000, UTC),
            reason=BROKEN,
        )
    return Record(envelope, record.topic, record.partition, record.offset, headers, body)


def broken_id(record: ConsumerRecord) -> DeliveryId:
    """Return the delivery id that a record has if its own can't be read."""
    return DeliveryId(f"{record.topic}-{record.partition}-{record.offset}")


def is_broken(record: Record) -> bool:
    """Whether the record had no envelope when it was read."""
    return record.envelope.reason == BROKEN


def burial() -> Dead:
    """Return what becomes of a broken record: a dead letter that says who may have written it."""
    now = datetime.now(UTC)
    failure = Failure(now, "BrokenEnvelope", "the record's headers make no envelope: who else writes to the topic?")
    return Dead(now, History(1, (failure,)))
