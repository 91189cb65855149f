"""What the ledger's statements cost: as much as they look for, however much is parked beside it."""

import json
from datetime import UTC, datetime

from processors import ledger
from processors.sql import queries

LEDGER = queries(ledger.__file__)

EXPLAIN = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) "
LINES, DEEP = 200, 25

PARK = """
INSERT INTO parked (app, tenant, delivery, run, handler, element, group_id, topic, partition, record_offset, entity,
    type, reason, attempts, due_at, errors, calls, parked_at)
SELECT 'demo', 'location-1', 'delivery-' || n, 'live', 'greet', 0, 'workers', 'contact', 0, n,
    'contact-' || n % CAST($1 AS integer), 'ContactCreate', 'backlog', 0, 'infinity', '[]', '[]', now()
FROM generate_series(1, CAST($1 AS integer) * CAST($2 AS integer)) AS n
"""


async def test_letting_the_heads_of_lines_go_reads_no_line_but_theirs(pool):
    await pool.execute(PARK, LINES, DEEP)
    entities = [f"contact-{n}" for n in range(20)]
    same = [[value] * len(entities) for value in ("demo", "location-1", "contact", "greet", "live")]
    apps, tenants, topics, handlers, runs = same

    found = await pool.fetchval(
        EXPLAIN + LEDGER.release_lines.sql,
        [0] * len(entities), apps, tenants, topics, entities, handlers, runs, "workers", datetime.now(UTC),
    )  # fmt: skip
    read = json.loads(found)[0]["Plan"]["Shared Hit Blocks"]
    due = await pool.fetch("SELECT entity, record_offset FROM parked WHERE due_at < 'infinity'")

    # All that is parked lies in more than a hundred pages; each line descends two indexes, and writes its row.
    assert read < 60 * len(entities)
    assert {r["entity"]: r["record_offset"] for r in due} == {e: int(e.rpartition("-")[2]) or LINES for e in entities}
