"""What the simulated vendor has answered survives SIGKILL: installs, tokens and entities."""

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

import aiohttp
import pytest

from levelgate.local.processes import free_port
from tests.support.eventually import eventually

LOCATION = "ve9EPM428h8vShlRW1KT"
ROOT = Path(__file__).parents[2]
CLIENT = {"client_id": "66f0c1d2e3a4b5968778695a-demo", "client_secret": "client-secret-of-the-tests"}
PROGRAM = """
import asyncio
from levelgate.simulator.run import run_simulator
from schemas.settings import load_settings
asyncio.run(run_simulator(load_settings()))
"""


@pytest.fixture
def environment(simulator_settings):
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "LEVELGATE_APPS__DEMO__CLIENT_ID": CLIENT["client_id"],
        "LEVELGATE_APPS__DEMO__CLIENT_SECRET": CLIENT["client_secret"],
        "LEVELGATE_DATABASE_URL": "postgresql://nobody@127.0.0.1:9/none",
        "LEVELGATE_SECRET_KEY": "secret-key-of-the-tests",
        "LEVELGATE_TOKEN_KEYS": simulator_settings.token_keys.get_secret_value(),
        "LEVELGATE_SIMULATOR__PORT": str(free_port()),
        "LEVELGATE_SIMULATOR__DATA_DIR": str(simulator_settings.simulator.data_dir),
        "LEVELGATE_SIMULATOR__RECEIVER_URL": "http://127.0.0.1:9",
    }


@contextlib.asynccontextmanager
async def simulator_process(environment):
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", PROGRAM, env=environment)
    url = f"http://127.0.0.1:{environment['LEVELGATE_SIMULATOR__PORT']}"
    try:
        async with aiohttp.ClientSession(url, timeout=aiohttp.ClientTimeout(total=10)) as http:
            await eventually(lambda: answers(http), within_s=30)
            yield process, http
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def answers(http):
    try:
        async with http.get("/readyz") as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


async def test_installs_tokens_and_entities_survive_a_kill(environment):
    query = {
        "response_type": "code",
        "client_id": CLIENT["client_id"],
        "redirect_uri": "http://localhost:8080/oauth/callback/demo",
        "location": LOCATION,
        "approve": "1",
    }
    async with simulator_process(environment) as (process, http):
        async with http.get("/v2/oauth/chooselocation", params=query, allow_redirects=False) as response:
            code = response.headers["Location"].partition("code=")[2]
        grant = {**CLIENT, "grant_type": "authorization_code", "code": code}
        async with http.post("/oauth/token", data=grant) as response:
            token = await response.json()
        headers = {"Authorization": f"Bearer {token['access_token']}", "Version": "2021-07-28"}
        fields = {"locationId": LOCATION, "email": "a@example.com"}
        async with http.post("/contacts/", json=fields, headers=headers) as response:
            contact = (await response.json())["contact"]
        process.send_signal(signal.SIGKILL)
        await process.wait()
    async with simulator_process(environment) as (process, http):
        async with http.get(f"/contacts/{contact['id']}", headers=headers) as response:
            assert (response.status, (await response.json())["contact"]) == (200, contact)
        grant = {**CLIENT, "grant_type": "refresh_token", "refresh_token": token["refresh_token"]}
        async with http.post("/oauth/token", data=grant) as response:
            assert response.status == 200
        async with http.get("/_simulator/status") as response:
            assert (await response.json())["apps"] == {"demo": {"installed": 1}}
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), timeout=10) == 0
