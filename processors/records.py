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
    # Kafka has headers without a value, which nothing of ours writes or keeps.
    headers = [(name, value) for name, value in record.headers if value is not None]
    body = record.value or b""
    try:
        envelope = from_headers(headers)
    except BrokenEnvelope:
        envelope = Envelope(
            id=broken_id(record),
            type="broken",
            app=AppName("-"),
            tenant=NO_TENANT,
            received_at=_written_at(record),
            reason=BROKEN,
        )
    return Record(envelope, record.topic, record.partition, record.offset, headers, body)


def broken_id(record: ConsumerRecord) -> DeliveryId:
    """Return the delivery id that a record has if its own can't be read."""
    return DeliveryId(f"{record.topic}-{record.partition}-{record.offset}")


def _written_at(record: ConsumerRecord) -> datetime:
    try:
        return datetime.fromtimestamp(record.timestamp / 1000, UTC)
    except (ValueError, OverflowError):
        return datetime.now(UTC)  # its writer named a time that no calendar has


def is_broken(record: Record) -> bool:
    """Whether the record had no envelope when it was read."""
    return record.envelope.reason == BROKEN


def burial() -> Dead:
    """Return what becomes of a broken record: a dead letter that says who may have written it."""
    now = datetime.now(UTC)
    failure = Failure(now, "BrokenEnvelope", "the record's headers make no envelope: who else writes to the topic?")
    return Dead(now, History(1, (failure,)))
