"""A token for (app, tenant): the vendor is asked once however many ask us, and nothing that still works is lost."""

import asyncio
import contextlib
import json
import sys
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

from levelgate.highlevel import oauth
from levelgate.highlevel import tokens as token_store
from levelgate.highlevel.installations import Installation
from levelgate.highlevel.keyring import KeyRing
from levelgate.highlevel.oauth import Grant
from levelgate.highlevel.token_table import LEASE_S, TokenStoreAway, TokenTable
from schemas.errors import InstallationMissing, RateLimited, RefreshFailed
from schemas.ids import AppName, CompanyId, LocationId, TenantId
from schemas.settings import parse_token_keys
from tests.support.eventually import eventually
from tests.support.highlevel import our_side

APP = AppName("demo")
LOCATION = LocationId("loc000000000000000001")
TENANT = TenantId(LOCATION)
REFRESHES = "POST /oauth/token refresh_token"
EXCHANGES = "POST /oauth/locationToken"


@pytest.fixture
def settings(simulator, database_url):
    return simulator.settings.model_copy(update={"database_url": SecretStr(database_url)})


@pytest.fixture
async def ours(settings):
    async with our_side(settings) as ours:
        yield ours


@pytest.fixture
def tokens(ours):
    return ours.tokens


@pytest.fixture
def table(pool, settings):
    return TokenTable(pool, KeyRing(parse_token_keys(settings.token_keys)))


@pytest.fixture
def installed(simulator, tokens):
    """Install as consent does, and store what it gave: of a location, or of the agency in bulk."""

    async def install(location=None) -> Grant:
        answer = simulator.grant(location)
        grant = Grant(
            access_token=SecretStr(answer["access_token"]),
            refresh_token=SecretStr(answer["refresh_token"]),
            level="location" if location else "company",
            company=CompanyId(answer["companyId"]),
            location=LocationId(location) if location else None,
        )
        await tokens.store_grant(APP, grant)
        return grant

    return install


@pytest.fixture
def row(table):
    async def read(tenant=TENANT) -> Installation:
        found: Installation | None = await table.read(APP, tenant)
        assert found is not None
        return found

    return read


@pytest.fixture
def change(pool):
    async def execute(what: str, tenant: str = TENANT) -> None:
        await pool.execute(f"UPDATE installation SET {what} WHERE tenant = $1", tenant)

    return execute


@pytest.fixture
def age(change):
    """Let the stored access token be a day old."""

    async def expire(tenant: str = TENANT) -> None:
        await change("expires_at = now()", tenant)

    return expire


def works(simulator, token) -> bool:
    return simulator.vendor.grants.principal(token.get_secret_value()) is not None


def met(simulator) -> bool:
    """Whether the call has arrived that a fault was set for."""
    return not simulator.vendor.faults._waiting  # noqa: SLF001 -- no handle tells, and the call is under way


# What is stored


async def test_a_fresh_grant_is_handed_out_without_asking_the_vendor(tokens, installed, simulator):
    grant = await installed(LOCATION)
    assert await tokens.access_token(APP, TENANT) == grant.access_token
    assert simulator.calls(REFRESHES) == 0


async def test_no_token_stands_in_the_database_as_it_is(pool, installed):
    grant = await installed(LOCATION)
    stored = bytes(await pool.fetchval("SELECT access_token || refresh_token FROM installation"))
    assert grant.access_token.get_secret_value().encode() not in stored
    assert grant.refresh_token is not None
    assert grant.refresh_token.get_secret_value().encode() not in stored


async def test_a_stale_token_is_refreshed_and_what_came_is_kept(tokens, installed, simulator, age, row, table):
    grant = await installed(LOCATION)
    await age()
    token = await tokens.access_token(APP, TENANT)
    assert token != grant.access_token
    assert works(simulator, token)
    assert simulator.calls(REFRESHES) == 1
    stored = await row()
    assert table.access_token(stored) == token
    assert table.refresh_token(stored) != grant.refresh_token
    assert stored.good_for > timedelta(hours=23)


