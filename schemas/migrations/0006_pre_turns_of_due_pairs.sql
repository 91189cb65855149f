-- Due pairs are taken in turns between tenants: from one to the next along this index. Those that wait behind another
-- are not in it.
CREATE INDEX parked_turn ON parked (group_id, partition, app, tenant, due_at, record_offset, element)
WHERE due_at < 'infinity';
