"""What the ledger's statements cost: as much as they look for, however much is parked beside it."""

import json
from datetime import UTC, datetime, timedelta

from processors import dead_letters, deliveries, ledger
from processors.sql import queries

LEDGER = queries(ledger.__file__)
DEAD_LETTERS = queries(dead_letters.__file__)
DELIVERIES = queries(deliveries.__file__)

EXPLAIN = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) "
LINES, DEEP = 200, 25

PARK = """
INSERT INTO parked (app, tenant, delivery, run, handler, element, group_id, topic, partition, record_offset, entity,
    type, reason, attempts, due_at, errors, calls, parked_at)
SELECT 'demo', 'location-1', 'delivery-' || n, 'live', 'greet', 0, 'workers', 'contact', 0, n,
    'contact-' || n % CAST($1 AS integer), 'ContactCreate', 'backlog', 0, 'infinity', '[]', '[]', now()
FROM generate_series(1, CAST($1 AS integer) * CAST($2 AS integer)) AS n
"""

BURY = """
INSERT INTO dead (app, tenant, delivery, run, handler, element, group_id, topic, partition, record_offset, entity, type,
    attempts, errors, calls, died_at)
SELECT 'demo', 'location-' || n % 1000, 'delivery-' || n, 'live', 'greet', 0, 'workers', 'contact', 0, n, 'contact-1',
    'ContactCreate', 5, '[]', '[]', CAST($1 AS timestamptz) + n * interval '1 second'
FROM generate_series(1, CAST($2 AS integer)) AS n
"""


async def blocks_read(pool, sql, *arguments):
    """How many pages of tables and indexes a statement looks at."""
    found = await pool.fetchval(EXPLAIN + sql, *arguments)
    plan = json.loads(found)[0]["Plan"]
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


async def test_letting_the_heads_of_lines_go_reads_no_line_but_theirs(pool):
    await pool.execute(PARK, LINES, DEEP)
    entities = [f"contact-{n}" for n in range(20)]
    same = [[value] * len(entities) for value in ("demo", "location-1", "contact", "greet", "live")]
    apps, tenants, topics, handlers, runs = same

    read = await blocks_read(
        pool, LEDGER.release_lines.sql,
        [0] * len(entities), apps, tenants, topics, entities, handlers, runs, "workers", datetime.now(UTC),
    )  # fmt: skip
    due = await pool.fetch("SELECT entity, record_offset FROM parked WHERE due_at < 'infinity'")

    # All that is parked lies in more than a hundred pages; each line descends two indexes, and writes its row.
    assert read < 60 * len(entities)
    assert {r["entity"]: r["record_offset"] for r in due} == {e: int(e.rpartition("-")[2]) or LINES for e in entities}


async def test_a_window_of_dead_letters_reads_none_outside_of_it(pool):
    began, count, window = datetime.now(UTC), 20_000, 100
    await pool.execute(BURY, began, count)
    since = began + timedelta(seconds=count // 2)

    until = await pool.fetchval(DEAD_LETTERS.window_end.sql, since, window)
    for_the_end = await blocks_read(pool, DEAD_LETTERS.window_end.sql, since, window)
    no_filter = [None] * 7
    for_the_pairs = await blocks_read(pool, DEAD_LETTERS.choose_dead.sql, since, until, *no_filter)

    # All that is dead lies in some hundred pages.
    assert until == since + timedelta(seconds=window)
    assert for_the_end + for_the_pairs < 60


async def test_a_trace_looks_its_pairs_up_whatever_their_run(pool):
    await pool.execute(BURY, datetime.now(UTC), 20_000)
    await pool.execute("INSERT INTO handled SELECT died_at, app, tenant, delivery, run, handler, 0, 1, '[]' FROM dead")
    await pool.execute(PARK, LINES, DEEP)

    assert await blocks_read(pool, DELIVERIES.pairs.sql, "demo", "location-7", "delivery-1007") < 30
