"""The checks of `levelgate check`: each finds one thing, and says what to do where it is not as it should be.

Changes nothing. No finding repeats a secret.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from levelgate.broker import client_options, describe_topics
from levelgate.cli.connections import kafka_errors
from levelgate.migrations import pending
from levelgate.postgres import POSTGRES_AWAY
from processors.registry import foreign_packages, load_registry
from schemas.errors import LevelgateError, Misconfigured
from schemas.settings import Settings
from schemas.topics import Topics

_TIMEOUT_S = 10.0
_MASK = "********"


class Check(msgspec.Struct, frozen=True):
    """One finding."""

    name: str
    ok: bool
    found: str
    fix: str | None = None


async def check_all(settings: Settings) -> list[Check]:
    """Return every finding, in the order to read them in; nothing that is away stops the others."""
    checks: list[Callable[[Settings], Awaitable[list[Check]]]] = [_handlers, _postgres, _kafka, _vendor]
    return [found for part in await asyncio.gather(*(check(settings) for check in checks)) for found in part]


def masked(settings: Settings) -> dict[str, Any]:
    """Return the settings as they count, with every secret masked."""
    shown: dict[str, Any] = settings.model_dump(mode="json")
    # pydantic masks what is a secret; of the database's URL all but the password may be seen, of keys only the count.
    parts = urlsplit(settings.database_url.get_secret_value())
    address = f"{parts.hostname or ''}:{parts.port}" if parts.port else parts.hostname or ""
    shown["database_url"] = f"{parts.scheme}://{parts.username or ''}:{_MASK}@{address}{parts.path}"
    for app in shown["apps"].values():
        for name in ("ed25519_keys", "rsa_keys"):
            app[name] = f"{len(app[name])} of them"
    return shown


async def _handlers(settings: Settings) -> list[Check]:
    foreign = await asyncio.to_thread(lambda: foreign_packages(Path.cwd()))
    found = [
        Check("packages", ok=False, found=fault, fix="rename it: handlers may lie anywhere under other names")
        for fault in foreign
    ] or [Check("packages", ok=True, found="schemas, ingest and processors are Levelgate's own")]
    try:
        registry = await asyncio.to_thread(load_registry, settings.handlers, ())
    except Misconfigured as error:
        return found + [
            Check("handlers", ok=False, found=fault, fix="correct LEVELGATE_HANDLERS or the module it names")
            for fault in error.faults
            if fault not in foreign
        ]
    names = ", ".join(handler.name for handler in registry.handlers) or "none of your own"
    return [*found, Check("handlers", ok=True, found=names)]


async def _postgres(settings: Settings) -> list[Check]:
    try:
        async with asyncio.timeout(_TIMEOUT_S * 2):
            waiting = await pending(settings.database_url.get_secret_value())
    except (LevelgateError, *POSTGRES_AWAY) as error:
        found = str(error) if isinstance(error, LevelgateError) else type(error).__name__
        return [
            Check("postgres", ok=False, found=found, fix="start it (`levelgate up`), or set LEVELGATE_DATABASE_URL")
        ]
    return [
        Check("postgres", ok=True, found="answers"),
        Check("migrations", ok=False, found=f"not applied: {', '.join(waiting)}", fix="run `levelgate migrate`")
        if waiting
        else Check("migrations", ok=True, found="all are applied"),
    ]


async def _kafka(settings: Settings) -> list[Check]:
    kafka = settings.kafka
    try:
        async with asyncio.timeout(_TIMEOUT_S * 2):
            topics = await describe_topics(settings.kafka, settings.receiver.max_body_bytes)
            kept_minutes = await _offsets_kept_minutes(settings)
    except (LevelgateError, TimeoutError) as error:
        found = str(error) or "it does not answer in time"
        fix = "start it (`levelgate up`), or set LEVELGATE_KAFKA__BOOTSTRAP_SERVERS"
        return [Check("kafka", ok=False, found=found, fix=fix)]
    checks = [Check("kafka", ok=True, found=f"answers at {settings.kafka.bootstrap_servers}")]
    missing = [topic.name for topic in topics if topic.is_missing]
    other = [topic for topic in topics if topic.has_other_partitions]
    if missing:
        found = f"missing: {', '.join(missing)}"
        checks.append(Check("topics", ok=False, found=found, fix="run `levelgate topics apply`"))
    if other:
        counts = {t.partitions for t in other}
        found = f"{len(other)} topics ({other[0].name}, …) have {_either(counts)} partitions, not {kafka.partitions}"
        fix = "set LEVELGATE_KAFKA__PARTITIONS to what the topics have; all of them must have the same number"
        checks.append(Check("topics", ok=False, found=found, fix=fix))
    if not missing and not other:
        checks.append(Check("topics", ok=True, found=f"{len(topics)} topics of {settings.kafka.partitions} partitions"))
    return [*checks, _offsets(settings, kept_minutes)]


def _either(counts: set[int]) -> str:
    return " or ".join(map(str, sorted(counts)))


def _offsets(settings: Settings, kept_minutes: int | None) -> Check:
    # A group's place must outlive what it may still have to read, or it begins anew (design §9.6).
    layout = Topics(settings.kafka).layout(settings.receiver.max_body_bytes)
    wanted = max(int(topic.retention.total_seconds()) // 60 for topic in layout if topic.consumed)
    if kept_minutes is None:
        return Check("offsets", ok=True, found="the broker does not tell how long it keeps them")
    return Check(
        "offsets",
        ok=kept_minutes >= wanted,
        found=f"kept for {kept_minutes} minutes; the longest topic for {wanted}",
        fix=None if kept_minutes >= wanted else f"set the broker's offsets.retention.minutes to {wanted} or more",
    )


async def _offsets_kept_minutes(settings: Settings) -> int | None:
    options = await asyncio.to_thread(client_options, settings.kafka)
    admin = AIOKafkaAdminClient(**options, request_timeout_ms=int(_TIMEOUT_S * 1000))
    with kafka_errors(settings.kafka):
        try:
            await admin.start()
            brokers = (await admin.describe_cluster())["brokers"]
            resource = ConfigResource(ConfigResourceType.BROKER, str(brokers[0]["node_id"]))
            answers = await admin.describe_configs([resource])
        finally:
            await admin.close()
    values = [
        entry["config_value"]
        for answer in answers
        for each in answer.to_object()["resources"]
        for entry in each["config_entries"]
        if entry["config_names"] == "offsets.retention.minutes"
    ]
    return int(values[0]) if values else None


async def _vendor(settings: Settings) -> list[Check]:
    url = settings.vendor.api_url
    is_simulator = url != type(settings.vendor)().api_url
    try:
        # Any answer will do: without a token the API refuses, and so it lives.
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S)) as session,
            session.get(url, allow_redirects=False) as response,
        ):
            found = f"{url} answers ({response.status})"
    except (aiohttp.ClientError, TimeoutError) as error:
        fix = "start it (`levelgate up`)" if is_simulator else "check this machine's way to the internet"
        found = f"{url} does not answer ({type(error).__name__})"
        return [Check("vendor", ok=False, found=found, fix=f"{fix}, or set LEVELGATE_VENDOR__API_URL")]
    return [Check("vendor", ok=True, found=found)]