async def test_nothing_is_known_of_a_tenant_without_an_installation(tokens):
    with pytest.raises(InstallationMissing):
        await tokens.access_token(APP, TENANT)


async def test_an_app_that_the_settings_have_no_more_waits(tokens, pool, installed, age):
    await installed(LOCATION)
    await age()
    await pool.execute("UPDATE installation SET app = 'removed'")
    with pytest.raises(InstallationMissing):
        await tokens.access_token(AppName("removed"), TENANT)


async def test_a_token_under_a_missing_key_is_named_and_kept(settings, installed, simulator, row):
    await installed(LOCATION)
    other = settings.model_copy(update={"token_keys": SecretStr("new:" + "A" * 43 + "=")})
    async with our_side(other) as ours:
        with pytest.raises(RefreshFailed, match="'test'"):
            await ours.tokens.access_token(APP, TENANT)
    assert (await row()).state == "active"
    assert simulator.calls(REFRESHES) == 0


# Once, however many ask


async def test_many_processes_that_ask_at_once_make_one_refresh(settings, installed, simulator, age):
    await installed(LOCATION)
    await age()
    simulator.fault("slow", "/oauth/token", delay_s=0.3)
    async with contextlib.AsyncExitStack() as stack:
        sides = [await stack.enter_async_context(our_side(settings)) for _ in range(6)]
        asked = [side.tokens.access_token(APP, TENANT) for side in sides for _ in range(20)]
        got = await asyncio.gather(*asked)
    assert simulator.calls(REFRESHES) == 1
    assert len({token.get_secret_value() for token in got}) == 1
    assert works(simulator, got[0])


async def test_real_processes_make_one_refresh_too(settings, installed, simulator, age, request):
    await installed(LOCATION)
    await age()
    given = {
        "apps": {"demo": {"client_id": settings.apps[APP].client_id, "client_secret": "client-secret-of-the-tests"}},
        "database_url": settings.database_url.get_secret_value(),
        "secret_key": settings.secret_key.get_secret_value(),
        "token_keys": settings.token_keys.get_secret_value(),
        "vendor": {"api_url": simulator.url},
    }
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.support.ask_for_token",
            APP,
            TENANT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=request.config.rootpath,
        )
        for _ in range(3)
    ]
    async with asyncio.timeout(30):
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(json.dumps(given).encode() + b"\n")
        for process in processes:
            assert process.stdout is not None
            assert await process.stdout.readline() == b"ready\n"
        got = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))
    digests = {out.strip() for out, _ in got}
    assert len(digests) == 1
    assert len(digests.pop()) == 64
    assert simulator.calls(REFRESHES) == 1


async def test_a_cancelled_waiter_takes_nobody_along(tokens, installed, simulator, age):
    await installed(LOCATION)
    await age()
    simulator.fault("slow", "/oauth/token", delay_s=0.3)
    first, second = (asyncio.create_task(tokens.access_token(APP, TENANT)) for _ in range(2))
    await eventually(lambda: met(simulator))
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert works(simulator, await second)
    assert simulator.calls(REFRESHES) == 1


async def test_a_refresh_that_nobody_waits_for_any_more_is_still_kept(tokens, installed, simulator, age, row):
    await installed(LOCATION)
    await age()
    simulator.fault("slow", "/oauth/token", delay_s=0.2)
    waiter = asyncio.create_task(tokens.access_token(APP, TENANT))
    await eventually(lambda: met(simulator))
    waiter.cancel()
    await asyncio.wait({waiter})
    await tokens.aclose()
    assert (await row()).good_for > timedelta(hours=23)
    assert simulator.calls(REFRESHES) == 1


async def test_a_failed_flight_does_not_stay(tokens, installed, simulator):
    with pytest.raises(InstallationMissing):
        await tokens.access_token(APP, TENANT)
    await installed(LOCATION)
    assert works(simulator, await tokens.access_token(APP, TENANT))


