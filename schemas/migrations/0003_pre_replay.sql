-- Replays: what each is of, how far it has come, and who publishes it.
CREATE TABLE replay (
    id text PRIMARY KEY,
    -- running: published, or interrupted where nobody has the lease · paused · finished: all is published · cancelled
    state text NOT NULL CHECK (state IN ('running', 'paused', 'finished', 'cancelled')),
    selection jsonb NOT NULL,
    -- What is left to read, with the ends that were set when it began.
    cursor jsonb NOT NULL,
    rate double precision NOT NULL,
    -- Deliveries that fitted when it was planned, and of them: published, too large for the topic, taken by retention.
    total bigint NOT NULL,
    published bigint NOT NULL DEFAULT 0,
    skipped bigint NOT NULL DEFAULT 0,
    lost bigint NOT NULL DEFAULT 0,
    -- One at a time publishes: who saves under another name, or too late, is refused.
    publisher text,
    lease_until timestamptz,
    last_error text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz
);

-- What became of a replay's pairs is counted now and then; live pairs pay nothing for that.
CREATE INDEX handled_run ON handled (run) WHERE run <> 'live';
CREATE INDEX parked_run ON parked (run) WHERE run <> 'live';
CREATE INDEX dead_run ON dead (run) WHERE run <> 'live';
-- The order in which dead letters are replayed.
CREATE INDEX dead_record ON dead (topic, partition, record_offset, handler, element) WHERE run = 'live' AND discarded_at IS NULL;
