-- name: find(id, app)
-- The index rows of a delivery, the first reading first; a null app lets all pass.
SELECT received_at, app, id, run, type, tenant, entity, topic, partition, record_offset, quarantine_reason, handlers, elements
FROM delivery
WHERE id = :id AND (CAST(:app AS text) IS NULL OR app = :app)
ORDER BY received_at, record_offset;

-- name: pairs(app, tenant, id)
-- What became of each of its pairs, in all runs. Parked and dead ones are found by the beginning of their keys.
SELECT run, handler, element, 'done' AS state, attempts, NULL AS errors, calls FROM handled
WHERE app = :app AND tenant = :tenant AND delivery = :id
UNION ALL
SELECT run, handler, element, 'parked', attempts, errors, calls FROM parked
WHERE app = :app AND tenant = :tenant AND delivery = :id
UNION ALL
SELECT run, handler, element, CASE WHEN discarded_at IS NULL THEN 'dead' ELSE 'discarded' END, attempts, errors, calls FROM dead
WHERE app = :app AND tenant = :tenant AND delivery = :id;

-- name: states(ids)
-- How many of some deliveries have a row, and in what state their pairs are.
WITH wanted AS (SELECT unnest(CAST(:ids AS text[])) AS id),
seen AS (
    SELECT DISTINCT ON (d.id) d.id, d.app, d.quarantine_reason, cardinality(d.handlers) * d.elements AS pairs
    FROM delivery AS d JOIN wanted USING (id) WHERE d.run = 'live' ORDER BY d.id
),
counted AS (
    SELECT s.id, s.quarantine_reason, s.pairs,
        (SELECT count(DISTINCT (h.handler, h.element)) FROM handled AS h WHERE h.delivery = s.id AND h.app = s.app AND h.run = 'live') AS done,
        (SELECT count(*) FROM parked AS p WHERE p.delivery = s.id AND p.app = s.app AND p.run = 'live') AS parked,
        (SELECT count(*) FROM dead AS x WHERE x.delivery = s.id AND x.app = s.app AND x.run = 'live') AS dead
    FROM seen AS s
)
SELECT id, CASE
    WHEN quarantine_reason IS NOT NULL THEN 'quarantined'
    WHEN dead > 0 THEN 'dead'
    WHEN parked > 0 THEN 'parked'
    WHEN done >= pairs THEN 'handled'
    ELSE 'accepted' END AS state
FROM counted;
