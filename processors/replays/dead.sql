-- name: clock()$
SELECT now();

-- name: dead_after(died_before, types, tenants, apps, deliveries, handlers, topic, partition, record_offset, handler, element, most)
-- The live run's dead letters after a key, with their bodies; a null filter lets all pass. Records that no receiver
-- wrote (levelgate.envelope) can't run, discarded ones have no body.
SELECT d.topic, d.partition, d.record_offset, d.handler, d.element, h.headers, h.body
FROM dead AS d JOIN held AS h USING (app, tenant, delivery, run)
WHERE d.run = 'live' AND d.discarded_at IS NULL AND d.handler <> 'levelgate.envelope' AND d.died_at < :died_before
AND (CAST(:types AS text[]) IS NULL OR d.type = ANY(CAST(:types AS text[])))
AND (CAST(:tenants AS text[]) IS NULL OR d.tenant = ANY(CAST(:tenants AS text[])))
AND (CAST(:apps AS text[]) IS NULL OR d.app = ANY(CAST(:apps AS text[])))
AND (CAST(:deliveries AS text[]) IS NULL OR d.delivery = ANY(CAST(:deliveries AS text[])))
AND (CAST(:handlers AS text[]) IS NULL OR d.handler = ANY(CAST(:handlers AS text[])))
AND (d.topic, d.partition, d.record_offset, d.handler, d.element)
> (CAST(:topic AS text), CAST(:partition AS integer), CAST(:record_offset AS bigint), CAST(:handler AS text), CAST(:element AS integer))
ORDER BY d.topic, d.partition, d.record_offset, d.handler, d.element LIMIT :most;
