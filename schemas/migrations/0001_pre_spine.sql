-- Installations and tokens, partition owners, the ledger of done pairs, parked and dead pairs, the delivery index, mirrors.

CREATE TABLE installation (
    app text NOT NULL,
    tenant text NOT NULL,
    level text NOT NULL CHECK (level IN ('location', 'company')),
    company text,
    -- pending: known, no token yet · active · inactive: the vendor says the location is not active · gone: uninstalled
    -- broken: the refresh token was refused for good; only an exchange or a reinstall helps
    state text NOT NULL CHECK (state IN ('pending', 'active', 'inactive', 'broken', 'gone')),
    access_token bytea,
    refresh_token bytea,
    expires_at timestamptz,
    scopes text[] NOT NULL DEFAULT '{}',
    -- Raised by every change of the tokens: who writes says which version it read (design 9.11).
    version bigint NOT NULL DEFAULT 0,
    lease_until timestamptz,
    -- After a failure the vendor is not asked again before this.
    retry_at timestamptz,
    -- The latest install and uninstall that are known, by the vendor's clock where it said when: notices come late.
    installed_at timestamptz NOT NULL DEFAULT now(),
    uninstalled_at timestamptz,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (app, tenant)
);
CREATE INDEX installation_company ON installation (app, company);

CREATE TABLE partition_owner (
    group_id text NOT NULL,
    partition integer NOT NULL,
    worker text NOT NULL,
    epoch bigint NOT NULL,
    renewed_at timestamptz NOT NULL,
    PRIMARY KEY (group_id, partition)
);

-- Done pairs. Its uniqueness comes from the one fenced owner of a partition, not from an index (design 9.5).
CREATE TABLE handled (
    at timestamptz NOT NULL,
    app text NOT NULL,
    tenant text NOT NULL,
    delivery text NOT NULL,
    run text NOT NULL,
    handler text NOT NULL,
    element integer NOT NULL,
    attempts integer NOT NULL,
    calls jsonb NOT NULL
) PARTITION BY RANGE (at);
CREATE INDEX handled_pair ON handled (delivery, app);
CREATE TABLE handled_default PARTITION OF handled DEFAULT;

-- Body and headers of a delivery that has parked or dead pairs, once.
CREATE TABLE held (
    app text NOT NULL,
    tenant text NOT NULL,
    delivery text NOT NULL,
    run text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    record_offset bigint NOT NULL,
    headers bytea NOT NULL,
    body bytea NOT NULL,
    held_at timestamptz NOT NULL,
    PRIMARY KEY (app, tenant, delivery, run)
);

CREATE TABLE parked (
    app text NOT NULL,
    tenant text NOT NULL,
    delivery text NOT NULL,
    run text NOT NULL,
    handler text NOT NULL,
    element integer NOT NULL,
    group_id text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    record_offset bigint NOT NULL,
    entity text NOT NULL,
    type text NOT NULL,
    -- retry · waiting: for an installation or the API's limits · behind: an earlier event of the entity is parked
    reason text NOT NULL,
    attempts integer NOT NULL,
    -- 'infinity' for a pair that waits behind an earlier one: only the head of a waiting line is ever due.
    due_at timestamptz NOT NULL,
    errors jsonb NOT NULL,
    calls jsonb NOT NULL,
    parked_at timestamptz NOT NULL,
    PRIMARY KEY (app, tenant, delivery, run, handler, element)
);
CREATE INDEX parked_due ON parked (group_id, partition, due_at);
CREATE INDEX parked_line ON parked (group_id, partition, app, tenant, topic, entity, handler, run, record_offset, element);

CREATE TABLE dead (
    app text NOT NULL,
    tenant text NOT NULL,
    delivery text NOT NULL,
    run text NOT NULL,
    handler text NOT NULL,
    element integer NOT NULL,
    group_id text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    record_offset bigint NOT NULL,
    entity text NOT NULL,
    type text NOT NULL,
    attempts integer NOT NULL,
    errors jsonb NOT NULL,
    calls jsonb NOT NULL,
    died_at timestamptz NOT NULL,
    -- When it went out on the dead letter topic.
    published_at timestamptz,
    PRIMARY KEY (app, tenant, delivery, run, handler, element)
);
CREATE INDEX dead_died ON dead (died_at);
CREATE INDEX dead_unpublished ON dead (group_id, partition) WHERE published_at IS NULL;

-- Every consumed delivery: what trace and the console search.
CREATE TABLE delivery (
    received_at timestamptz NOT NULL,
    app text NOT NULL,
    id text NOT NULL,
    run text NOT NULL,
    type text NOT NULL,
    tenant text NOT NULL,
    entity text,
    topic text NOT NULL,
    partition integer NOT NULL,
    record_offset bigint NOT NULL,
    quarantine_reason text,
    -- The handlers it was given to, each with its elements counted.
    handlers text[] NOT NULL,
    elements integer NOT NULL,
    PRIMARY KEY (received_at, app, id, run, topic, partition, record_offset)
) PARTITION BY RANGE (received_at);
CREATE INDEX delivery_id ON delivery (id, app);
CREATE TABLE delivery_default PARTITION OF delivery DEFAULT;

-- Current state of the vendor's entities, kept by the built-in handlers; one partition a kind.
CREATE TABLE mirror (
    kind text NOT NULL,
    app text NOT NULL,
    tenant text NOT NULL,
    id text NOT NULL,
    body jsonb NOT NULL,
    read_at timestamptz NOT NULL,
    PRIMARY KEY (kind, app, tenant, id)
) PARTITION BY LIST (kind);
CREATE TABLE mirror_contact PARTITION OF mirror FOR VALUES IN ('contact');
CREATE TABLE mirror_note PARTITION OF mirror FOR VALUES IN ('note');
CREATE TABLE mirror_task PARTITION OF mirror FOR VALUES IN ('task');
CREATE TABLE mirror_opportunity PARTITION OF mirror FOR VALUES IN ('opportunity');
CREATE TABLE mirror_appointment PARTITION OF mirror FOR VALUES IN ('appointment');
CREATE TABLE mirror_location PARTITION OF mirror FOR VALUES IN ('location');
CREATE TABLE mirror_user PARTITION OF mirror FOR VALUES IN ('user');
CREATE TABLE mirror_conversation PARTITION OF mirror FOR VALUES IN ('conversation');
CREATE TABLE mirror_message PARTITION OF mirror FOR VALUES IN ('message');
CREATE TABLE mirror_order PARTITION OF mirror FOR VALUES IN ('order');
CREATE TABLE mirror_invoice PARTITION OF mirror FOR VALUES IN ('invoice');
CREATE TABLE mirror_product PARTITION OF mirror FOR VALUES IN ('product');
CREATE TABLE mirror_price PARTITION OF mirror FOR VALUES IN ('price');
