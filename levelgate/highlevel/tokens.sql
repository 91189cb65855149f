-- name: read_installation(app, tenant)^
-- One installation, and the clock its times are compared with.
SELECT app, tenant, level, company, state, access_token, refresh_token, expires_at, scopes, version,
       lease_until, retry_at, installed_at, updated_at, clock_timestamp() AS now
FROM installation WHERE app = :app AND tenant = :tenant;

-- name: list_installations(app)
-- All of one app, or of every app; the tokens stay where they are.
SELECT app, tenant, level, company, state, NULL::bytea AS access_token, NULL::bytea AS refresh_token, expires_at,
       scopes, version, lease_until, retry_at, installed_at, updated_at, clock_timestamp() AS now
FROM installation WHERE :app::text IS NULL OR app = :app ORDER BY app, tenant;

-- name: list_pending_locations(app, company)
-- The locations of a company that have no token yet.
SELECT tenant FROM installation
WHERE app = :app AND company = :company AND level = 'location' AND state IN ('pending', 'broken') ORDER BY tenant;

-- name: try_writing()!
-- Changes nothing, and fails where nothing could be changed (a read-only standby, a missing right or table).
UPDATE installation SET version = version WHERE false;

-- name: take_lease(app, tenant, version, lease_s)$
-- Write the intent to fetch tokens. The row's lock makes it one taker; the unchanged version says that all the
-- taker read of the row still holds, and a lease that runs is left alone.
UPDATE installation
SET version = version + 1, lease_until = clock_timestamp() + make_interval(secs => :lease_s)
WHERE app = :app AND tenant = :tenant AND version = :version
RETURNING version;

-- name: write_tokens(app, tenant, version, spent, access_token, refresh_token, expires_in_s, scopes)$
-- The fetched tokens, where the version is still the taker's. Or where the row was broken meanwhile over the very
-- refresh token that these came from: a taker that was frozen beyond its lease comes back with the good answer.
UPDATE installation
SET state = 'active', access_token = :access_token, refresh_token = :refresh_token,
    expires_at = clock_timestamp() + make_interval(secs => :expires_in_s),
    scopes = CASE WHEN :scopes::text[] = '{}' THEN scopes ELSE :scopes::text[] END,
    version = version + 1, lease_until = NULL, retry_at = NULL, updated_at = clock_timestamp()
WHERE app = :app AND tenant = :tenant
  AND (version = :version OR (state = 'broken' AND refresh_token = :spent::bytea))
RETURNING version;

-- name: end_lease(app, tenant, version, state, retry_in_s)$
-- Nothing was fetched: the stored tokens stay; the state may say why.
UPDATE installation
SET state = COALESCE(:state::text, state), version = version + 1, lease_until = NULL,
    retry_at = clock_timestamp() + make_interval(secs => :retry_in_s), updated_at = clock_timestamp()
WHERE app = :app AND tenant = :tenant AND version = :version
RETURNING version;

-- name: expire_access_token(app, tenant, version)$
-- The vendor refused it: the next one who asks fetches another.
UPDATE installation SET expires_at = clock_timestamp(), version = version + 1, updated_at = clock_timestamp()
WHERE app = :app AND tenant = :tenant AND version = :version AND lease_until IS NULL
RETURNING version;

-- name: store_grant(app, tenant, level, company, access_token, refresh_token, expires_in_s, scopes)!
-- A person consented: these tokens replace whatever was there.
INSERT INTO installation AS old
    (app, tenant, level, company, state, access_token, refresh_token, expires_at, scopes)
VALUES (:app, :tenant, :level, :company, 'active', :access_token, :refresh_token,
        clock_timestamp() + make_interval(secs => :expires_in_s), :scopes::text[])
ON CONFLICT (app, tenant) DO UPDATE
SET level = EXCLUDED.level, company = COALESCE(EXCLUDED.company, old.company), state = 'active',
    access_token = EXCLUDED.access_token, refresh_token = EXCLUDED.refresh_token,
    expires_at = EXCLUDED.expires_at, scopes = EXCLUDED.scopes, version = old.version + 1,
    lease_until = NULL, retry_at = NULL, installed_at = clock_timestamp(), uninstalled_at = NULL,
    updated_at = clock_timestamp();

-- name: hurry_locations(app, company)!
-- A company has a token (again): its locations need not wait any longer to ask for theirs.
UPDATE installation SET retry_at = NULL
WHERE app = :app AND company = :company AND level = 'location' AND retry_at IS NOT NULL;

-- name: record_installs(app, tenants, level, company, at)!
-- The vendor says that it is installed there: known from now on. Tokens that live are left alone, and their company
-- too; so is the version, since a fetch that runs meanwhile must be able to write what it got. A notice from before
-- the latest uninstall is void.
INSERT INTO installation AS old (app, tenant, level, company, state, installed_at)
SELECT :app, tenant, :level, :company, 'pending', COALESCE(:at::timestamptz, clock_timestamp())
FROM unnest(:tenants::text[]) AS tenant
ON CONFLICT (app, tenant) DO UPDATE
SET state = CASE old.state WHEN 'gone' THEN 'pending' ELSE old.state END,
    level = CASE old.state WHEN 'gone' THEN EXCLUDED.level ELSE old.level END,
    company = CASE old.state WHEN 'active' THEN COALESCE(old.company, EXCLUDED.company)
                             ELSE COALESCE(EXCLUDED.company, old.company) END,
    installed_at = GREATEST(old.installed_at, EXCLUDED.installed_at), uninstalled_at = NULL,
    retry_at = NULL, updated_at = clock_timestamp()
WHERE old.uninstalled_at IS NULL OR old.uninstalled_at <= EXCLUDED.installed_at;

-- name: record_uninstall(app, tenant, level, at)!
-- Erase the tokens. A notice from before the latest install is void: the vendor retries for days.
UPDATE installation
SET state = 'gone', access_token = NULL, refresh_token = NULL, expires_at = NULL, scopes = '{}',
    uninstalled_at = COALESCE(:at::timestamptz, clock_timestamp()),
    version = version + 1, lease_until = NULL, retry_at = NULL, updated_at = clock_timestamp()
WHERE app = :app AND tenant = :tenant AND level = :level
  AND installed_at <= COALESCE(:at::timestamptz, 'infinity');

-- name: doubt_locations(app, company, at)!
-- The agency uninstalled; whether its locations go along is not documented. Their access tokens are forgotten, so
-- that the next call asks the vendor, who knows; those that have nothing to ask with wait for an install.
UPDATE installation
SET state = CASE WHEN state = 'active' AND refresh_token IS NULL THEN 'pending' ELSE state END,
    access_token = NULL, expires_at = NULL, updated_at = clock_timestamp()
WHERE app = :app AND company = :company AND level = 'location' AND state <> 'gone'
  AND EXISTS (SELECT FROM installation AS agency WHERE agency.app = :app AND agency.tenant = :company
              AND agency.level = 'company' AND agency.installed_at <= COALESCE(:at::timestamptz, 'infinity'));
