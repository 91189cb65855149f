"""A tenant without a usable installation: its pairs wait, nobody else's do, and they go on when it has one again."""

import itertools
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from pydantic import SecretStr

from levelgate import on
from levelgate.events import ContactUpdate
from levelgate.highlevel.installations import Installation, Step, next_step
from levelgate.highlevel.oauth import Grant
from processors.parking import list_parked
from processors.reconnects import Reconnects
from processors.registry import handler_of
from schemas.ids import AppName, CompanyId, LocationId, TenantId
from tests.support.deliveries import delivery, publish, until
from tests.support.highlevel import connect, our_side
from tests.support.workers import quick, working

ONE, OTHER, *MORE = (f"loc-of-the-test-{n:04}" for n in range(6))
AN_HOUR_S = 3600.0
APP = AppName("demo")

pytestmark = pytest.mark.expected_errors("^aiokafka")


@pytest.fixture
def settings(settings, simulator):
    # One partition: all tenants are of the same one. An hour: nothing comes back by its own time.
    changes = {"group": f"reconnects-{settings.kafka.topic_prefix}", "waiting_retry_s": AN_HOUR_S}
    return simulator.point(quick(settings, **changes))


@pytest.fixture
def runs():
    return []


@pytest.fixture
def reader(runs):
    """A handler that reads the contact, and notes the deliveries for which it could."""

    @on(ContactUpdate, name="reader")
    async def read(event, ctx):
        await ctx.api.contacts.get(event.id)
        runs.append(ctx.delivery.id)

    return handler_of(read, built_in=False)


def updates(settings, simulator, tenant, count, *, entities=1):
    """Updates of contacts that the vendor knows."""
    records = []
    for number in range(count):
        entity = f"con{number % entities:04}of{tenant[-4:]:>011}"
        simulator.put("contact", tenant, {"id": entity, "locationId": tenant})
        records.append(delivery(settings.kafka, type="ContactUpdate", tenant=tenant, entity=entity))
    return records


def ids(records):
    return [record.envelope.id for record in records]


async def reasons(pool):
    return {(pair["tenant"], pair["reason"]) for pair in await list_parked(pool, most=1000)}


async def attempts(pool):
    return set(await pool.fetch("SELECT attempts FROM handled"))


async def test_events_from_before_the_token_run_in_order_as_soon_as_it_comes(settings, simulator, pool, runs, reader):
    records = updates(settings, simulator, ONE, 5)
    await publish(settings.kafka, records)
    async with working(settings, reader):
        await until(pool, records, "parked")
        assert await reasons(pool) == {(ONE, "disconnected"), (ONE, "behind")}
        await connect(settings, simulator, ONE)
        await until(pool, records, "handled")

    assert runs == ids(records)
    assert await attempts(pool) == {(1,)}
    assert await list_parked(pool) == []


async def test_a_revoked_tenant_waits_alone_and_goes_on_when_it_is_installed_again(
    settings, simulator, pool, runs, reader
):
    await connect(settings, simulator, ONE, OTHER)
    simulator.uninstall(ONE)
    await pool.execute("UPDATE installation SET expires_at = now() WHERE tenant = $1", ONE)
    revoked, others = (updates(settings, simulator, tenant, 20, entities=4) for tenant in (ONE, OTHER))
    await publish(settings.kafka, [each for pair in zip(revoked, others, strict=True) for each in pair])
    async with working(settings, reader):
        await until(pool, others, "handled")
        await until(pool, revoked, "parked")
        assert await reasons(pool) == {(ONE, "disconnected"), (ONE, "behind")}
        assert set(runs) == set(ids(others))
        await connect(settings, simulator, ONE)
        await until(pool, revoked, "handled")

    for entity in {record.entity for record in revoked}:
        of_entity = ids(record for record in revoked if record.entity == entity)
        assert [each for each in runs if each in of_entity] == of_entity


async def test_a_companys_token_brings_all_its_locations_back(settings, simulator, pool, runs, reader):
    records = [each for tenant in MORE for each in updates(settings, simulator, tenant, 2)]
    async with our_side(settings) as ours:
        answer = simulator.grant()
        company = CompanyId(answer["companyId"])
        for tenant in MORE:
            simulator.install(tenant)
            await ours.tokens.record_install(APP, LocationId(tenant), company)
        await publish(settings.kafka, records)
        async with working(settings, reader):
            await until(pool, records, "parked")
            # As after a refused exchange: the vendor is not to be asked for a while.
            await pool.execute("UPDATE installation SET retry_at = now() + interval '1 hour'")
            access_token, refresh_token = (SecretStr(answer[f"{kind}_token"]) for kind in ("access", "refresh"))
            grant = Grant(access_token=access_token, refresh_token=refresh_token, level="company", company=company)
            await ours.tokens.store_grant(APP, grant)
            await until(pool, records, "handled")

    assert sorted(runs) == sorted(ids(records))


