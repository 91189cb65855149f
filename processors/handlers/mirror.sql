-- name: read_clock()$
-- The database's clock: one for all workers, so that of two reads the newer one can be told.
SELECT clock_timestamp();

-- name: keep(kind, app, tenant, id, body, read_at)!
-- What a read of the vendor brought, unless a newer read is kept already.
INSERT INTO mirror AS kept (kind, app, tenant, id, body, read_at)
VALUES (:kind, :app, :tenant, :id, CAST(:body AS jsonb), :read_at)
ON CONFLICT (kind, app, tenant, id) DO UPDATE
SET body = EXCLUDED.body, read_at = EXCLUDED.read_at
WHERE kept.read_at <= EXCLUDED.read_at;

-- name: remove(kind, app, tenant, id, read_at)!
-- It was gone at `read_at`; a newer read that found it stays.
DELETE FROM mirror
WHERE kind = :kind AND app = :app AND tenant = :tenant AND id = :id AND read_at <= :read_at;

-- name: look_up(kind, app, tenant, id)$
SELECT body FROM mirror WHERE kind = :kind AND app = :app AND tenant = :tenant AND id = :id;