async def test_those_who_wait_for_a_lease_hold_no_connection(tokens, installed, change, simulator, age):
    await installed(LOCATION)
    other = "loc000000000000000002"
    await installed(other)
    await age()
    await change("version = version + 1, lease_until = now() + interval '10 min'")
    waiting = [asyncio.create_task(tokens.access_token(APP, TENANT)) for _ in range(50)]
    assert works(simulator, await tokens.access_token(APP, TenantId(other)))
    assert not any(task.done() for task in waiting)
    await change("lease_until = now()")
    got = await asyncio.gather(*waiting)
    assert works(simulator, got[0])
    assert simulator.calls(REFRESHES) == 1


# Answers that get lost, leases that run out


async def test_a_lost_answer_is_repaired_within_the_grace(tokens, installed, simulator, age):
    await installed(LOCATION)
    await age()
    simulator.fault("lost", "/oauth/token")
    assert works(simulator, await tokens.access_token(APP, TENANT))
    assert simulator.calls(REFRESHES) == 2


async def test_a_dead_holders_lease_is_taken_over_with_the_same_old_token(
    tokens, ours, installed, simulator, age, row, table, change
):
    await installed(LOCATION)
    await age()
    stored = await row()
    assert await table.take_lease(stored) is not None
    spent = await oauth.refresh(
        ours.session,
        simulator.settings.vendor,
        simulator.settings.apps[APP],
        refresh_token=table.refresh_token(stored),
        level="location",
    )
    # The holder dies here, the vendor's answer in its memory.
    await change("lease_until = now()")
    assert await tokens.access_token(APP, TENANT) == spent.access_token
    assert table.refresh_token(await row()) == spent.refresh_token


async def test_a_lease_is_shorter_than_the_grace_and_longer_than_the_call():
    assert oauth.TOKEN_CALL_TIMEOUT_S < LEASE_S < 30 - oauth.TOKEN_CALL_TIMEOUT_S


async def test_only_one_takes_a_lease_and_only_it_writes(installed, age, row, table, simulator):
    grant = await installed(LOCATION)
    await age()
    stored = await row()
    taken = await asyncio.gather(*(table.take_lease(stored) for _ in range(5)))
    (version,) = [version for version in taken if version is not None]
    assert not await table.write_tokens(stored, version - 1, grant, keeps_refresh_token=True)
    assert await table.write_tokens(stored, version, grant, keeps_refresh_token=True)
    assert not await table.write_tokens(stored, version, grant, keeps_refresh_token=True)


async def test_a_holder_that_was_frozen_beyond_the_grace_still_saves_the_installation(
    tokens, ours, installed, simulator, age, row, table, change
):
    await installed(LOCATION)
    await age()
    await change("company = NULL")
    stored = await row()
    version = await table.take_lease(stored)
    grant = await oauth.refresh(
        ours.session,
        simulator.settings.vendor,
        simulator.settings.apps[APP],
        refresh_token=table.refresh_token(stored),
        level="location",
    )
    await change("lease_until = now()")
    simulator.clock.move(60)
    with pytest.raises(InstallationMissing):
        await tokens.access_token(APP, TENANT)
    assert (await row()).state == "broken"
    assert await table.write_tokens(stored, version, grant, keeps_refresh_token=True)
    assert await tokens.access_token(APP, TENANT) == grant.access_token


# What the vendor refuses


async def test_an_invalid_grant_without_a_company_breaks_the_installation(tokens, installed, simulator, age, row):
    await installed(LOCATION)
    simulator.uninstall(LOCATION)
    await age()
    for _ in range(3):
        with pytest.raises(InstallationMissing):
            await tokens.access_token(APP, TENANT)
    assert simulator.calls(REFRESHES) == 1
    assert (await row()).state == "broken"


