-- name: lines(group_id, partition)
-- Who waits on a partition number, and how many pairs each line holds. Redriven pairs join when they are taken.
SELECT app, tenant, topic, entity, handler, run, count(*) AS pairs
FROM parked WHERE group_id = :group_id AND partition = :partition AND reason <> 'redriven'
GROUP BY app, tenant, topic, entity, handler, run;

-- name: take_due(group_id, partitions, now, most, of_a_tenant, held_apps, held_tenants, replay_apps, replay_tenants)
-- The pairs whose time has come, in turns between tenants; the lock is owning the partition. The tenants are found by
-- going from one to the next along the index, each by what is due first of it, so that one's backlog costs the others
-- nothing. Of many tenants little is looked at of each, and bodies are read of what is taken alone.
WITH RECURSIVE tenant AS (
    SELECT first.* FROM unnest(CAST(:partitions AS integer[])) AS number (partition)
    CROSS JOIN LATERAL (
        SELECT p.partition, p.app, p.tenant, p.due_at FROM parked AS p
        WHERE p.group_id = :group_id AND p.partition = number.partition AND p.due_at < 'infinity'
        ORDER BY p.app, p.tenant, p.due_at LIMIT 1
    ) AS first
    UNION ALL
    SELECT next.* FROM tenant AS t
    CROSS JOIN LATERAL (
        SELECT p.partition, p.app, p.tenant, p.due_at FROM parked AS p
        WHERE p.group_id = :group_id AND p.partition = t.partition AND p.due_at < 'infinity'
        AND (p.app, p.tenant) > (t.app, t.tenant)
        ORDER BY p.app, p.tenant, p.due_at LIMIT 1
    ) AS next
),
wanted AS MATERIALIZED (
    SELECT t.partition, t.app, t.tenant,
        EXISTS (
            SELECT FROM unnest(CAST(:replay_apps AS text[]), CAST(:replay_tenants AS text[])) AS h (app, tenant)
            WHERE h.app = t.app AND h.tenant = t.tenant
        ) AS is_live_alone
    FROM tenant AS t
    WHERE t.due_at <= :now AND NOT EXISTS (
        SELECT FROM unnest(CAST(:held_apps AS text[]), CAST(:held_tenants AS text[])) AS h (app, tenant)
        WHERE h.app = t.app AND h.tenant = t.tenant
    )
)
SELECT p.*, h.headers, h.body FROM (
    SELECT p.* FROM wanted AS w
    CROSS JOIN LATERAL (
        SELECT d.*, row_number() OVER (ORDER BY d.due_at, d.record_offset, d.element) AS turn FROM (
            SELECT app, tenant, delivery, run, handler, element, topic, partition, record_offset,
                reason, attempts, errors, calls, due_at
            FROM parked AS p
            WHERE p.group_id = :group_id AND p.partition = w.partition AND p.app = w.app AND p.tenant = w.tenant
            AND p.due_at <= :now AND (p.run = 'live' OR NOT w.is_live_alone)
            ORDER BY p.due_at, p.record_offset, p.element
            LIMIT least(:of_a_tenant, (SELECT 1 + 4 * :most / count(*) FROM wanted))
        ) AS d
    ) AS p
    ORDER BY p.turn, p.due_at LIMIT :most
) AS p
JOIN held AS h ON h.app = p.app AND h.tenant = p.tenant AND h.delivery = p.delivery AND h.run = p.run
ORDER BY p.turn, p.due_at;

-- name: followers(group_id, partition, app, tenant, topic, entity, handler, run, record_offset, most)
-- Who waits behind a line's head, up to the first that has a time of its own; headers and body of the last one alone.
WITH later AS (
    SELECT delivery, element, record_offset, due_at FROM parked
    WHERE group_id = :group_id AND partition = :partition AND app = :app AND tenant = :tenant AND topic = :topic
    AND entity = :entity AND handler = :handler AND run = :run AND record_offset > :record_offset AND reason <> 'redriven'
    ORDER BY record_offset, element LIMIT :most
),
waiting AS (
    SELECT *, lead(waits) OVER (ORDER BY record_offset, element) IS NOT TRUE AS is_last FROM (
        SELECT delivery, element, record_offset,
            bool_and(due_at = 'infinity') OVER (ORDER BY record_offset, element) AS waits
        FROM later
    ) AS looked_at
)
SELECT w.delivery, w.element, w.record_offset, h.topic, h.partition, h.headers, h.body
FROM waiting AS w
LEFT JOIN held AS h ON w.is_last AND h.app = :app AND h.tenant = :tenant AND h.delivery = w.delivery AND h.run = :run
WHERE w.waits ORDER BY w.record_offset, w.element;

-- name: list_parked(app, tenant, type, handler, error, run, since, until, deliveries, most)
-- Parked pairs for the operator, the ones due first at the top; a null filter lets all pass.
SELECT app, tenant, delivery, run, handler, element, type, entity, topic, partition, record_offset, reason, attempts,
    NULLIF(due_at, 'infinity') AS due_at, parked_at, errors
FROM parked
WHERE (CAST(:app AS text) IS NULL OR app = :app) AND (CAST(:tenant AS text) IS NULL OR tenant = :tenant)
AND (CAST(:type AS text) IS NULL OR type = :type) AND (CAST(:handler AS text) IS NULL OR handler = :handler)
AND (CAST(:error AS text) IS NULL OR errors -> -1 ->> 'error' = :error)
AND (CAST(:run AS text) IS NULL OR run = :run)
AND (CAST(:since AS timestamptz) IS NULL OR parked_at >= :since)
AND (CAST(:until AS timestamptz) IS NULL OR parked_at < :until)
AND (CAST(:deliveries AS text[]) IS NULL OR delivery = ANY(CAST(:deliveries AS text[])))
ORDER BY parked.due_at, record_offset, element LIMIT :most;

-- name: count_parked(group_id, partitions)
-- How many pairs are parked on some partition numbers, by reason: each worker exports its own.
SELECT reason, count(*) AS pairs FROM parked
WHERE group_id = :group_id AND partition = ANY(CAST(:partitions AS integer[])) GROUP BY reason;
