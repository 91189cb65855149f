"""Rehearsals on a real Postgres and the simulator: nothing comes of them, and what they tell is so."""

import json
import sys

import pytest
from pydantic import SecretStr

from levelgate.cli.replays.rehearsal_options import RehearsalOptions
from levelgate.cli.replays.rehearsing import rehearse
from schemas.settings import Kafka
from tests.support.deliveries import delivery
from tests.support.highlevel import connect

LOCATION = "loc000000000000000001"
CONTACT = {"id": "con000000000000000001", "locationId": LOCATION, "firstName": "Ada", "email": "ada@example.com"}

HANDLERS = """
from levelgate import on

@on("ContactCreate", name="tag")
async def tag(event, ctx):
    contact = await ctx.api.contacts.get(event.id)
    await ctx.db.execute("INSERT INTO greeted VALUES ($1)", event.id)
    call = ctx.api.contacts._caller.call
    await call("contacts.{operation}", path={{"contactId": event.id}}, json={{"tags": [contact["email"], "{tag}"]}})
    await call("contacts.update-contact", path={{"contactId": event.id}}, json={{"source": "web"}})

@on("ContactDelete")
async def farewell(event, ctx):
    await ctx.api.contacts._caller.call("contacts.update-contact", path={{"contactId": event.id}}, json={{"dnd": True}})
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module of the two handlers, given what they do; its name."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(name, *, operation="add-tags", tag="new", text=HANDLERS):
        (tmp_path / f"{name}.py").write_text(text.format(operation=operation, tag=tag))
        monkeypatch.delitem(sys.modules, name, raising=False)
        return name

    return write


@pytest.fixture
async def settings(simulator, database_url, pool, module):
    await pool.execute("CREATE TABLE greeted (id text)")
    settings = simulator.settings.model_copy(
        update={"database_url": SecretStr(database_url), "handlers": (module("handlers_as_they_run"),)}
    )
    await connect(settings, simulator, LOCATION)
    simulator.put("contact", LOCATION, CONTACT)
    simulator.vendor.calls.clear()
    return settings


@pytest.fixture
def told(settings, capsys):
    """Rehearse deliveries; whether no difference was found, and the lines that were printed."""

    async def run(*records, as_json=True, **options):
        async def each():
            for record in records:
                yield record

        capsys.readouterr()
        is_equal = await rehearse(settings, each(), RehearsalOptions(**options), as_json=as_json)
        out = capsys.readouterr().out
        return is_equal, [json.loads(line) for line in out.splitlines()] if as_json else out

    return run


def event(wire, **fields):
    body = {"type": wire, "locationId": LOCATION, "id": CONTACT["id"], **fields}
    return delivery(Kafka(), type=wire, entity=CONTACT["id"], tenant=LOCATION, body=body)


async def tables(pool):
    """Every row of every table."""
    names = [
        row["name"] for row in await pool.fetch("SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'")
    ]
    assert "installation" in names
    return {name: await pool.fetch(f'SELECT * FROM "{name}"') for name in names}


async def test_a_dry_run_reads_and_writes_nothing_anywhere(told, pool, simulator):
    notice = {"appId": "66f0c1d2e3a4b5968778695a", "timestamp": "2099-01-01T00:00:00Z"}
    records = [
        event("UNINSTALL", **notice),
        event("ContactCreate"),
        event("INSTALL", companyId="another-company", **{**notice, "locationId": "loc000000000000000002"}),
        event("ContactDelete"),
        event("SomethingNew"),
    ]
    before = await tables(pool)

    _, (*pairs, last) = await told(*records, dry_run=True, allow_reads=True)

    assert [(p["type"], p["handler"].rpartition(".")[2], p["outcome"]) for p in pairs] == [
        ("UNINSTALL", "record_uninstall", "done"),
        ("ContactCreate", "mirror_contact", "done"),
        ("ContactCreate", "tag", "done"),
        ("INSTALL", "record_install", "done"),
        ("ContactDelete", "farewell", "done"),
        ("ContactDelete", "forget_contact", "done"),
    ]
    assert last["summary"] == {
        "events": 5,
        "events_without_handler": 1,
        "pairs": {"done": 6, "would_retry": 0, "would_be_dead": 0},
        "failed_after_unmade_read": 0,
        "writes": {"PUT /contacts/{contactId}": 2, "POST /contacts/{contactId}/tags": 1},
        "reads": {"made": 1, "answered_from_memory": 1, "not_made": 0},
    }
    assert await tables(pool) == before
    assert dict(simulator.vendor.calls) == {"GET /contacts/{contactId}": 1}


async def test_without_reads_the_vendor_is_not_asked_and_what_fails_for_it_is_told_apart(told, pool, simulator):
    before = await tables(pool)

    _, (mirror, tag, last) = await told(event("ContactCreate"), dry_run=True)

    assert (mirror["outcome"], mirror["calls"][0]["made"]) == ("done", False)
    assert (tag["outcome"], tag["error"], tag["failed_after_unmade_read"]) == ("would_retry", "KeyError", True)
    assert last["summary"]["reads"] == {"made": 0, "answered_from_memory": 0, "not_made": 2}
    assert await tables(pool) == before
    assert not simulator.vendor.calls


async def test_bodies_are_printed_only_where_they_are_asked_for(told):
    record = event("ContactCreate")
    for as_json in (True, False):
        _, without = await told(record, dry_run=True, allow_reads=True, as_json=as_json)
        _, with_body = await told(record, dry_run=True, allow_reads=True, with_body=True, as_json=as_json)

        assert "POST" in str(without)
        assert "ada@example.com" not in str(without)
        assert "ada@example.com" in str(with_body)


async def test_two_versions_are_compared_event_by_event(told, module, pool, simulator):
    before = await tables(pool)
    same = module("handlers_of_the_same")
    new_body = module("handlers_of_another_body", tag="lead")
    new_path = module("handlers_of_another_path", operation="remove-tags")
    records = [event("ContactDelete"), event("ContactCreate"), event("ContactUpdate")]

    is_equal, (last,) = await told(*records, compares=True, modules=(same,), allow_reads=True)
    assert is_equal
    assert (last["summary"]["equal"], last["summary"]["events_without_handler"]) == (2, 1)
    assert last["summary"]["calls"] == {"old": 4, "new": 4, "only_old": 0, "only_new": 0, "changed": 0}
    assert simulator.calls("GET /contacts/{contactId}") == 1, "both versions see one answer"

    is_equal, (differing, last) = await told(*records, compares=True, modules=(new_body,), allow_reads=True)
    assert not is_equal
    assert differing["delivery"] == records[1].envelope.id
    assert differing["calls"] == [
        {
            "difference": "changed",
            "method": "POST",
            "path": f"/contacts/{CONTACT['id']}/tags",
            "tenant": LOCATION,
            "query_names": [],
            "changes": [{"path": "body/tags/1"}],
        }
    ]
    assert last["summary"]["by_type"]["ContactCreate"] == {"equal": 0, "different": 1}

    is_equal, text = await told(*records, compares=True, modules=(new_path,), allow_reads=True, as_json=False)
    assert not is_equal
    assert f"only old  POST /contacts/{CONTACT['id']}/tags" in text
    assert f"only new  DELETE /contacts/{CONTACT['id']}/tags" in text
    assert "3 events: 1 equal, 1 different, 1 without a handler" in text
    assert await tables(pool) == before
    assert {name.split()[0] for name in simulator.vendor.calls} == {"GET"}


async def test_reads_are_compared_made_or_not(told, module):
    text = HANDLERS.replace("    await ctx.db", "    await ctx.api.contacts.get(event.id)\n    await ctx.db")
    more = module("handlers_that_read_more", text=text)

    for allow_reads in (True, False):
        is_equal, (differing, _) = await told(
            event("ContactCreate"), compares=True, modules=(more,), allow_reads=allow_reads
        )

        assert not is_equal
        assert [(each["difference"], each["method"]) for each in differing["calls"]] == [("only_new", "GET")]


async def test_rows_are_compared_by_what_writes_them(told, module):
    insert = 'execute("INSERT INTO greeted VALUES ($1)", event.id)'
    other_rows = module("handlers_of_other_rows", text=HANDLERS.replace(insert, insert.replace("id)", "id.upper())")))
    laid_out = module("handlers_laid_out", text=HANDLERS.replace("INSERT INTO greeted", "INSERT  INTO greeted"))
    compared = {"compares": True, "allow_reads": True}

    is_equal, (last,) = await told(event("ContactCreate"), modules=(laid_out,), **compared)
    assert is_equal
    assert (last["summary"]["statements"]["old"], last["summary"]["statements"]["new"]) == (1, 1)

    is_equal, (differing, _) = await told(event("ContactCreate"), modules=(other_rows,), **compared)
    assert (is_equal, differing["calls"]) == (False, [])
    assert differing["statements"] == [
        {"difference": "changed", "statement": "INSERT INTO greeted VALUES ($1)", "changes": [{"path": "args/0"}]}
    ]


async def test_a_comparison_of_nothing_is_not_equal(told, module):
    same = module("handlers_of_the_same")

    for records, why in (([event("Y")], "no chosen event has a handler"), ([], "no event was chosen")):
        is_equal, text = await told(*records, compares=True, modules=(same,), as_json=False)
        assert not is_equal
        assert f"nothing was compared: {why}" in text


async def test_a_version_that_fails_where_the_other_one_does_not_differs(told, module):
    failing = module("handlers_that_fail", text=HANDLERS.replace('json={{"dnd": True}}', 'json={{"dnd": True}}, x=1'))

    is_equal, (differing, _) = await told(event("ContactDelete"), compares=True, modules=(failing,))

    assert not is_equal
    assert differing["failures"] == {"old": [], "new": ["retry: TypeError"]}


async def test_events_are_told_in_the_order_in_which_they_were_read(told):
    records = [event("ContactDelete", firstName=str(n)) for n in range(20)]

    _, (*pairs, last) = await told(*records, dry_run=True)

    assert last["summary"]["events"] == 20
    assert [p["delivery"] for p in pairs if p["handler"].endswith("farewell")] == [r.envelope.id for r in records]
