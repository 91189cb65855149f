-- For the workers' look at what was reconnected: each second, and mostly there is nothing to find.
CREATE INDEX installation_updated ON installation (updated_at);
CREATE INDEX parked_disconnected ON parked (group_id, partition, app, tenant)
WHERE reason = 'disconnected' AND due_at < 'infinity';