async def test_a_tenant_that_was_reconnected_while_no_worker_ran_is_not_forgotten(
    settings, simulator, pool, runs, reader
):
    records = updates(settings, simulator, ONE, 3)
    await publish(settings.kafka, records)
    async with working(settings, reader):
        await until(pool, records, "parked")
    await connect(settings, simulator, ONE)
    await pool.execute("UPDATE installation SET updated_at = now() - interval '1 day'")
    async with working(settings, reader):
        await until(pool, records, "handled")

    assert runs == ids(records)


class Parked:
    """Pairs parked as a worker would, an hour from now, and the looks of their owner."""

    def __init__(self, pool):
        self._pool = pool
        self.owner = Reconnects(pool, group="group", active=lambda: {7: 1})

    async def put(self, tenant, pairs=1):
        await self._pool.execute(
            "INSERT INTO parked SELECT 'demo', $1, $1 || n, 'live', 'reader', 0, 'group', 'topic', 7, n, 'e' || n,"
            " 'Type', 'disconnected', 0, now() + interval '1 hour', '[]', '[]', now()"
            " FROM generate_series(1, $2::int) AS n",
            tenant,
            pairs,
        )

    async def released(self):
        rows = await self._pool.fetch("SELECT tenant FROM parked WHERE reason = 'due'")
        return {row["tenant"] for row in rows}


@pytest.fixture
def parked(pool):
    return Parked(pool)


async def put_installation(pool, row):
    await pool.execute(
        "INSERT INTO installation"
        " (app, tenant, level, company, state, access_token, refresh_token, expires_at, retry_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        *(getattr(row, name) for name in ("app", "tenant", "level", "company", "state", "access_token")),
        *(getattr(row, name) for name in ("refresh_token", "expires_at", "retry_at")),
    )


def installations(now):
    """An installation in every state that may matter, each of a tenant of its own."""
    hour = timedelta(hours=1)
    combinations = itertools.product(
        ["pending", "active", "inactive", "broken", "gone"],
        [(None, None), (b"access", now + hour), (b"access", now - hour)],
        [None, b"refresh"],
        [None, now - hour, now + hour],
        [None, "company-active", "company-gone", "company-unknown"],
    )
    for number, (state, (access_token, expires_at), refresh_token, retry_at, company) in enumerate(combinations):
        yield Installation(
            app=APP, tenant=TenantId(f"location-{number}"), level="location", company=company, state=state,
            access_token=access_token, refresh_token=refresh_token, expires_at=expires_at, scopes=(), version=0,
            lease_until=None, retry_at=retry_at, installed_at=now, updated_at=now, now=now,
        )  # fmt: skip


async def test_released_are_the_tenants_that_have_a_way_to_a_token_and_no_others(pool, parked):
    now = datetime.now(UTC)
    rows = list(installations(now))
    for state in ("active", "gone"):
        company = {"tenant": f"company-{state}", "level": "company", "state": state, "company": None}
        await put_installation(pool, msgspec.structs.replace(rows[0], **company))
    for row in rows:
        await put_installation(pool, row)
        await parked.put(row.tenant)
    await parked.put("location-that-nobody-knows")
    await parked.owner.look()

    wanted = {
        row.tenant
        for row in rows
        for step in [next_step(row)]
        if step in {Step.USE, Step.REFRESH} or (step is Step.EXCHANGE and row.company == "company-active")
    }
    assert await parked.released() == wanted


async def test_each_change_is_looked_at_for_a_while_and_old_ones_are_not(pool, parked):
    await parked.owner.look()
    late, old = (f"location-{name}" for name in ("late", "old"))
    now = datetime.now(UTC)
    row = next(row for row in installations(now) if next_step(row) is Step.USE)
    for tenant in (late, old):
        await put_installation(pool, msgspec.structs.replace(row, tenant=tenant))
    await pool.execute("UPDATE installation SET updated_at = now() - interval '1 minute' WHERE tenant = $1", old)
    await parked.owner.look()
    # They were being parked when the grant came, and what they waited for is there already.
    await parked.put(late)
    await parked.put(old)
    await parked.owner.look()

    assert await parked.released() == {late}


async def test_of_a_tenants_many_pairs_a_hundred_are_due_at_once_and_the_rest_at_a_pace(pool, parked):
    now = datetime.now(UTC)
    row = next(row for row in installations(now) if next_step(row) is Step.USE)
    for tenant, pairs in (("many", 10_000), ("few", 10)):
        await put_installation(pool, msgspec.structs.replace(row, tenant=tenant))
        await parked.put(tenant, pairs)
    await parked.owner.look()
    await parked.owner.look()

    first, *_ = due = await pool.fetch("SELECT tenant, due_at FROM parked ORDER BY due_at, record_offset")
    waits = {(each["tenant"], each["due_at"] - first["due_at"]) for each in due}
    assert [wait for tenant, wait in waits if tenant == "few"] == [timedelta(0)]
    of_many = sorted(each["due_at"] - first["due_at"] for each in due if each["tenant"] == "many")
    assert of_many[99] == timedelta(0)
    assert (of_many[119], of_many[-1]) == (timedelta(seconds=1), timedelta(seconds=495))
