-- name: recorded(apps, tenants, deliveries, runs)
-- The pairs of some deliveries that need no run here: done, parked or dead, over all days kept.
WITH wanted AS (
    SELECT * FROM unnest(
        CAST(:apps AS text[]), CAST(:tenants AS text[]), CAST(:deliveries AS text[]), CAST(:runs AS text[])
    ) AS w (app, tenant, delivery, run)
)
SELECT app, tenant, delivery, run, handler, element FROM handled JOIN wanted USING (app, tenant, delivery, run)
UNION ALL
SELECT app, tenant, delivery, run, handler, element FROM parked JOIN wanted USING (app, tenant, delivery, run)
UNION ALL
SELECT app, tenant, delivery, run, handler, element FROM dead JOIN wanted USING (app, tenant, delivery, run);

-- name: add_deliveries(received_ats, apps, ids, runs, types, tenants, entities, topics, partitions, offsets, reasons, handlers, elements)!
-- The index of consumed deliveries; read again after a crash, the same record changes nothing.
INSERT INTO delivery (received_at, app, id, run, type, tenant, entity, topic, partition, record_offset, quarantine_reason, handlers, elements)
SELECT received_at, app, id, run, type, tenant, entity, topic, partition, record_offset, reason, string_to_array(handlers, chr(10)), elements
FROM unnest(
    CAST(:received_ats AS timestamptz[]), CAST(:apps AS text[]), CAST(:ids AS text[]), CAST(:runs AS text[]),
    CAST(:types AS text[]), CAST(:tenants AS text[]), CAST(:entities AS text[]), CAST(:topics AS text[]),
    CAST(:partitions AS integer[]), CAST(:offsets AS bigint[]), CAST(:reasons AS text[]), CAST(:handlers AS text[]),
    CAST(:elements AS integer[])
) AS d (received_at, app, id, run, type, tenant, entity, topic, partition, record_offset, reason, handlers, elements)
ON CONFLICT DO NOTHING;

-- name: add_done(ats, apps, tenants, deliveries, runs, handlers, elements, attempts, calls)!
INSERT INTO handled (at, app, tenant, delivery, run, handler, element, attempts, calls)
SELECT * FROM unnest(
    CAST(:ats AS timestamptz[]), CAST(:apps AS text[]), CAST(:tenants AS text[]), CAST(:deliveries AS text[]),
    CAST(:runs AS text[]), CAST(:handlers AS text[]), CAST(:elements AS integer[]), CAST(:attempts AS integer[]),
    CAST(:calls AS jsonb[])
);

-- name: add_held(apps, tenants, deliveries, runs, topics, partitions, offsets, headers, bodies, ats)!
-- Body and headers of deliveries that have parked or dead pairs, once each.
INSERT INTO held (app, tenant, delivery, run, topic, partition, record_offset, headers, body, held_at)
SELECT * FROM unnest(
    CAST(:apps AS text[]), CAST(:tenants AS text[]), CAST(:deliveries AS text[]), CAST(:runs AS text[]),
    CAST(:topics AS text[]), CAST(:partitions AS integer[]), CAST(:offsets AS bigint[]), CAST(:headers AS bytea[]),
    CAST(:bodies AS bytea[]), CAST(:ats AS timestamptz[])
)
ON CONFLICT DO NOTHING;

