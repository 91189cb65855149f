"""A handler that notes each of its runs in the test's database, and waits there where the test holds a lock."""

import os

from levelgate import on

GATES = {"gated": 4711, "stuck": 4712}
"""The advisory locks that deliveries about these entities wait for."""

TABLE = "CREATE TABLE runs (delivery text NOT NULL, process integer NOT NULL, at timestamptz NOT NULL DEFAULT now())"


@on("ContactCreate", name="recording")
async def record(event, ctx):
    """Note the run first, so that a run that was cut off is counted too."""
    await ctx.db.execute("INSERT INTO runs (delivery, process) VALUES ($1, $2)", ctx.delivery.id, os.getpid())
    if event.id in GATES:
        async with ctx.db.acquire() as connection:
            await connection.execute("SELECT pg_advisory_lock_shared($1)", GATES[event.id])
            await connection.execute("SELECT pg_advisory_unlock_shared($1)", GATES[event.id])
