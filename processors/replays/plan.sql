-- name: recent_calls()
-- How many API calls a pair of each handler took on average: of some of the last day's, since all would take long.
SELECT handler, avg(calls) AS calls
FROM (
    SELECT handler, jsonb_array_length(calls) AS calls FROM handled WHERE at > now() - interval '1 day' LIMIT 50000
) AS recent
GROUP BY handler;
