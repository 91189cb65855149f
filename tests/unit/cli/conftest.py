"""What every test of the command needs: no trace of the command's own logging set-up, and settings to run with."""

import logging

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from levelgate.cli import root
from levelgate.simulator.keys import SimulatorKeys
from tests.support.keys import TOKEN_KEYS


@pytest.fixture(autouse=True)
def _library_logs_as_before():
    names = ("aiokafka", "aiohttp.access")
    levels = {name: logging.getLogger(name).level for name in names}
    yield
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture
def levelgate(monkeypatch):
    """Run the command in this process: `levelgate("apps", "--json", LEVELGATE_X="…")`."""

    def run(*arguments, **environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        return CliRunner().invoke(root, arguments, catch_exceptions=False)

    return run


@pytest.fixture
def some_settings() -> dict[str, str]:
    """Settings that are complete, of parts of which none answers."""
    return {
        "LEVELGATE_APPS__DEMO__CLIENT_ID": "66f0c1d2e3a4b5968778695a-demo",
        "LEVELGATE_APPS__DEMO__CLIENT_SECRET": "marked-client-secret",
        "LEVELGATE_DATABASE_URL": "postgresql://someone:marked-password@127.0.0.1:1/levelgate",
        "LEVELGATE_SECRET_KEY": "marked-secret-key-of-the-tests",
        "LEVELGATE_TOKEN_KEYS": TOKEN_KEYS,
        "LEVELGATE_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "LEVELGATE_SIMULATOR__URL": "http://127.0.0.1:1",
        "LEVELGATE_VENDOR__API_URL": "http://127.0.0.1:1",
    }


@pytest.fixture(scope="session")
def simulator_keys() -> SimulatorKeys:
    """Keys as the simulator has them, but made faster."""
    return SimulatorKeys(Ed25519PrivateKey.generate(), rsa.generate_private_key(public_exponent=65537, key_size=2048))
