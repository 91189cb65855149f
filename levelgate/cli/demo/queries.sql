-- name: mirror_rows(app)
-- How many entities the mirror tables have, by kind.
SELECT kind, count(*) AS rows FROM mirror WHERE app = :app GROUP BY kind ORDER BY kind;

-- name: recorded_calls(ids, method, path)$
-- How many API calls of one kind are recorded with these deliveries, in whatever state their pairs are.
SELECT count(*) FROM (
    SELECT calls FROM handled WHERE delivery = ANY(CAST(:ids AS text[]))
    UNION ALL
    SELECT calls FROM parked WHERE delivery = ANY(CAST(:ids AS text[]))
    UNION ALL
    SELECT calls FROM dead WHERE delivery = ANY(CAST(:ids AS text[]))
) AS pairs, jsonb_array_elements(calls) AS call
WHERE call ->> 'method' = :method AND call ->> 'path' LIKE :path;
