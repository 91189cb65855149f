"""The `installation` table: reads and writes, tokens encrypted on the way in and decrypted on the way out.

Knows asyncpg and its errors; decides nothing (`installations.py`) and calls nobody (`tokens.py`). Each method is one
short use of one connection.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import aiosql
import asyncpg
import msgspec
from pydantic import SecretStr

from levelgate.highlevel.installations import Installation, State
from levelgate.highlevel.keyring import KeyRing
from levelgate.highlevel.oauth import Grant, Level
from levelgate.postgres import POSTGRES_AWAY
from schemas.errors import RefreshFailed
from schemas.ids import AppName, CompanyId, TenantId

LEASE_S = 15.0
"""Longer than a token call (8 s), shorter than the vendor's grace for a spent refresh token (30 s)."""

_QUERY_TIMEOUT_S = 5.0
_SQL: Any = aiosql.from_path(Path(__file__).with_name("tokens.sql"), "asyncpg")


class TokenStoreAway(RefreshFailed):
    """Postgres can't be asked for a token, or can't take one, now."""


class TokenTable:
    """Reads and writes of installations. Raises TokenStoreAway where Postgres does not do as asked."""

    def __init__(self, pool: asyncpg.Pool, keyring: KeyRing) -> None:
        self._pool = pool
        self._keyring = keyring

    async def read(self, app: AppName, tenant: TenantId) -> Installation | None:
        """Return the installation as it is now."""
        async with self._connection() as connection:
            record = await _SQL.read_installation(connection, app=app, tenant=tenant)
        return None if record is None else _installation(record)

    async def read_all(self, app: AppName | None) -> list[Installation]:
        """Return all of them, without their tokens."""
        async with self._connection() as connection:
            records = [record async for record in _SQL.list_installations(connection, app=app)]
        return [_installation(record) for record in records]

    async def pending_locations(self, app: AppName, company: CompanyId) -> list[TenantId]:
        """Return the company's locations that have no token."""
        async with self._connection() as connection:
            found = _SQL.list_pending_locations(connection, app=app, company=company)
            return [TenantId(record["tenant"]) async for record in found]

    async def try_writing(self) -> None:
        """Make sure that a token could be written."""
        async with self._connection() as connection:
            await _SQL.try_writing(connection)

    def access_token(self, row: Installation) -> SecretStr:
        """Decrypt the access token of a row that has one."""
        return self._decrypt(row, row.access_token, "access")

    def refresh_token(self, row: Installation) -> SecretStr:
        """Decrypt the refresh token of a row that has one."""
        return self._decrypt(row, row.refresh_token, "refresh")

    async def take_lease(self, row: Installation) -> int | None:
        """Become the one who fetches tokens; return the version to write with, None where the row has changed."""
        async with self._connection() as connection:
            version: int | None = await _SQL.take_lease(
                connection, app=row.app, tenant=row.tenant, version=row.version, lease_s=LEASE_S
            )
        return version

    async def write_tokens(self, row: Installation, version: int, grant: Grant, *, keeps_refresh_token: bool) -> bool:
        """Store what the lease of `version` brought; return whether it was still ours.

        `keeps_refresh_token`: the old one stays where the answer has none.
        """
        refresh_token = self._encrypt(row.app, row.tenant, "refresh", grant.refresh_token)
        if refresh_token is None and keeps_refresh_token:
            refresh_token = row.refresh_token
        async with self._connection() as connection:
            written = await _SQL.write_tokens(
                connection,
                app=row.app,
                tenant=row.tenant,
                version=version,
                spent=row.refresh_token,
                access_token=self._encrypt(row.app, row.tenant, "access", grant.access_token),
                refresh_token=refresh_token,
                expires_in_s=float(grant.expires_in_s),
                scopes=list(grant.scopes),
            )
        return written is not None

    async def end_lease(
        self, row: Installation, version: int, *, retry_in_s: float = 0.0, state: State | None = None
    ) -> None:
        """Let go without tokens; nothing stored is deleted."""
        async with self._connection() as connection:
            await _SQL.end_lease(
                connection, app=row.app, tenant=row.tenant, version=version, state=state, retry_in_s=retry_in_s
            )

    async def expire_access_token(self, row: Installation) -> None:
        """Call the row's access token stale, unless the row has changed or somebody fetches another already."""
        async with self._connection() as connection:
            await _SQL.expire_access_token(connection, app=row.app, tenant=row.tenant, version=row.version)

    async def store_grant(self, app: AppName, tenant: TenantId, grant: Grant) -> None:
        """Store what a person consented to."""
        async with self._connection() as connection, connection.transaction():
            await _SQL.store_grant(
                connection,
                app=app,
                tenant=tenant,
                level=grant.level,
                company=grant.company,
                access_token=self._encrypt(app, tenant, "access", grant.access_token),
                refresh_token=self._encrypt(app, tenant, "refresh", grant.refresh_token),
                expires_in_s=float(grant.expires_in_s),
                scopes=list(grant.scopes),
            )
            if grant.level == "company":
                await _SQL.hurry_locations(connection, app=app, company=tenant)

    async def record_installs(
        self, app: AppName, tenants: Sequence[TenantId], level: Level, company: CompanyId | None, at: datetime | None
    ) -> None:
        """Know these installations from now on, as of `at` (None: now)."""
        async with self._connection() as connection:
            await _SQL.record_installs(
                connection, app=app, tenants=sorted(set(tenants)), level=level, company=company, at=at
            )

    async def record_uninstall(self, app: AppName, tenant: TenantId, level: Level, at: datetime | None) -> None:
        """Erase an installation's tokens; of a company also what its locations hold of access tokens."""
        async with self._connection() as connection, connection.transaction():
            if level == "company":
                await _SQL.doubt_locations(connection, app=app, company=tenant, at=at)
            await _SQL.record_uninstall(connection, app=app, tenant=tenant, level=level, at=at)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        try:
            async with asyncio.timeout(_QUERY_TIMEOUT_S), self._pool.acquire() as connection:
                yield connection
        except POSTGRES_AWAY as error:
            problem = type(error).__name__
        else:
            return
        raise TokenStoreAway(f"Postgres does not give or take tokens now ({problem})")

    def _encrypt(self, app: AppName, tenant: TenantId, kind: str, token: SecretStr | None) -> bytes | None:
        if token is None:
            return None
        return self._keyring.encrypt(token.get_secret_value(), context=_context(app, tenant, kind))

    def _decrypt(self, row: Installation, blob: bytes | None, kind: str) -> SecretStr:
        if blob is None:
            raise TypeError(f"the installation of {row.app} for {row.tenant} has no {kind} token")
        return SecretStr(self._keyring.decrypt(blob, context=_context(row.app, row.tenant, kind)))


def _context(app: AppName, tenant: TenantId, kind: str) -> bytes:
    # An app's name has no slash, so no two rows have the same context.
    return f"{kind}/{app}/{tenant}".encode()


def _installation(record: asyncpg.Record) -> Installation:
    return msgspec.convert(dict(record), Installation)
