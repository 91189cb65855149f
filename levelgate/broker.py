"""How every client of ours reaches the broker, and the topics that it must have.

Never changes a topic's partition count: tenants would move between partitions, and their order with them.
A count that differs is reported; changing it is a documented procedure.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from functools import lru_cache
from ssl import create_default_context
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, for_code
from aiokafka.partitioner import murmur2
from aiokafka.structs import TopicPartition

from schemas.errors import LevelgateError
from schemas.settings import Kafka
from schemas.topics import Topics, max_message_bytes

_REQUEST_TIMEOUT_S = 30.0
_CLOSE_TIMEOUT_S = 5.0
_VISIBLE_POLL_S = 0.05
_REMEMBERED_KEYS = 65_536
_TOPIC_EXISTS = 36
_SET_ON_TOPIC = 1
"""Kafka's `config_source` of a value that was set on the topic itself."""


class TopicState(msgspec.Struct, frozen=True):
    """One of our topics as the broker has it."""

    name: str
    partitions: int
    """0: the topic is missing."""
    config: Mapping[str, str]
    """What was set on the topic itself."""
    wanted_partitions: int
    wanted_config: Mapping[str, str]

    @property
    def is_missing(self) -> bool:
        """Whether the broker does not have the topic."""
        return self.partitions == 0

    @property
    def has_other_partitions(self) -> bool:
        """Whether the topic is there with another partition count than the settings say."""
        return not self.is_missing and self.partitions != self.wanted_partitions

    @property
    def config_changes(self) -> dict[str, str]:
        """What `apply_topics` would set."""
        return {name: value for name, value in self.wanted_config.items() if self.config.get(name) != value}


class TopicChanges(msgspec.Struct, frozen=True):
    """What `apply_topics` did, and what it must not do."""

    created: tuple[str, ...]
    altered: Mapping[str, Mapping[str, str]]
    """Topic → the configuration that was set."""
    other_partitions: Mapping[str, int]
    """Topics whose partition count differs from the settings, with the count they have: left as they are."""


def client_options(kafka: Kafka) -> dict[str, Any]:
    """Return what any aiokafka client needs to reach the broker: addresses, encryption, credentials."""
    options: dict[str, Any] = {
        "bootstrap_servers": kafka.bootstrap_servers,
        "security_protocol": kafka.security_protocol,
    }
    if kafka.security_protocol in {"SSL", "SASL_SSL"}:
        options["ssl_context"] = create_default_context(cafile=str(kafka.ssl_ca_file) if kafka.ssl_ca_file else None)
    if kafka.security_protocol.startswith("SASL"):
        options["sasl_mechanism"] = kafka.sasl_mechanism
        options["sasl_plain_username"] = kafka.sasl_username
        options["sasl_plain_password"] = kafka.sasl_password.get_secret_value() if kafka.sasl_password else None
    return options


@asynccontextmanager
async def open_reader(kafka: Kafka, max_body_bytes: int) -> AsyncIterator[AIOKafkaConsumer]:
    """Yield a client without a group: it reads, and nobody's offsets move. Raises KafkaError, TimeoutError."""
    consumer = AIOKafkaConsumer(
        **client_options(kafka),
        enable_auto_commit=False,
        auto_offset_reset="none",
        max_partition_fetch_bytes=max_message_bytes(max_body_bytes),
    )
    try:
        async with asyncio.timeout(_REQUEST_TIMEOUT_S):
            await consumer.start()
        # One that is stopped before its own tasks have begun raises CancelledError (aiokafka 0.14).
        await asyncio.sleep(0)
        yield consumer
    finally:
        # Cancelled while it takes leave of an assignment, aiokafka's fetcher forgets that it was, and never ends.
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await consumer.stop()


def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition that Kafka's default partitioner gives `key`, in every language."""
    return _positive_hash(key) % partitions


@lru_cache(maxsize=_REMEMBERED_KEYS)
def _positive_hash(key: bytes) -> int:
    return int(murmur2(key)) & 0x7FFFFFFF


async def is_member(kafka: Kafka, group: str, client_id: str) -> bool:
    """Return whether the broker has a client in a group that is not rebalancing just now. Raises LevelgateError."""
    async with _admin(kafka) as admin, asyncio.timeout(_REQUEST_TIMEOUT_S):
        answers = await admin.describe_consumer_groups([group])
    groups = [each for answer in answers for each in answer.to_object()["groups"]]
    return any(
        each["state"] == "Stable" and client_id in {member["client_id"] for member in each["members"]}
        for each in groups
    )


async def committed_offsets(
    kafka: Kafka, group: str, partitions: Collection[TopicPartition]
) -> dict[TopicPartition, int]:
    """Return the offsets that a group has committed, in one request; without those of which there is none.

    Raises LevelgateError, also where the group's coordinator is moving: then the answer has no offsets at all.
    """
    async with _admin(kafka) as admin, asyncio.timeout(_REQUEST_TIMEOUT_S):
        found = await admin.list_consumer_group_offsets(group, partitions=list(partitions))
    if found.keys() != set(partitions):
        raise LevelgateError(f"the broker told no offsets of the group {group}: its coordinator is not ready")
    return {tp: each.offset for tp, each in found.items() if each.offset >= 0}


