-- name: release_disconnected(group_id, partitions, within_s, now, at_once, per_s)
-- The heads of disconnected tenants whose way to a token has opened lately become due: the first ones of each tenant
-- now, the rest at a pace. They are plain retries from then on, so that the next look does not move them again.
-- Of a company's change its locations profit too, whose rows it leaves alone.
-- What a flush of the ledger writes at the moment is skipped, and found by the next look: nobody waits for anybody.
WITH changed AS (
    SELECT app, tenant FROM installation WHERE updated_at > clock_timestamp() - make_interval(secs => :within_s)
    UNION
    SELECT l.app, l.tenant FROM installation AS c
    JOIN installation AS l ON l.app = c.app AND l.company = c.tenant AND l.level = 'location'
    WHERE c.updated_at > clock_timestamp() - make_interval(secs => :within_s) AND c.level = 'company'
), connected AS (
    -- As levelgate.highlevel.installations.next_step has it: there is a token, or something to get one with.
    SELECT i.app, i.tenant FROM changed JOIN installation AS i USING (app, tenant)
    LEFT JOIN installation AS c ON i.level = 'location' AND c.app = i.app AND c.tenant = i.company AND c.level = 'company'
    WHERE i.state <> 'gone' AND (
        (i.state = 'active' AND i.access_token IS NOT NULL AND i.expires_at > clock_timestamp())
        OR (
            (i.retry_at IS NULL OR i.retry_at <= clock_timestamp())
            AND ((i.state IN ('active', 'inactive') AND i.refresh_token IS NOT NULL) OR c.state = 'active')
        )
    )
), free AS (
    SELECT p.ctid AS at, p.app, p.tenant, p.record_offset, p.element FROM parked AS p JOIN connected USING (app, tenant)
    WHERE p.group_id = :group_id AND p.partition = ANY(CAST(:partitions AS integer[]))
    AND p.reason = 'disconnected' AND p.due_at < 'infinity'
    FOR UPDATE OF p SKIP LOCKED
), placed AS (
    SELECT at, row_number() OVER (PARTITION BY app, tenant ORDER BY record_offset, element) AS place FROM free
)
-- By ctid: thousands are parked within seconds, and a plan for the few of before joins them by key a million times.
-- A row that changed since it was locked is not found by it, and left to the next look.
UPDATE parked SET reason = 'due', due_at = least(
    due_at, CAST(:now AS timestamptz) + make_interval(secs => greatest(0, place - :at_once) / CAST(:per_s AS float8))
)
FROM placed WHERE parked.ctid = placed.at
RETURNING app, tenant;
