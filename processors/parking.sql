-- name: lines(group_id, partition)
-- Who waits on a partition number, and how many pairs each line holds. Redriven pairs join when they are taken.
SELECT app, tenant, topic, entity, handler, run, count(*) AS pairs
FROM parked WHERE group_id = :group_id AND partition = :partition AND reason <> 'redriven'
GROUP BY app, tenant, topic, entity, handler, run;

-- name: take_due(group_id, partitions, now, most)
-- The pairs whose time has come, oldest first; the lock is owning the partition.
SELECT p.app, p.tenant, p.delivery, p.run, p.handler, p.element, p.topic, p.partition, p.record_offset,
    p.reason, p.attempts, p.errors, p.calls, p.due_at, h.headers, h.body
FROM parked AS p JOIN held AS h USING (app, tenant, delivery, run)
WHERE p.group_id = :group_id AND p.partition = ANY(CAST(:partitions AS integer[])) AND p.due_at <= :now
ORDER BY p.due_at, p.record_offset, p.element LIMIT :most;

-- name: next_due(group_id, partitions)$
-- When the next pair's time comes.
SELECT min(due_at) FROM parked
WHERE group_id = :group_id AND partition = ANY(CAST(:partitions AS integer[])) AND due_at < 'infinity';

-- name: list_parked(app, tenant, type, handler, error, since, until, deliveries, most)
-- Parked pairs for the operator, the ones due first at the top; a null filter lets all pass.
SELECT app, tenant, delivery, run, handler, element, type, entity, topic, partition, record_offset, reason, attempts,
    NULLIF(due_at, 'infinity') AS due_at, parked_at, errors
FROM parked
WHERE (CAST(:app AS text) IS NULL OR app = :app) AND (CAST(:tenant AS text) IS NULL OR tenant = :tenant)
AND (CAST(:type AS text) IS NULL OR type = :type) AND (CAST(:handler AS text) IS NULL OR handler = :handler)
AND (CAST(:error AS text) IS NULL OR errors -> -1 ->> 'error' = :error)
AND (CAST(:since AS timestamptz) IS NULL OR parked_at >= :since)
AND (CAST(:until AS timestamptz) IS NULL OR parked_at < :until)
AND (CAST(:deliveries AS text[]) IS NULL OR delivery = ANY(CAST(:deliveries AS text[])))
ORDER BY parked.due_at, record_offset, element LIMIT :most;

-- name: count_parked()
-- How many pairs are parked, by reason.
SELECT reason, count(*) AS pairs FROM parked GROUP BY reason;

-- name: count_parked_of(group_id, partitions)
-- The same for some partition numbers: each worker exports its own.
SELECT reason, count(*) AS pairs FROM parked
WHERE group_id = :group_id AND partition = ANY(CAST(:partitions AS integer[])) GROUP BY reason;
