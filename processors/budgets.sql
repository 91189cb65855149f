-- name: load_budget(group_id, app, tenant)^
-- What the last owner left of one tenant's budget; ages and times from now on in seconds, by this database's clock.
SELECT interval_limit, interval_s, interval_left, day_limit, day_left, day_spent,
    EXTRACT(EPOCH FROM interval_until - clock_timestamp())::double precision AS full_in_s,
    EXTRACT(EPOCH FROM day_until - clock_timestamp())::double precision AS day_until_s,
    EXTRACT(EPOCH FROM clock_timestamp() - told_at)::double precision AS told_s_ago,
    EXTRACT(EPOCH FROM clock_timestamp() - saved_at)::double precision AS saved_s_ago
FROM budget WHERE group_id = :group_id AND app = :app AND tenant = :tenant;

-- name: save_budgets(group_id, apps, tenants, interval_limits, intervals_s, interval_lefts, full_in_s, day_limits, day_lefts, day_until_s, day_spents, told_s_ago)!
-- In the transaction that holds the partition numbers of these tenants: nobody else writes them meanwhile.
INSERT INTO budget (group_id, app, tenant, interval_limit, interval_s, interval_left, interval_until, day_limit, day_left, day_until, day_spent, told_at, saved_at)
SELECT :group_id, app, tenant, interval_limit, interval_s, interval_left, at + make_interval(secs => full_in_s),
    day_limit, day_left, at + make_interval(secs => day_until_s), day_spent, at - make_interval(secs => told_s_ago), at
FROM unnest(
    CAST(:apps AS text[]), CAST(:tenants AS text[]), CAST(:interval_limits AS bigint[]),
    CAST(:intervals_s AS double precision[]), CAST(:interval_lefts AS bigint[]), CAST(:full_in_s AS double precision[]),
    CAST(:day_limits AS bigint[]), CAST(:day_lefts AS bigint[]), CAST(:day_until_s AS double precision[]),
    CAST(:day_spents AS jsonb[]), CAST(:told_s_ago AS double precision[])
) AS b (app, tenant, interval_limit, interval_s, interval_left, full_in_s, day_limit, day_left, day_until_s, day_spent, told_s_ago),
clock_timestamp() AS at
ON CONFLICT (group_id, app, tenant)
DO UPDATE SET interval_limit = excluded.interval_limit, interval_s = excluded.interval_s,
    interval_left = excluded.interval_left, interval_until = excluded.interval_until, day_limit = excluded.day_limit,
    day_left = excluded.day_left, day_until = excluded.day_until, day_spent = excluded.day_spent,
    told_at = excluded.told_at, saved_at = excluded.saved_at;

-- name: list_budgets(app, tenant)
-- Saved budgets for the operator, with the pairs that wait for them; a null filter lets all pass.
SELECT b.*, clock_timestamp() AS now, COALESCE(w.pairs, 0) AS waiting
FROM budget AS b LEFT JOIN (
    SELECT group_id, app, tenant, count(*) AS pairs FROM parked
    WHERE reason = 'waiting' AND errors -> -1 ->> 'error' = 'RateLimited'
    AND (CAST(:app AS text) IS NULL OR app = :app) AND (CAST(:tenant AS text) IS NULL OR tenant = :tenant)
    GROUP BY group_id, app, tenant
) AS w USING (group_id, app, tenant)
WHERE (CAST(:app AS text) IS NULL OR b.app = :app) AND (CAST(:tenant AS text) IS NULL OR b.tenant = :tenant)
ORDER BY b.app, b.tenant, b.group_id;