async def test_an_invalid_grant_is_repaired_by_the_company(tokens, installed, simulator, age, change):
    await installed()
    await installed(LOCATION)
    await age()
    simulator.vendor.store.remove(
        "refresh", next(t for t, e in simulator.vendor.store.all("refresh") if e.tenant == LOCATION)
    )
    assert works(simulator, await tokens.access_token(APP, TENANT))
    assert (simulator.calls(REFRESHES), simulator.calls(EXCHANGES)) == (1, 1)


async def test_an_inactive_location_keeps_its_refresh_token_and_works_again(
    tokens, installed, simulator, age, row, table
):
    grant = await installed(LOCATION)
    await age()
    simulator.set_active(LOCATION, active=False)
    for _ in range(3):
        with pytest.raises(InstallationMissing):
            await tokens.access_token(APP, TENANT)
    assert simulator.calls(REFRESHES) == 1
    stored = await row()
    assert stored.state == "inactive"
    assert table.refresh_token(stored) == grant.refresh_token
    simulator.set_active(LOCATION, active=True)
    await tokens.record_install(APP, LOCATION, None)
    assert works(simulator, await tokens.access_token(APP, TENANT))
    assert (await row()).state == "active"


@pytest.mark.parametrize("failure", [(500, 3), (503, 3), (422, 1), (403, 1)])
async def test_any_other_failure_deletes_nothing_and_is_not_hammered(
    tokens, installed, simulator, age, row, table, change, failure
):
    status, tries = failure
    grant = await installed(LOCATION)
    await age()
    simulator.fault("error", "/oauth/token", status=status, times=tries)
    for _ in range(3):
        with pytest.raises(RefreshFailed):
            await tokens.access_token(APP, TENANT)
    assert simulator.calls(REFRESHES) == 0, "one more call would have worked"
    stored = await row()
    assert stored.state == "active"
    assert table.refresh_token(stored) == grant.refresh_token
    await change("retry_at = now()")
    assert works(simulator, await tokens.access_token(APP, TENANT))


async def test_a_429_of_the_token_endpoint_is_waited_out(tokens, installed, simulator, age, row):
    await installed(LOCATION)
    await age()
    simulator.fault("limit", "/oauth/token")
    with pytest.raises(RateLimited) as caught:
        await tokens.access_token(APP, TENANT)
    assert caught.value.after is not None
    stored = await row()
    assert stored.retry_at - stored.now > timedelta(seconds=5)


# Companies and their locations


async def test_a_bulk_install_knows_every_location_and_gives_it_a_token(tokens, simulator, row):
    wanted = [f"loc{number:018}" for number in range(130)]
    for location in wanted:
        simulator.install(location)
    answer = simulator.grant()
    grant = Grant(
        access_token=SecretStr(answer["access_token"]),
        refresh_token=SecretStr(answer["refresh_token"]),
        level="company",
        company=CompanyId(answer["companyId"]),
        is_bulk=True,
    )
    brought = await tokens.install_bulk(APP, grant)
    assert brought.locations >= 130
    listed = {installation.tenant: installation for installation in await tokens.installations(APP)}
    assert set(wanted) < set(listed)
    assert {listed[TenantId(location)].company for location in wanted} == {simulator.company}
    # The rate limit (100 in 10 s for the company) ends the eager exchanges; no location is lost by it.
    with_token = [each for each in listed.values() if each.level == "location" and each.state == "active"]
    assert brought.with_token == len(with_token) >= 50
    assert all(each.state in {"active", "pending"} for each in listed.values())


async def test_a_location_without_a_token_gets_one_through_its_company_whose_own_is_stale(
    tokens, installed, simulator, age
):
    await installed()
    simulator.install(LOCATION)
    await tokens.record_install(APP, LOCATION, CompanyId(simulator.company))
    await age(simulator.company)
    assert works(simulator, await tokens.access_token(APP, TENANT))
    assert (simulator.calls(REFRESHES), simulator.calls(EXCHANGES)) == (1, 1)


