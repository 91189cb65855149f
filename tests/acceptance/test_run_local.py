"""What a user sees of the whole: `levelgate run-local`, and a stack that is up. Real processes throughout."""

import asyncio
import json
import os
import signal
import time
import tomllib

import asyncpg
import pytest

from schemas.samples import samples
from schemas.settings import Worker
from tests.support.eventually import eventually
from tests.support.local_stack import LocalStackFolder

_BURST = 1500
_SAMPLES = len(samples())


@pytest.fixture(scope="module")
def stack(jars, tmp_path_factory):
    """A folder in which `run-local` has been run once, and what it said."""
    folder = LocalStackFolder(tmp_path_factory.mktemp("local"), jars)
    folder.first = asyncio.run(folder.run("run-local", "--native", "--once", "--json"))
    yield folder
    asyncio.run(folder.run("down"))
    assert folder.left_running() == []


@pytest.fixture(scope="class")
def up(stack):
    """The same, with all of it running in the background."""
    done = asyncio.run(stack.run("up", "--native"))
    assert done.code == 0, done.errors
    yield stack
    done = asyncio.run(stack.run("down"))
    assert done.code == 0, done.errors


def _assert_all_handled(summary):
    total = summary["total"]
    assert (total["sent"], total["accepted"], total["handled"]) == (_SAMPLES,) * 3, summary["not_handled"]
    assert sum(family["handled"] for family in summary["families"]) == _SAMPLES
    assert len(set(summary["deliveries"].values())) == _SAMPLES


def _nothing_is_left(stack):
    # Its ports are not looked at: by now another test's broker may have been given one of them.
    assert stack.left_running() == []


class TestRunLocal:
    async def test_the_first_start_installs_the_app_and_handles_every_sample(self, stack):
        assert stack.first.code == 0, stack.first.errors
        summary = stack.first.json()
        _assert_all_handled(summary)
        assert summary["installed_anew"]
        assert summary["locations"] == 13
        assert {"contact", "message", "invoice", "appointment"} <= set(summary["mirror_rows"])

    async def test_a_second_start_installs_nothing_and_ctrl_c_leaves_nothing(self, stack):
        began = time.monotonic()
        process = await stack.start("run-local", "--native", "--json")
        async with asyncio.timeout(90):
            summary = json.loads(await process.stdout.readline())
        took_s = time.monotonic() - began
        assert stack.open_ports(), "it stays up"

        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(60):
            _, errors = await process.communicate()

        assert process.returncode == 0, errors
        assert b"Traceback" not in errors
        _nothing_is_left(stack)
        _assert_all_handled(summary)
        assert not summary["installed_anew"]
        assert not set(summary["deliveries"].values()) & set(stack.first.json()["deliveries"].values())
        # Under 20 s on a machine of its own; tests share theirs.
        assert took_s < 60

    async def test_sigterm_in_the_middle_of_a_start_leaves_nothing(self, stack):
        process = await stack.start("run-local", "--native", "--once")
        await eventually(lambda: "kafka" in stack.open_ports(), within_s=60)

        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            _, errors = await process.communicate()

        # Python itself may print one of a callback that the signal came into; what counts is that all ends.
        assert b"stopping" in errors
        _nothing_is_left(stack)

    async def test_a_part_that_can_not_start_is_named_with_its_port_and_the_others_stop(self, stack):
        with_port_taken = await asyncio.start_server(lambda *_: None, "127.0.0.1", stack.ports["worker_metrics"])
        async with with_port_taken:
            done = await stack.run("run-local", "--native", "--once")

        assert done.code == 1
        assert f"port {stack.ports['worker_metrics']}, which worker needs, is taken" in done.errors
        assert "LEVELGATE_WORKER__METRICS_PORT" in done.errors
        assert "Traceback" not in done.errors
        _nothing_is_left(stack)


