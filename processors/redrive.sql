-- name: redrive(apps, tenants, deliveries, runs, handlers, elements, died_ats)
-- From dead to parked in one statement, so that no look-up finds a pair in neither. Attempts begin anew, errors and
-- calls stay. A pair that died anew since it was chosen, was moved by another or has no body is left alone. Locked in
-- the order of the key: redrives at once wait for each other instead of deadlocking.
WITH locked AS (
    SELECT d.app, d.tenant, d.delivery, d.run, d.handler, d.element
    FROM dead AS d JOIN unnest(
        CAST(:apps AS text[]), CAST(:tenants AS text[]), CAST(:deliveries AS text[]), CAST(:runs AS text[]),
        CAST(:handlers AS text[]), CAST(:elements AS integer[]), CAST(:died_ats AS timestamptz[])
    ) AS k (app, tenant, delivery, run, handler, element, died_at)
    USING (app, tenant, delivery, run, handler, element, died_at)
    WHERE d.discarded_at IS NULL AND EXISTS (
        SELECT FROM held AS h
        WHERE h.app = d.app AND h.tenant = d.tenant AND h.delivery = d.delivery AND h.run = d.run
    )
    ORDER BY d.app, d.tenant, d.delivery, d.run, d.handler, d.element
    FOR UPDATE OF d
),
moved AS (
    DELETE FROM dead USING locked AS l
    WHERE dead.app = l.app AND dead.tenant = l.tenant AND dead.delivery = l.delivery
    AND dead.run = l.run AND dead.handler = l.handler AND dead.element = l.element
    RETURNING dead.*
)
INSERT INTO parked (app, tenant, delivery, run, handler, element, group_id, topic, partition, record_offset, entity, type, reason, attempts, due_at, errors, calls, parked_at)
SELECT app, tenant, delivery, run, handler, element, group_id, topic, partition, record_offset, entity, type, 'redriven', 0, now(), errors, calls, now()
FROM moved
RETURNING app, tenant, delivery, run, handler, element;

-- name: count_untaken()$
-- How many redriven pairs no worker has run yet.
SELECT count(*) FROM parked WHERE reason = 'redriven';

-- name: outcomes(apps, tenants, deliveries, runs, handlers, elements)
-- What became of redriven pairs, counted. One that is in no table any more was dropped with its cancelled replay.
SELECT state, count(*) AS pairs FROM (
    SELECT CASE
        WHEN EXISTS (
            SELECT FROM dead AS d WHERE d.app = k.app AND d.tenant = k.tenant AND d.delivery = k.delivery
            AND d.run = k.run AND d.handler = k.handler AND d.element = k.element
        ) THEN 'dead'
        WHEN EXISTS (
            SELECT FROM parked AS p WHERE p.app = k.app AND p.tenant = k.tenant AND p.delivery = k.delivery
            AND p.run = k.run AND p.handler = k.handler AND p.element = k.element
        ) THEN 'waiting'
        WHEN EXISTS (
            SELECT FROM handled AS h WHERE h.delivery = k.delivery AND h.app = k.app AND h.tenant = k.tenant
            AND h.run = k.run AND h.handler = k.handler AND h.element = k.element
        ) THEN 'done'
        ELSE 'cancelled' END AS state
    FROM unnest(
        CAST(:apps AS text[]), CAST(:tenants AS text[]), CAST(:deliveries AS text[]), CAST(:runs AS text[]),
        CAST(:handlers AS text[]), CAST(:elements AS integer[])
    ) AS k (app, tenant, delivery, run, handler, element)
) AS each
GROUP BY state;

-- name: lock_partition(group_id, partition)
-- Keep the owner from writing until the transaction ends: it may be parking another pair of the same delivery.
SELECT FROM partition_owner WHERE group_id = :group_id AND partition = :partition FOR NO KEY UPDATE;

-- name: discard(apps, tenants, deliveries, runs, handlers, elements, died_ats)
-- The row stays as a trace, and so that a later copy of the delivery does not run.
UPDATE dead SET discarded_at = now() FROM unnest(
    CAST(:apps AS text[]), CAST(:tenants AS text[]), CAST(:deliveries AS text[]), CAST(:runs AS text[]),
    CAST(:handlers AS text[]), CAST(:elements AS integer[]), CAST(:died_ats AS timestamptz[])
) AS k (app, tenant, delivery, run, handler, element, died_at)
WHERE dead.app = k.app AND dead.tenant = k.tenant AND dead.delivery = k.delivery AND dead.run = k.run
AND dead.handler = k.handler AND dead.element = k.element AND dead.died_at = k.died_at AND dead.discarded_at IS NULL
RETURNING dead.app, dead.tenant, dead.delivery, dead.run;

-- name: remove_bodies(apps, tenants, deliveries, runs)
-- Headers and bodies that no parked pair, and no dead one that may be redriven, needs any more.
DELETE FROM held USING unnest(
    CAST(:apps AS text[]), CAST(:tenants AS text[]), CAST(:deliveries AS text[]), CAST(:runs AS text[])
) AS k (app, tenant, delivery, run)
WHERE held.app = k.app AND held.tenant = k.tenant AND held.delivery = k.delivery AND held.run = k.run
AND NOT EXISTS (
    SELECT FROM parked AS p
    WHERE p.app = k.app AND p.tenant = k.tenant AND p.delivery = k.delivery AND p.run = k.run
)
AND NOT EXISTS (
    SELECT FROM dead AS d
    WHERE d.app = k.app AND d.tenant = k.tenant AND d.delivery = k.delivery AND d.run = k.run AND d.discarded_at IS NULL
)
RETURNING held.app;