async def test_a_company_token_that_the_vendor_ended_early_is_refreshed_once(tokens, installed, simulator):
    grant = await installed()
    simulator.install(LOCATION)
    await tokens.record_install(APP, LOCATION, CompanyId(simulator.company))
    simulator.vendor.store.remove("access", grant.access_token.get_secret_value())
    assert works(simulator, await tokens.access_token(APP, TENANT))
    assert (simulator.calls(REFRESHES), simulator.calls(EXCHANGES)) == (1, 2)


async def test_without_a_refresh_token_it_is_exchanged_again(settings, tokens, installed, simulator, age):
    simulator.vendor.grants.exchange_gives_refresh_token = False
    await installed()
    simulator.install(LOCATION)
    await tokens.record_install(APP, LOCATION, CompanyId(simulator.company))
    first = await tokens.access_token(APP, TENANT)
    await age()
    async with our_side(settings) as other:
        second = await other.tokens.access_token(APP, TENANT)
    assert first != second
    assert simulator.calls(EXCHANGES) == 2
    assert simulator.calls(REFRESHES) == 0


async def test_a_location_that_the_company_has_not_installed_waits(tokens, installed, simulator):
    await installed()
    await tokens.record_install(APP, LOCATION, CompanyId(simulator.company))
    for _ in range(3):
        with pytest.raises(InstallationMissing):
            await tokens.access_token(APP, TENANT)
    assert simulator.calls(EXCHANGES) == 1


async def test_a_company_that_installs_later_is_enough(tokens, installed, simulator):
    await tokens.record_install(APP, LOCATION, CompanyId(simulator.company))
    with pytest.raises(InstallationMissing):
        await tokens.access_token(APP, TENANT)
    await installed()
    with pytest.raises(InstallationMissing):
        await tokens.access_token(APP, TENANT)
    simulator.install(LOCATION)
    await installed()
    assert works(simulator, await tokens.access_token(APP, TENANT))


async def test_a_location_and_a_company_of_one_id_do_not_wait_for_each_other(tokens):
    await tokens.record_install(APP, LOCATION, CompanyId(LOCATION))
    async with asyncio.timeout(5):
        with pytest.raises(InstallationMissing):
            await tokens.access_token(APP, TENANT)


# Installs and uninstalls


async def test_an_install_notice_leaves_live_tokens_alone(tokens, installed, row):
    grant = await installed(LOCATION)
    before = await row()
    await tokens.record_install(APP, LOCATION, CompanyId("another company"))
    assert await tokens.access_token(APP, TENANT) == grant.access_token
    assert (await row()).company == before.company


async def test_an_uninstall_erases_the_tokens(tokens, installed, pool):
    await installed(LOCATION)
    await tokens.access_token(APP, TENANT)
    await tokens.record_uninstall(APP, TENANT, is_company=False)
    with pytest.raises(InstallationMissing):
        await tokens.access_token(APP, TENANT)
    record = await pool.fetchrow("SELECT * FROM installation")
    assert (record["state"], record["access_token"], record["refresh_token"]) == ("gone", None, None)


async def test_an_uninstall_that_another_process_handled_is_noticed_in_time(settings, tokens, installed, monkeypatch):
    await installed(LOCATION)
    await tokens.access_token(APP, TENANT)
    async with our_side(settings) as other:
        await other.tokens.record_uninstall(APP, TENANT, is_company=False)
    monkeypatch.setattr(token_store, "_RECHECK_S", 0)
    with pytest.raises(InstallationMissing):
        await tokens.access_token(APP, TENANT)


async def test_an_uninstall_during_a_refresh_wins(tokens, installed, simulator, age, row):
    await installed(LOCATION)
    await age()
    simulator.fault("slow", "/oauth/token", delay_s=0.2)
    asking = asyncio.create_task(tokens.access_token(APP, TENANT))
    await eventually(lambda: met(simulator))
    await tokens.record_uninstall(APP, TENANT, is_company=False)
    with pytest.raises(InstallationMissing):
        await asking
    assert (await row()).access_token is None


