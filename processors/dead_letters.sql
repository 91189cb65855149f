-- name: list_dead(app, tenant, type, handler, error, run, since, until, deliveries, most)
-- Dead pairs for the operator, the newest first; a null filter lets all pass.
SELECT app, tenant, delivery, run, handler, element, type, entity, topic, partition, record_offset, attempts, died_at, errors
FROM dead
WHERE discarded_at IS NULL
AND (CAST(:app AS text) IS NULL OR app = :app) AND (CAST(:tenant AS text) IS NULL OR tenant = :tenant)
AND (CAST(:type AS text) IS NULL OR type = :type) AND (CAST(:handler AS text) IS NULL OR handler = :handler)
AND (CAST(:error AS text) IS NULL OR errors -> -1 ->> 'error' = :error)
AND (CAST(:run AS text) IS NULL OR run = :run)
AND (CAST(:since AS timestamptz) IS NULL OR died_at >= :since)
AND (CAST(:until AS timestamptz) IS NULL OR died_at < :until)
AND (CAST(:deliveries AS text[]) IS NULL OR delivery = ANY(CAST(:deliveries AS text[])))
ORDER BY died_at DESC LIMIT :most;

-- name: count_dead(app, tenant, type, handler, error, run, since, until, deliveries)
-- How many pairs the same filter lets pass, and between which times they died; of ids that were given, which have any.
SELECT run, handler, type, COALESCE(errors -> -1 ->> 'error', '') AS error, count(*) AS pairs,
    min(died_at) AS first_died_at, max(died_at) AS last_died_at,
    array_agg(delivery) FILTER (WHERE CAST(:deliveries AS text[]) IS NOT NULL) AS deliveries
FROM dead
WHERE discarded_at IS NULL
AND (CAST(:app AS text) IS NULL OR app = :app) AND (CAST(:tenant AS text) IS NULL OR tenant = :tenant)
AND (CAST(:type AS text) IS NULL OR type = :type) AND (CAST(:handler AS text) IS NULL OR handler = :handler)
AND (CAST(:error AS text) IS NULL OR errors -> -1 ->> 'error' = :error)
AND (CAST(:run AS text) IS NULL OR run = :run)
AND (CAST(:since AS timestamptz) IS NULL OR died_at >= :since)
AND (CAST(:until AS timestamptz) IS NULL OR died_at < :until)
AND (CAST(:deliveries AS text[]) IS NULL OR delivery = ANY(CAST(:deliveries AS text[])))
GROUP BY run, handler, type, COALESCE(errors -> -1 ->> 'error', '')
ORDER BY pairs DESC, run, handler, type, error;

-- name: window_end(since, size)$
-- When the first pair died that is not among the next so many from a time on, whatever it is.
SELECT died_at FROM dead WHERE died_at >= :since ORDER BY died_at OFFSET :size LIMIT 1;

-- name: choose_dead(app, tenant, type, handler, error, run, since, until, deliveries)
-- What redrive and discard are about to move of a window, the oldest first. The times are bare comparisons, so that no
-- plan and no statistics lead past the index.
SELECT app, tenant, delivery, run, handler, element, group_id, partition, died_at
FROM dead
WHERE discarded_at IS NULL AND died_at >= :since AND died_at < :until
AND (CAST(:app AS text) IS NULL OR app = :app) AND (CAST(:tenant AS text) IS NULL OR tenant = :tenant)
AND (CAST(:type AS text) IS NULL OR type = :type) AND (CAST(:handler AS text) IS NULL OR handler = :handler)
AND (CAST(:error AS text) IS NULL OR errors -> -1 ->> 'error' = :error)
AND (CAST(:run AS text) IS NULL OR run = :run)
AND (CAST(:deliveries AS text[]) IS NULL OR delivery = ANY(CAST(:deliveries AS text[])))
ORDER BY died_at, record_offset, element, handler;

-- name: show_dead(delivery, app, handler)
-- All that is kept of a delivery's dead pairs, discarded ones too; their headers and body while these are needed.
SELECT d.app, d.tenant, d.delivery, d.run, d.handler, d.element, d.type, d.entity, d.topic, d.partition, d.record_offset,
    d.attempts, d.died_at, d.published_at, d.discarded_at, d.errors, d.calls, h.headers, h.body
FROM dead AS d LEFT JOIN held AS h USING (app, tenant, delivery, run)
WHERE d.delivery = :delivery AND (CAST(:app AS text) IS NULL OR d.app = :app)
AND (CAST(:handler AS text) IS NULL OR d.handler = :handler)
ORDER BY d.app, d.tenant, d.run, d.element, d.handler;

-- name: unpublished(group_id, partitions, most, apps, tenants, deliveries, runs, handlers, elements, died_ats)
-- Dead pairs that outside consumers have not been told of, but for the deaths that are named.
SELECT d.app, d.tenant, d.delivery, d.run, d.handler, d.element, d.attempts, d.errors, d.died_at, d.type, h.headers, h.body
FROM dead AS d JOIN held AS h USING (app, tenant, delivery, run)
WHERE d.group_id = :group_id AND d.partition = ANY(CAST(:partitions AS integer[])) AND d.published_at IS NULL
AND d.discarded_at IS NULL
AND NOT EXISTS (
    SELECT FROM unnest(
        CAST(:apps AS text[]), CAST(:tenants AS text[]), CAST(:deliveries AS text[]), CAST(:runs AS text[]),
        CAST(:handlers AS text[]), CAST(:elements AS integer[]), CAST(:died_ats AS timestamptz[])
    ) AS k (app, tenant, delivery, run, handler, element, died_at)
    WHERE d.app = k.app AND d.tenant = k.tenant AND d.delivery = k.delivery AND d.run = k.run
    AND d.handler = k.handler AND d.element = k.element AND d.died_at = k.died_at
)
ORDER BY d.died_at LIMIT :most;

-- name: mark_published(apps, tenants, deliveries, runs, handlers, elements, died_ats)!
UPDATE dead SET published_at = now() FROM unnest(
    CAST(:apps AS text[]), CAST(:tenants AS text[]), CAST(:deliveries AS text[]), CAST(:runs AS text[]),
    CAST(:handlers AS text[]), CAST(:elements AS integer[]), CAST(:died_ats AS timestamptz[])
) AS k (app, tenant, delivery, run, handler, element, died_at)
WHERE dead.app = k.app AND dead.tenant = k.tenant AND dead.delivery = k.delivery AND dead.run = k.run
AND dead.handler = k.handler AND dead.element = k.element AND dead.died_at = k.died_at;
