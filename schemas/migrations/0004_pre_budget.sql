-- What is left of a tenant's API calls, as its partition's owner believed when it last wrote: for the next owner and
-- for `levelgate budget show`. Times are the database's, so that workers' clocks need not agree.
CREATE TABLE budget (
    group_id text NOT NULL,
    app text NOT NULL,
    tenant text NOT NULL,
    interval_limit bigint NOT NULL,
    interval_s double precision NOT NULL,
    interval_left bigint NOT NULL,
    -- From then on none of the calls made so far counts any more.
    interval_until timestamptz NOT NULL,
    day_limit bigint NOT NULL,
    day_left bigint NOT NULL,
    -- How long HighLevel's word about the day holds; null: its answers say nothing of the day, day_left is our count's.
    day_until timestamptz,
    -- The calls of the last 24 hours by the hour: [[age in seconds at saved_at, live, retry, replay], …]
    day_spent jsonb NOT NULL,
    -- When an answer's headers last told the limits; null: never yet, the limits are the settings'.
    told_at timestamptz,
    saved_at timestamptz NOT NULL,
    PRIMARY KEY (group_id, app, tenant)
) WITH (fillfactor = 70);
