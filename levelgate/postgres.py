"""What a query may raise while Postgres is away or refuses."""

import asyncpg

POSTGRES_AWAY = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, TimeoutError)
"""InternalClientError too: asyncpg raises it where Postgres has ended the connection of a process that was frozen
within a transaction, and that wakes up and goes on with it."""
