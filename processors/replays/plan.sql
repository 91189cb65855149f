-- name: recent_calls(blocks, kept)
-- How many API calls a pair of each handler took on average, and whether one's may have been cut when it was recorded.
-- Of about so many blocks, from all over the last day: to read all of it would take long, and its first rows are those
-- of a few seconds, in which most handlers do not run.
SELECT handler, avg(jsonb_array_length(calls)) AS calls, bool_or(jsonb_array_length(calls) >= CAST(:kept AS integer)) AS is_at_least
FROM handled TABLESAMPLE SYSTEM ((
    SELECT least(100, 100.0 * CAST(:blocks AS integer) * CAST(current_setting('block_size') AS integer) / greatest(1, sum(pg_relation_size(i.inhrelid))))
    FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
    WHERE i.inhparent = CAST('handled' AS regclass)
    AND c.relname >= 'handled_' || to_char((now() - interval '1 day') AT TIME ZONE 'UTC', 'YYYYMMDD')
))
WHERE at > now() - interval '1 day'
GROUP BY handler;