-- name: add_parked(apps, tenants, deliveries, runs, handlers, elements, group_id, topics, partitions, offsets, entities, types, reasons, attempts, due_ats, errors, calls, ats)!
INSERT INTO parked (app, tenant, delivery, run, handler, element, group_id, topic, partition, record_offset, entity, type, reason, attempts, due_at, errors, calls, parked_at)
SELECT app, tenant, delivery, run, handler, element, :group_id, topic, partition, record_offset, entity, type, reason, attempts, COALESCE(due_at, 'infinity'), errors, calls, at
FROM unnest(
    CAST(:apps AS text[]), CAST(:tenants AS text[]), CAST(:deliveries AS text[]), CAST(:runs AS text[]),
    CAST(:handlers AS text[]), CAST(:elements AS integer[]), CAST(:topics AS text[]), CAST(:partitions AS integer[]),
    CAST(:offsets AS bigint[]), CAST(:entities AS text[]), CAST(:types AS text[]), CAST(:reasons AS text[]),
    CAST(:attempts AS integer[]), CAST(:due_ats AS timestamptz[]), CAST(:errors AS jsonb[]), CAST(:calls AS jsonb[]),
    CAST(:ats AS timestamptz[])
) AS p (app, tenant, delivery, run, handler, element, topic, partition, record_offset, entity, type, reason, attempts, due_at, errors, calls, at)
ON CONFLICT (app, tenant, delivery, run, handler, element)
DO UPDATE SET reason = excluded.reason, attempts = excluded.attempts, due_at = excluded.due_at, errors = excluded.errors, calls = excluded.calls;

-- name: add_backlog(apps, tenants, deliveries, runs, handlers, elements, group_id, topics, partitions, offsets, entities, types, reasons, attempts, due_ats, errors, calls, ats)
-- Pairs that are parked unrun; those that are recorded already are left as they are, and missing from the answer.
INSERT INTO parked (app, tenant, delivery, run, handler, element, group_id, topic, partition, record_offset, entity, type, reason, attempts, due_at, errors, calls, parked_at)
SELECT app, tenant, delivery, run, handler, element, :group_id, topic, partition, record_offset, entity, type, reason, attempts, COALESCE(due_at, 'infinity'), errors, calls, at
FROM unnest(
    CAST(:apps AS text[]), CAST(:tenants AS text[]), CAST(:deliveries AS text[]), CAST(:runs AS text[]),
    CAST(:handlers AS text[]), CAST(:elements AS integer[]), CAST(:topics AS text[]), CAST(:partitions AS integer[]),
    CAST(:offsets AS bigint[]), CAST(:entities AS text[]), CAST(:types AS text[]), CAST(:reasons AS text[]),
    CAST(:attempts AS integer[]), CAST(:due_ats AS timestamptz[]), CAST(:errors AS jsonb[]), CAST(:calls AS jsonb[]),
    CAST(:ats AS timestamptz[])
) AS p (app, tenant, delivery, run, handler, element, topic, partition, record_offset, entity, type, reason, attempts, due_at, errors, calls, at)
WHERE NOT EXISTS (
    SELECT FROM handled AS h WHERE h.delivery = p.delivery AND h.app = p.app AND h.tenant = p.tenant AND h.run = p.run
    AND h.handler = p.handler AND h.element = p.element
)
AND NOT EXISTS (
    SELECT FROM dead AS d WHERE d.app = p.app AND d.tenant = p.tenant AND d.delivery = p.delivery AND d.run = p.run
    AND d.handler = p.handler AND d.element = p.element
)
ON CONFLICT DO NOTHING
RETURNING app, tenant, delivery, run, handler, element;

-- name: add_dead(apps, tenants, deliveries, runs, handlers, elements, group_id, topics, partitions, offsets, entities, types, attempts, errors, calls, ats)!
INSERT INTO dead (app, tenant, delivery, run, handler, element, group_id, topic, partition, record_offset, entity, type, attempts, errors, calls, died_at)
SELECT app, tenant, delivery, run, handler, element, :group_id, topic, partition, record_offset, entity, type, attempts, errors, calls, at
FROM unnest(
    CAST(:apps AS text[]), CAST(:tenants AS text[]), CAST(:deliveries AS text[]), CAST(:runs AS text[]),
    CAST(:handlers AS text[]), CAST(:elements AS integer[]), CAST(:topics AS text[]), CAST(:partitions AS integer[]),
    CAST(:offsets AS bigint[]), CAST(:entities AS text[]), CAST(:types AS text[]), CAST(:attempts AS integer[]),
    CAST(:errors AS jsonb[]), CAST(:calls AS jsonb[]), CAST(:ats AS timestamptz[])
) AS p (app, tenant, delivery, run, handler, element, topic, partition, record_offset, entity, type, attempts, errors, calls, at)
ON CONFLICT (app, tenant, delivery, run, handler, element)
DO UPDATE SET attempts = excluded.attempts, errors = excluded.errors, calls = excluded.calls, died_at = excluded.died_at, published_at = NULL;

