-- name: create(id, publisher, selection, cursor, rate, total, lease_s)
-- A replay that is about to be published.
INSERT INTO replay (id, state, selection, cursor, rate, total, publisher, lease_until)
VALUES (:id, 'running', CAST(:selection AS jsonb), CAST(:cursor AS jsonb), :rate, :total, :publisher, now() + make_interval(secs => :lease_s))
RETURNING *, true AS has_publisher;

-- name: find(id)
-- One replay as it stands.
SELECT *, COALESCE(lease_until > now(), false) AS has_publisher
FROM replay WHERE id = :id;

-- name: list_replays(most)
-- The newest ones.
SELECT *, COALESCE(lease_until > now(), false) AS has_publisher
FROM replay ORDER BY created_at DESC, id DESC LIMIT :most;

-- name: take(id, publisher, rate, not_tenants, lease_s, sources)
-- Become its publisher where nobody is; some tenants more may be left out from now on.
UPDATE replay SET state = 'running', publisher = :publisher, lease_until = now() + make_interval(secs => :lease_s),
    rate = COALESCE(CAST(:rate AS double precision), rate), last_error = NULL, waits_for = NULL, updated_at = now(),
    selection = selection || jsonb_build_object(
        'not_tenants', COALESCE(selection -> 'not_tenants', '[]') || to_jsonb(CAST(:not_tenants AS text[]))
    )
WHERE id = :id AND state = ANY(CAST(:sources AS text[])) AND (lease_until IS NULL OR lease_until <= now())
RETURNING *, true AS has_publisher;

-- name: save(id, publisher, cursor, published, skipped, lost, waits_for, lease_s)$
-- How far it has come; the state is only read, since others change it.
UPDATE replay SET cursor = CAST(:cursor AS jsonb), published = :published, skipped = :skipped, lost = :lost,
    waits_for = :waits_for,
    lease_until = now() + make_interval(secs => :lease_s), updated_at = now()
WHERE id = :id AND publisher = :publisher
RETURNING state;

-- name: release(id, publisher, error)!
UPDATE replay SET publisher = NULL, lease_until = NULL, last_error = :error, waits_for = NULL, updated_at = now()
WHERE id = :id AND publisher = :publisher;

-- name: change(id, before, after)
-- From one state to the next, unless somebody else was faster.
UPDATE replay SET state = :after, updated_at = now(),
    ended_at = CASE WHEN CAST(:after AS text) IN ('finished', 'cancelled') THEN now() ELSE ended_at END
WHERE id = :id AND state = :before
RETURNING *, COALESCE(lease_until > now(), false) AS has_publisher;

-- name: outcomes(ids)
-- What became of the pairs of some replays; a pair that crashed between its end and its record may be counted twice.
SELECT id,
    (SELECT count(*) FROM handled AS h WHERE h.run = id AND h.run <> 'live') AS done,
    (SELECT count(*) FROM parked AS p WHERE p.run = id AND p.run <> 'live') AS parked,
    (SELECT count(*) FROM dead AS d WHERE d.run = id AND d.run <> 'live') AS dead
FROM unnest(CAST(:ids AS text[])) AS wanted (id);

-- name: parked_by_tenant(id)
-- How many pairs of a replay are parked, of whom and why.
SELECT app, tenant, reason, count(*) AS pairs FROM parked WHERE run = :id AND run <> 'live' GROUP BY app, tenant, reason;

-- name: cancelled()
-- Cancelled replays of which something may still come: rows are deleted when nothing can (processors/days.py).
SELECT id FROM replay WHERE state = 'cancelled';
