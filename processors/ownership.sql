-- name: claim(group_id, partition, worker)^
-- Take a partition number over: whoever owned it before is fenced from now on.
INSERT INTO partition_owner AS own (group_id, partition, worker, epoch, renewed_at)
VALUES (:group_id, :partition, :worker, 1, now())
ON CONFLICT (group_id, partition)
DO UPDATE SET worker = excluded.worker, epoch = own.epoch + 1, renewed_at = now()
RETURNING epoch;

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

-- name: owners(group_id)
-- Who owns which partition number, for status.
SELECT partition, worker, epoch, renewed_at FROM partition_owner WHERE group_id = :group_id ORDER BY partition;
