-- name: claim(group_id, partition, worker)^
-- Take a partition number over: whoever owned it before is fenced from now on.
INSERT INTO partition_owner AS own (group_id, partition, worker, epoch, renewed_at)
VALUES (:group_id, :partition, :worker, 1, now())
ON CONFLICT (group_id, partition)
DO UPDATE SET worker = excluded.worker, epoch = own.epoch + 1, renewed_at = now()
RETURNING epoch;

-- name: end_former(group_id, partition, older_s)
-- End what the owner of a number still has open in Postgres, where it has been so for long: then it is frozen, and whoever
-- takes over waits for it. Postgres itself ends transactions that are idle, but calls a session active between the
-- preparation of a statement and its run, which asyncpg sends apart (seen: a take-over waited as long as the other slept).
SELECT count(pg_terminate_backend(a.pid)) FROM partition_owner AS own
JOIN pg_stat_activity AS a ON a.datname = current_database() AND a.application_name = left(own.worker, 63)
WHERE own.group_id = :group_id AND own.partition = :partition AND a.pid <> pg_backend_pid()
AND a.xact_start < now() - make_interval(secs => :older_s);

-- name: renew(group_id, partitions, epochs)
-- Confirm the numbers that are still ours; those that are missing from the answer are not.
-- Locked in the order of `hold`: a flush and a renewal of one worker come at the same time (seen: they deadlocked).
WITH locked AS MATERIALIZED (
    SELECT own.partition FROM partition_owner AS own
    JOIN unnest(CAST(:partitions AS integer[]), CAST(:epochs AS bigint[])) AS mine (partition, epoch)
    ON own.partition = mine.partition AND own.epoch = mine.epoch
    WHERE own.group_id = :group_id
    ORDER BY own.partition
    FOR NO KEY UPDATE OF own
)
UPDATE partition_owner AS own SET renewed_at = now()
FROM locked WHERE own.group_id = :group_id AND own.partition = locked.partition
RETURNING own.partition;

-- name: hold(group_id, partitions, epochs)
-- The numbers that are still ours, held so until the transaction ends: a take-over waits for it.
-- FOR SHARE, because FOR KEY SHARE does not stop the take-over's update (design 9.2: tried).
SELECT own.partition FROM partition_owner AS own
JOIN unnest(CAST(:partitions AS integer[]), CAST(:epochs AS bigint[])) AS mine (partition, epoch)
ON own.partition = mine.partition AND own.epoch = mine.epoch
WHERE own.group_id = :group_id
ORDER BY own.partition
FOR SHARE OF own;