class TestOnAStackThatIsUp:
    async def test_a_sent_file_can_be_traced_to_its_api_calls(self, up):
        await up.run("simulate", "samples", "--write", "samples")
        sent = (await up.run("simulate", "send", "--json", "--fresh", "samples/TaskCreate-1.json")).json()
        assert (sent["status"], sent["outcome"]) == (200, "accepted")

        async def traced():
            return (await up.run("trace", sent["id"], "--json")).json()

        trace = await eventually(traced, lambda seen: seen["state"] == "handled", within_s=30)

        assert trace["id"] == sent["id"]
        assert (trace["app"], trace["type"]) == ("demo", "TaskCreate")
        assert [handler["state"] for handler in trace["handlers"]] == ["done"]
        assert trace["api_calls"][0]["method"] == "GET"
        assert trace["api_calls"][0]["status"] == 200

    async def test_a_wrong_signature_is_refused_and_an_unknown_delivery_is_said_to_be_one(self, up):
        body = up.folder / "body.json"
        body.write_text('{"type": "ContactCreate", "locationId": "ve9EPM428h8vShlRW1KT", "id": "c"}')
        refused = await up.run("simulate", "send", "--json", "--scheme", "wrong", "body.json")
        unknown = await up.run("trace", "no-such-delivery", "--json")

        assert refused.json() == {"status": 401, "outcome": "unauthenticated", "id": None}
        assert (unknown.code, unknown.output, unknown.errors) == (1, "", "unknown delivery\n")

    async def test_status_check_and_listings_answer_as_json(self, up):
        names = {part["part"] for part in (await up.run("status", "--json")).json()}
        assert names == {"kafka", "postgres", "simulator", "receiver", "worker"}
        check = (await up.run("check", "--json")).json()
        assert check["ok"], check["checks"]
        installs = (await up.run("installs", "list", "--json")).json()
        assert {"app", "tenant", "level", "company", "state"} <= set(installs[0])
        assert not any("token" in name for name in installs[0])
        assert (await up.run("parked", "--json")).json() == []
        assert (await up.run("dead", "list", "--json")).json() == []

    async def test_a_killed_worker_loses_nothing_and_repeats_nothing_that_was_recorded(self, up):
        table = tomllib.loads((up.folder / ".levelgate" / "levelgate.toml").read_text())
        database = await asyncpg.connect(table["database_url"])
        try:
            done_before = await database.fetchval("SELECT count(*) FROM handled")
            burst = await up.start("simulate", "burst", "--count", str(_BURST), "--json", "--timeout", "120")
            await eventually(
                lambda: database.fetchval("SELECT count(*) FROM handled"),
                lambda count: count > done_before + _BURST // 5,
                within_s=60,
            )
            (worker,) = [part for part in (await up.run("status", "--json")).json() if part["part"] == "worker"]
            os.kill(worker["pid"], signal.SIGKILL)
            await eventually(up.left_running, lambda seen: not any(line.endswith("worker") for line in seen))
            recorded = await database.fetch("SELECT app, delivery, handler, element FROM handled")
            again = await up.run("up", "--native")
            assert again.code == 0, again.errors
            async with asyncio.timeout(150):
                output, errors = await burst.communicate()
            result = json.loads(output)
            rows = await database.fetch(
                "SELECT app, delivery, handler, element, count(*) AS times FROM handled GROUP BY 1, 2, 3, 4"
            )
        finally:
            await database.close()

        assert burst.returncode == 0, errors
        assert len(recorded) < done_before + _BURST, "the kill came in the middle"
        assert (result["sent"], result["accepted"], result["states"]) == (_BURST, _BURST, {"handled": _BURST})
        # Updates of one contact that wait together are done by one read.
        assert _BURST // 2 < result["recorded_reads"] <= _BURST
        # In flight is what runs and what has ended and is not recorded yet: at most twice the concurrency.
        assert 0 <= result["ran_twice"] <= 2 * Worker().concurrency
        # A run that is kept is a row: what was recorded before the kill has one, and so did not run again.
        times = {(row["app"], row["delivery"], row["handler"], row["element"]): row["times"] for row in rows}
        assert all(times[tuple(row)] == 1 for row in recorded)
