"""The table of topics: names, retention, who writes and who reads.

Pure. All topics that a worker group reads have the same partition count, so that with the range
assignor a tenant's partition of every topic lies with one worker (design: decisions).
"""

from datetime import timedelta

import msgspec

from schemas.catalogue import FAMILIES
from schemas.settings import Kafka

UNKNOWN_FAMILY = "unknown"

HEADERS_ALLOWANCE_BYTES = 16 * 1024
"""What headers and framing may add to a body in a Kafka record."""


class Topic(msgspec.Struct, frozen=True):
    """One topic; `retention` is how long a record can be replayed."""

    name: str
    retention: timedelta
    writer: str
    readers: str
    consumed: bool
    """Whether every worker of a group subscribes to it."""
    config: dict[str, str]


class Topics:
    """The names of all topics under one prefix."""

    def __init__(self, kafka: Kafka) -> None:
        self._prefix = kafka.topic_prefix
        self.quarantine = f"{self._prefix}.quarantine"
        self.replay = f"{self._prefix}.replay"
        self.dead = f"{self._prefix}.dead"

    def events(self, family: str) -> str:
        """Return the topic of a family of `FAMILIES`, or of `unknown`."""
        return f"{self._prefix}.events.{family}"

    def family(self, topic: str) -> str:
        """Return the family of an event topic, else the topic's own last word: a bounded metric label."""
        return topic.removeprefix(f"{self._prefix}.events.").removeprefix(f"{self._prefix}.")

    def layout(self, max_body_bytes: int) -> tuple[Topic, ...]:
        """Return every topic with what it is made with, for bodies of at most `max_body_bytes`."""
        size = {"max.message.bytes": str(max_message_bytes(max_body_bytes))}

        def topic(name: str, days: int, writer: str, readers: str, *, consumed: bool) -> Topic:
            retention = timedelta(days=days)
            config = size | {"retention.ms": str(int(retention.total_seconds() * 1000))}
            return Topic(name, retention, writer, readers, consumed, config)

        events = [topic(self.events(f), 7, "receiver", "workers", consumed=True) for f in (*FAMILIES, UNKNOWN_FAMILY)]
        return (
            *events,
            topic(self.quarantine, 14, "receiver", "workers (index only)", consumed=True),
            topic(self.replay, 7, "levelgate replay", "workers", consumed=True),
            topic(self.dead, 14, "workers", "outside consumers", consumed=False),
        )

    def consumed(self) -> tuple[str, ...]:
        """Return the topics that every worker subscribes to, whatever handlers it has."""
        families = (*FAMILIES, UNKNOWN_FAMILY)
        return (*(self.events(family) for family in families), self.quarantine, self.replay)


def max_record_bytes(max_body_bytes: int) -> int:
    """Return the size that no record may exceed: checked by us before it is sent."""
    return max_body_bytes + HEADERS_ALLOWANCE_BYTES


def max_batch_bytes(max_body_bytes: int) -> int:
    """Return the producer's batch size: at least one record, less than the broker's limit (design §8)."""
    return max_record_bytes(max_body_bytes) + HEADERS_ALLOWANCE_BYTES


def max_message_bytes(max_body_bytes: int) -> int:
    """Return the broker's limit, which is on the batch."""
    return max_batch_bytes(max_body_bytes) + HEADERS_ALLOWANCE_BYTES