async def test_an_install_notice_during_a_refresh_does_not_lose_it(tokens, installed, simulator, age):
    await installed(LOCATION)
    await age()
    simulator.fault("slow", "/oauth/token", delay_s=0.2)
    asking = asyncio.create_task(tokens.access_token(APP, TENANT))
    await eventually(lambda: met(simulator))
    await tokens.record_install(APP, LOCATION, CompanyId(simulator.company))
    assert works(simulator, await asking)
    assert simulator.calls(REFRESHES) == 1


async def test_a_late_uninstall_notice_does_not_undo_a_newer_install(tokens, installed):
    grant = await installed(LOCATION)
    before = datetime.now(UTC) - timedelta(hours=1)
    await tokens.record_uninstall(APP, TENANT, is_company=False, at=before)
    assert await tokens.access_token(APP, TENANT) == grant.access_token


async def test_a_late_install_notice_does_not_undo_a_newer_uninstall(tokens, row):
    await tokens.record_install(APP, LOCATION, None)
    await tokens.record_uninstall(APP, TENANT, is_company=False)
    await tokens.record_install(APP, LOCATION, None, at=datetime.now(UTC) - timedelta(hours=1))
    assert (await row()).state == "gone"
    await tokens.record_install(APP, LOCATION, None)
    assert (await row()).state == "pending"


async def test_an_agencys_uninstall_lets_the_vendor_decide_on_each_location(tokens, installed, simulator, row):
    kept, removed = TenantId("loc00000000000000kept"), TenantId("loc000000000000removed")
    company = TenantId(simulator.company)
    await installed()
    for each in (kept, removed):
        await installed(each)
        await tokens.access_token(APP, each)
    simulator.uninstall(removed)
    await tokens.record_uninstall(APP, company, is_company=True)
    assert (await row(company)).state == "gone"
    assert works(simulator, await tokens.access_token(APP, kept))
    with pytest.raises(InstallationMissing):
        await tokens.access_token(APP, removed)
    assert (await row(removed)).state == "broken"


# Postgres away


async def test_the_probe_says_whether_postgres_takes_tokens(tokens, settings, database_url, pool):
    await tokens.probe()
    await pool.execute(f"ALTER DATABASE {database_url.rpartition('/')[2]} SET default_transaction_read_only = on")
    async with our_side(settings) as other:
        with pytest.raises(TokenStoreAway):
            await other.tokens.probe()


@pytest.mark.parametrize("recheck_s", [0, 300])
async def test_a_token_in_memory_goes_on_while_postgres_is_away(ours, tokens, installed, monkeypatch, recheck_s):
    monkeypatch.setattr(token_store, "_RECHECK_S", recheck_s)
    grant = await installed(LOCATION)
    await tokens.access_token(APP, TENANT)
    await ours.pool.close()
    assert await tokens.access_token(APP, TENANT) == grant.access_token
    with pytest.raises(TokenStoreAway):
        await tokens.access_token(APP, TenantId("unknown"))


# 401s


async def test_a_rejected_token_is_replaced_and_a_fresh_one_is_believed(tokens, installed, simulator):
    grant = await installed(LOCATION)
    assert await tokens.access_token(APP, TENANT) == grant.access_token
    assert await tokens.reject(APP, TENANT, grant.access_token)
    fresh = await tokens.access_token(APP, TENANT)
    assert fresh != grant.access_token
    assert await tokens.reject(APP, TENANT, grant.access_token), "an old one that another call still had"
    assert await tokens.access_token(APP, TENANT) == fresh
    assert not await tokens.reject(APP, TENANT, fresh), "it has just been fetched for a 401"
    assert simulator.calls(REFRESHES) == 1
