"""Keeps the mirror tables: an entity is read again through the API and stored by its id; 404 means that it is gone.

So a handler can run twice, late or out of order and the row still ends as the vendor has it: of two reads the newer
one wins, whatever order they are written in. Never stores what an event says, which may be partial or old.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Literal

import orjson

from levelgate import Context
from levelgate.highlevel.api import Api, Entity
from processors.sql import queries
from schemas.errors import ApiNotFound, InstallationMissing, Permanent
from schemas.ids import TenantId

Kind = Literal[
    "contact",
    "note",
    "task",
    "opportunity",
    "appointment",
    "location",
    "user",
    "conversation",
    "message",
    "order",
    "invoice",
    "product",
    "price",
]

_QUERY_TIMEOUT_S = 10.0
_SQL = queries(__file__)


async def mirror(ctx: Context, kind: Kind, entity_id: str | None, read: Callable[[], Awaitable[Entity]]) -> None:
    """Read an entity and keep it under its id, or remove it where the vendor does not know it.

    Raises Permanent where the event names no entity; what the API raises otherwise.
    """
    _demand(ctx, kind, entity_id)
    read_at = await clock(ctx)
    try:
        entity = await read()
    except ApiNotFound:
        await _remove(ctx, kind, entity_id, read_at)
    else:
        await keep(ctx, kind, entity_id, entity, read_at)


async def forget(ctx: Context, kind: Kind, entity_id: str | None) -> None:
    """Remove an entity that the vendor says is deleted."""
    _demand(ctx, kind, entity_id)
    await _remove(ctx, kind, entity_id, await clock(ctx))


async def keep(ctx: Context, kind: Kind, entity_id: str | None, entity: Entity, read_at: datetime) -> None:
    """Store what a read at `read_at` (see `clock`) brought."""
    async with asyncio.timeout(_QUERY_TIMEOUT_S), ctx.db.acquire() as connection:
        await _SQL.keep(connection, body=_json(entity), read_at=read_at, **_key(ctx, kind, entity_id))


async def kept(ctx: Context, kind: Kind, entity_id: str | None) -> Entity:
    """Return what the mirror has of an entity; empty where it has none."""
    async with asyncio.timeout(_QUERY_TIMEOUT_S), ctx.db.acquire() as connection:
        body = await _SQL.look_up(connection, **_key(ctx, kind, entity_id))
    found = orjson.loads(body) if body is not None else {}
    return found if isinstance(found, dict) else {}


async def clock(ctx: Context) -> datetime:
    """Return the time to note a read by: to be taken before the call."""
    async with asyncio.timeout(_QUERY_TIMEOUT_S), ctx.db.acquire() as connection:
        now: datetime = await _SQL.read_clock(connection)
    return now


async def under_either_token(ctx: Context, company_id: str | None, read: Callable[[Api], Awaitable[Entity]]) -> Entity:
    """Read under the tenant's token, or under its company's where the tenant has none.

    For the operations that take either level: events of locations and users come to apps of agencies, whose
    locations have no installation of their own.
    """
    try:
        return await read(ctx.api)
    except InstallationMissing:
        if not company_id or company_id == str(ctx.delivery.tenant):
            raise
    return await read(ctx.api.of(TenantId(company_id)))


async def _remove(ctx: Context, kind: Kind, entity_id: str | None, read_at: datetime) -> None:
    async with asyncio.timeout(_QUERY_TIMEOUT_S), ctx.db.acquire() as connection:
        await _SQL.remove(connection, read_at=read_at, **_key(ctx, kind, entity_id))


def _demand(ctx: Context, kind: Kind, entity_id: str | None) -> None:
    if not entity_id:
        raise Permanent(f"the {ctx.delivery.type} names no {kind}")


def _key(ctx: Context, kind: Kind, entity_id: str | None) -> dict[str, str | None]:
    return {"kind": kind, "app": ctx.delivery.app, "tenant": ctx.delivery.tenant, "id": entity_id}


def _json(entity: Entity) -> str:
    text = orjson.dumps(entity).decode()
    # jsonb can't hold the character U+0000, which JSON can: one such note must not stop its contact's line.
    return orjson.dumps(_without_nul(entity)).decode() if "\\u0000" in text else text


def _without_nul(value: Any) -> Any:  # noqa: ANN401 -- any JSON
    match value:
        case str():
            return value.replace("\x00", "\N{REPLACEMENT CHARACTER}")
        case list():
            return [_without_nul(item) for item in value]
        case dict():
            return {_without_nul(name): _without_nul(item) for name, item in value.items()}
        case _:
            return value