async def describe_topics(kafka: Kafka, max_body_bytes: int) -> tuple[TopicState, ...]:
    """Return every topic of the layout as the broker has it."""
    async with _admin(kafka) as admin:
        return await _describe(admin, kafka, max_body_bytes)


async def apply_topics(kafka: Kafka, max_body_bytes: int) -> TopicChanges:
    """Create the missing topics, set retention and record limit of the others, and report what differs.

    What somebody else set on a topic stays. Raises LevelgateError when the broker refuses or is away.
    """
    async with _admin(kafka) as admin:
        states = await _describe(admin, kafka, max_body_bytes)
        missing = [state for state in states if state.is_missing]
        changed = [state for state in states if not state.is_missing and state.config_changes]
        if missing:
            await _create(admin, kafka, missing)
        if changed:
            await _alter(admin, changed)
        if missing or changed:
            await _until_visible(admin, kafka, max_body_bytes)
    return TopicChanges(
        created=tuple(state.name for state in missing),
        altered={state.name: state.config_changes for state in changed},
        other_partitions={state.name: state.partitions for state in states if state.has_other_partitions},
    )


async def _describe(admin: AIOKafkaAdminClient, kafka: Kafka, max_body_bytes: int) -> tuple[TopicState, ...]:
    layout = Topics(kafka).layout(max_body_bytes)
    async with asyncio.timeout(_REQUEST_TIMEOUT_S):
        # Asked for all topics: naming a missing one makes some brokers create it, with one partition.
        found = {topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics()}
    there = [ConfigResource(ConfigResourceType.TOPIC, topic.name) for topic in layout if topic.name in found]
    configs: dict[str, dict[str, str]] = {}
    if there:
        async with asyncio.timeout(_REQUEST_TIMEOUT_S):
            answers = await admin.describe_configs(there)
        for answer in answers:
            for resource in answer.to_object()["resources"]:
                _check(resource["error_code"], f"describing topic {resource['resource_name']}")
                configs[resource["resource_name"]] = {
                    entry["config_names"]: entry["config_value"]
                    for entry in resource["config_entries"]
                    if entry["config_source"] == _SET_ON_TOPIC
                }
    return tuple(
        TopicState(
            name=topic.name,
            partitions=found.get(topic.name, 0),
            config=configs.get(topic.name, {}),
            wanted_partitions=kafka.partitions,
            wanted_config=topic.config,
        )
        for topic in layout
    )


async def _create(admin: AIOKafkaAdminClient, kafka: Kafka, missing: list[TopicState]) -> None:
    topics = [
        NewTopic(s.name, s.wanted_partitions, kafka.replication_factor, topic_configs=dict(s.wanted_config))
        for s in missing
    ]
    async with asyncio.timeout(_REQUEST_TIMEOUT_S):
        answer = await admin.create_topics(topics, timeout_ms=int(_REQUEST_TIMEOUT_S * 1000))
    for topic, code, *_ in answer.topic_errors:
        if code != _TOPIC_EXISTS:  # Another `topics apply` was a moment faster.
            _check(code, f"creating topic {topic}")


async def _alter(admin: AIOKafkaAdminClient, changed: list[TopicState]) -> None:
    # AlterConfigs replaces the whole set, so what stays is sent again with what changes.
    resources = [
        ConfigResource(ConfigResourceType.TOPIC, s.name, configs={**s.config, **s.config_changes}) for s in changed
    ]
    async with asyncio.timeout(_REQUEST_TIMEOUT_S):
        answers = await admin.alter_configs(resources)
    for answer in answers:
        for code, _message, _kind, name in answer.resources:
            _check(code, f"configuring topic {name}")


async def _until_visible(admin: AIOKafkaAdminClient, kafka: Kafka, max_body_bytes: int) -> None:
    # The controller has taken the change; until the brokers have it too, a client would still be told the old state.
    async with asyncio.timeout(_REQUEST_TIMEOUT_S):
        while any(  # noqa: ASYNC110 -- another process changes it, there is no event to await
            s.is_missing or s.config_changes for s in await _describe(admin, kafka, max_body_bytes)
        ):
            await asyncio.sleep(_VISIBLE_POLL_S)


def _check(code: int, what: str) -> None:
    if code:
        raise LevelgateError(f"{what} failed: the broker answered {for_code(code).__name__}")


@asynccontextmanager
async def _admin(kafka: Kafka) -> AsyncIterator[AIOKafkaAdminClient]:
    # In a thread: a TLS context reads its certificates from disk.
    options = await asyncio.to_thread(client_options, kafka)
    admin = AIOKafkaAdminClient(**options, request_timeout_ms=int(_REQUEST_TIMEOUT_S * 1000))
    try:
        async with asyncio.timeout(_REQUEST_TIMEOUT_S):
            await admin.start()
        yield admin
    except (KafkaError, OSError, TimeoutError) as error:
        raise LevelgateError(
            f"the broker at {kafka.bootstrap_servers} did not answer as it should ({type(error).__name__}): "
            "check that it runs and LEVELGATE_KAFKA__BOOTSTRAP_SERVERS"
        ) from error
    finally:
        async with asyncio.timeout(_CLOSE_TIMEOUT_S):
            await admin.close()