-- name: remove_parked(apps, tenants, deliveries, runs, handlers, elements)!
DELETE FROM parked USING unnest(
    CAST(:apps AS text[]), CAST(:tenants AS text[]), CAST(:deliveries AS text[]), CAST(:runs AS text[]),
    CAST(:handlers AS text[]), CAST(:elements AS integer[])
) AS k (app, tenant, delivery, run, handler, element)
WHERE parked.app = k.app AND parked.tenant = k.tenant AND parked.delivery = k.delivery
AND parked.run = k.run AND parked.handler = k.handler AND parked.element = k.element;

-- name: release_lines(group_id, partitions, apps, tenants, topics, entities, handlers, runs, now)!
-- The first pair of each line becomes due where it only waited behind one that is gone; nobody waits for a redriven one.
-- A head is the first row of parked_line at or after its line's beginning. Asked for by equalities, it was looked up once
-- for each row that is parked, not for each line, or by another index through all that its tenant has parked.
WITH head AS MATERIALIZED (
    SELECT first.app, first.tenant, first.delivery, first.run, first.handler, first.element
    FROM unnest(
        CAST(:partitions AS integer[]), CAST(:apps AS text[]), CAST(:tenants AS text[]), CAST(:topics AS text[]),
        CAST(:entities AS text[]), CAST(:handlers AS text[]), CAST(:runs AS text[])
    ) AS l (partition, app, tenant, topic, entity, handler, run)
    CROSS JOIN LATERAL (
        SELECT * FROM parked AS p
        WHERE p.group_id = :group_id AND p.reason <> 'redriven'
        AND (p.partition, p.app, p.tenant, p.topic, p.entity, p.handler, p.run)
            >= (l.partition, l.app, l.tenant, l.topic, l.entity, l.handler, l.run)
        ORDER BY p.partition, p.app, p.tenant, p.topic, p.entity, p.handler, p.run, p.record_offset, p.element LIMIT 1
    ) AS first
    WHERE first.partition = l.partition AND first.app = l.app AND first.tenant = l.tenant AND first.topic = l.topic
    AND first.entity = l.entity AND first.handler = l.handler AND first.run = l.run AND first.due_at = 'infinity'
)
UPDATE parked SET due_at = :now, reason = 'due' FROM head
WHERE parked.app = head.app AND parked.tenant = head.tenant AND parked.delivery = head.delivery AND parked.run = head.run
AND parked.handler = head.handler AND parked.element = head.element AND parked.due_at = 'infinity';

-- name: remove_held(apps, tenants, deliveries, runs)!
-- Bodies that no parked or dead pair needs any more.
DELETE FROM held USING unnest(
    CAST(:apps AS text[]), CAST(:tenants AS text[]), CAST(:deliveries AS text[]), CAST(:runs AS text[])
) AS k (app, tenant, delivery, run)
WHERE held.app = k.app AND held.tenant = k.tenant AND held.delivery = k.delivery AND held.run = k.run
AND NOT EXISTS (SELECT FROM parked AS p WHERE p.app = k.app AND p.tenant = k.tenant AND p.delivery = k.delivery AND p.run = k.run)
AND NOT EXISTS (
    SELECT FROM dead AS d
    WHERE d.app = k.app AND d.tenant = k.tenant AND d.delivery = k.delivery AND d.run = k.run AND d.discarded_at IS NULL
);

-- name: transaction()$
-- What this transaction is called, for whoever does not hear of its end.
SELECT CAST(pg_current_xact_id() AS text);

-- name: status(transaction)$
-- What became of it: 'committed', 'aborted' or 'in progress'; null where that is forgotten.
SELECT pg_xact_status(CAST(CAST(:transaction AS text) AS xid8));
