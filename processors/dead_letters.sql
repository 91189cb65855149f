-- name: list_dead(app, tenant, type, handler, most)
-- Dead pairs for the operator, the newest first; a null filter lets all pass.
SELECT app, tenant, delivery, run, handler, element, type, entity, topic, partition, record_offset, attempts, died_at, errors
FROM dead
WHERE (CAST(:app AS text) IS NULL OR app = :app) AND (CAST(:tenant AS text) IS NULL OR tenant = :tenant)
AND (CAST(:type AS text) IS NULL OR type = :type) AND (CAST(:handler AS text) IS NULL OR handler = :handler)
ORDER BY died_at DESC LIMIT :most;

-- name: count_dead()$
SELECT count(*) FROM dead;

-- name: unpublished(group_id, partitions, most)
-- Dead pairs that outside consumers have not been told of.
SELECT d.app, d.tenant, d.delivery, d.run, d.handler, d.element, d.attempts, d.errors, d.died_at, d.type, h.headers, h.body
FROM dead AS d JOIN held AS h USING (app, tenant, delivery, run)
WHERE d.group_id = :group_id AND d.partition = ANY(CAST(:partitions AS integer[])) AND d.published_at IS NULL
ORDER BY d.died_at LIMIT :most;

-- name: mark_published(apps, tenants, deliveries, runs, handlers, elements, died_ats)!
UPDATE dead SET published_at = now() FROM unnest(
    CAST(:apps AS text[]), CAST(:tenants AS text[]), CAST(:deliveries AS text[]), CAST(:runs AS text[]),
    CAST(:handlers AS text[]), CAST(:elements AS integer[]), CAST(:died_ats AS timestamptz[])
) AS k (app, tenant, delivery, run, handler, element, died_at)
WHERE dead.app = k.app AND dead.tenant = k.tenant AND dead.delivery = k.delivery AND dead.run = k.run
AND dead.handler = k.handler AND dead.element = k.element AND dead.died_at = k.died_at;
