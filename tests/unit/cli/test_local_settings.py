import stat
import tomllib
from pathlib import Path

import pytest

from levelgate.cli.local_settings import (
    VARIABLES,
    choose_ports,
    demo_app,
    ensure_settings,
    foreign_database,
)
from schemas.errors import LevelgateError, Misconfigured
from schemas.settings import LOCAL_CONFIG

_URL = "postgresql://levelgate:first@127.0.0.1:5433/levelgate"


@pytest.fixture(autouse=True)
def _folder(monkeypatch):
    LOCAL_CONFIG.parent.mkdir()
    # ensure_settings names the file to this process and its children: undone after the test.
    monkeypatch.setenv("LEVELGATE_CONFIG", "")


def _ensure(keys, url=_URL):
    return ensure_settings(choose_ports(), url, keys)


def test_the_first_start_writes_settings_that_only_their_owner_reads(simulator_keys):
    settings = _ensure(simulator_keys)

    assert stat.S_IMODE(LOCAL_CONFIG.stat().st_mode) == 0o600
    assert demo_app(settings) == "demo"
    assert settings.apps["demo"].provider_secret is not None
    assert settings.apps["demo"].ed25519_keys[0].strip() == simulator_keys.ed25519_public_pem.strip()
    assert settings.vendor.api_url == settings.simulator.url
    assert settings.kafka.bootstrap_servers == "127.0.0.1:9092"


def test_two_first_starts_have_no_secret_in_common(simulator_keys):
    first = _ensure(simulator_keys)
    LOCAL_CONFIG.unlink()
    second = _ensure(simulator_keys)

    assert first.secret_key != second.secret_key
    assert first.token_keys != second.token_keys
    assert first.apps["demo"].client_secret != second.apps["demo"].client_secret


def test_a_later_start_keeps_secrets_and_edits(simulator_keys):
    _ensure(simulator_keys)
    LOCAL_CONFIG.write_text(LOCAL_CONFIG.read_text().replace("sync = true", "sync = false # mine"))
    before = LOCAL_CONFIG.read_text()

    settings = _ensure(simulator_keys)

    assert LOCAL_CONFIG.read_text() == before
    assert settings.sync is False


def test_a_port_that_a_variable_asks_for_is_changed_wherever_it_stands(simulator_keys, monkeypatch):
    _ensure(simulator_keys)
    before = LOCAL_CONFIG.read_text()
    monkeypatch.setenv(VARIABLES["receiver"], "18080")
    monkeypatch.setenv(VARIABLES["kafka"], "19092")
    _ensure(simulator_keys)
    monkeypatch.delenv(VARIABLES["receiver"])
    monkeypatch.delenv(VARIABLES["kafka"])

    settings = _ensure(simulator_keys)

    assert settings.receiver.port == 18080
    assert settings.receiver.public_url == "http://localhost:18080"
    assert settings.simulator.receiver_url == "http://127.0.0.1:18080"
    assert settings.kafka.bootstrap_servers == "127.0.0.1:19092"
    assert settings.simulator.port == 8090
    unchanged = [line for line in before.splitlines() if "8080" not in line and "9092" not in line]
    assert set(unchanged) <= set(LOCAL_CONFIG.read_text().splitlines())


def test_ports_can_be_swapped(simulator_keys, monkeypatch):
    _ensure(simulator_keys)
    monkeypatch.setenv(VARIABLES["receiver_metrics"], "9101")
    monkeypatch.setenv(VARIABLES["worker_metrics"], "9100")
    _ensure(simulator_keys)
    monkeypatch.delenv(VARIABLES["receiver_metrics"])
    monkeypatch.delenv(VARIABLES["worker_metrics"])

    settings = _ensure(simulator_keys)

    assert (settings.receiver.metrics_port, settings.worker.metrics_port) == (9101, 9100)


def test_kafkas_controller_listens_beside_it_unless_told_otherwise(monkeypatch):
    monkeypatch.setenv(VARIABLES["kafka"], "19092")

    assert choose_ports()["kafka_controller"] == 19093


@pytest.mark.parametrize("value", ["none", "0", "70000", "-1", "8080.5"])
def test_a_variable_that_holds_no_port_is_named(value, monkeypatch):
    monkeypatch.setenv(VARIABLES["kafka"], value)

    with pytest.raises(Misconfigured, match=VARIABLES["kafka"]) as raised:
        choose_ports()
    assert value not in str(raised.value) or value == "0"


def test_two_parts_on_one_port_are_refused(monkeypatch):
    monkeypatch.setenv(VARIABLES["receiver"], "8090")

    with pytest.raises(Misconfigured, match="are the same port"):
        choose_ports()


def test_the_stacks_own_database_may_move_and_a_foreign_one_stays(simulator_keys):
    _ensure(simulator_keys)
    moved = _ensure(simulator_keys, "postgresql://levelgate:second@127.0.0.1:5433/levelgate")
    assert "second" in moved.database_url.get_secret_value()
    assert foreign_database() is None

    theirs = "postgresql://me:mine@db.example.com/app"
    text = LOCAL_CONFIG.read_text().replace(moved.database_url.get_secret_value(), theirs)
    LOCAL_CONFIG.write_text(text)
    assert foreign_database() == theirs
    assert _ensure(simulator_keys).database_url.get_secret_value() == theirs


def test_other_keys_than_the_simulators_are_told(simulator_keys, tmp_path):
    _ensure(simulator_keys)
    text = LOCAL_CONFIG.read_text()
    key = simulator_keys.ed25519_public_pem.splitlines()[1]
    LOCAL_CONFIG.write_text(text.replace(key, "MCowBQYDK2VwAyEAi2HR1srL4o18O8BRa7gVJY7G7bupbN3H9AwJrHCDiOg="))

    with pytest.raises(LevelgateError, match="other keys than the simulator"):
        _ensure(simulator_keys)


def test_a_broken_file_is_named():
    LOCAL_CONFIG.write_text("this is not TOML")

    with pytest.raises(Misconfigured, match="is not TOML"):
        choose_ports()


def test_the_written_file_is_toml_with_a_line_for_handlers(simulator_keys):
    _ensure(simulator_keys)
    text = Path(LOCAL_CONFIG).read_text()

    assert "handlers" not in tomllib.loads(text)
    assert tomllib.loads(text.replace("# handlers =", "handlers ="))["handlers"] == ["my_app.handlers"]
