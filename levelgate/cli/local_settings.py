"""The local stack's own settings file, `.levelgate/levelgate.toml`: written on the first start, then the user's.

Afterwards only two kinds of values are changed in it: ports, where a variable asks for others, and the address of the
stack's own database, which differs between the native and the compose stack. Secrets and edits stay.
"""

import base64
import os
import re
import secrets
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from levelgate.local.stack import PORT_VARIABLES, Ports
from levelgate.simulator.keys import SimulatorKeys
from schemas.errors import LevelgateError, Misconfigured
from schemas.ids import AppName
from schemas.settings import LOCAL_CONFIG, Settings, load_settings
from schemas.settings_sources import CONFIG_VARIABLE

FOLDER = LOCAL_CONFIG.parent
"""All that the local stack keeps, relative to the folder that commands are run in."""

DEMO_APP = AppName("demo")

_OWN_USER = "levelgate"
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_HIGHEST_PORT = 65535

VARIABLES = {
    **PORT_VARIABLES,
    "receiver": "LEVELGATE_RECEIVER__PORT",
    "receiver_metrics": "LEVELGATE_RECEIVER__METRICS_PORT",
    "worker_metrics": "LEVELGATE_WORKER__METRICS_PORT",
    "simulator": "LEVELGATE_SIMULATOR__PORT",
}
"""The environment variable behind each port of the local stack."""

_DEFAULTS = {
    **msgspec.to_builtins(Ports()),
    "receiver": 8080,
    "receiver_metrics": 9100,
    "worker_metrics": 9101,
    "simulator": 8090,
}

LocalPorts = Mapping[str, int]
"""A port by its name in `VARIABLES`."""


def choose_ports() -> LocalPorts:
    """Return the ports: those of the variables, else of the settings file, else the defaults.

    Raises Misconfigured where a variable holds no port.
    """
    ports = _DEFAULTS | _ports_of(_read())
    asked = {name: os.environ[variable] for name, variable in VARIABLES.items() if os.environ.get(variable)}
    bad = [name for name, value in asked.items() if not (value.isdecimal() and 0 < int(value) <= _HIGHEST_PORT)]
    if bad:
        raise Misconfigured([f"{VARIABLES[name]}: write a port, a number from 1 to {_HIGHEST_PORT}" for name in bad])
    ports |= {name: int(value) for name, value in asked.items()}
    if "kafka_controller" not in asked:
        ports["kafka_controller"] = ports["kafka"] + 1
    twice = {name for name, port in ports.items() if list(ports.values()).count(port) > 1}
    if twice:
        raise Misconfigured([f"{' and '.join(VARIABLES[name] for name in sorted(twice))} are the same port"])
    return ports


def foreign_database() -> str | None:
    """Return the Postgres of the user's own that the local stack shall use, or None: it starts one."""
    named = os.environ.get("LEVELGATE_DATABASE_URL") or _read().get("database_url")
    return named if isinstance(named, str) and not _is_own(named) else None


def ensure_settings(ports: LocalPorts, database_url: str, keys: SimulatorKeys) -> Settings:
    """Write the file where there is none, bring ports and database up to date, and return the settings.

    From here on this process and its children read this file, whatever else lies in the folder.
    Raises Misconfigured; LevelgateError where the simulator's keys are not those of the file.
    """
    before = LOCAL_CONFIG.read_text("utf-8") if LOCAL_CONFIG.is_file() else None
    if before is None:
        text = _new(ports, database_url, keys)
    else:
        text = _with_database(_with_ports(before, ports), database_url)
        if keys.ed25519_public_pem.strip() not in before:
            raise LevelgateError(
                f"{LOCAL_CONFIG} has other keys than the simulator in {FOLDER / 'simulator'}: one of them was deleted. "
                f"Delete {FOLDER} to start anew"
            )
    if text != before:
        fresh = LOCAL_CONFIG.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        fresh.touch(mode=0o600)
        fresh.write_text(text, "utf-8")
        fresh.replace(LOCAL_CONFIG)
    os.environ[CONFIG_VARIABLE] = str(LOCAL_CONFIG.resolve())
    return load_settings()


def demo_app(settings: Settings) -> AppName:
    """Return the app that the demo is about: the one called demo, else the first."""
    return DEMO_APP if DEMO_APP in settings.apps else min(settings.apps)


def overshadowing() -> str | None:
    """Return a sentence where other commands would read other settings than the local stack's."""
    if os.environ.get(CONFIG_VARIABLE) or not Path("levelgate.toml").is_file():
        return None
    return (
        f"levelgate.toml is not used by the local stack, which has its own settings in {LOCAL_CONFIG}; "
        f"to have other commands look at it too: export {CONFIG_VARIABLE}={LOCAL_CONFIG}"
    )


def _read() -> dict[str, Any]:
    try:
        return tomllib.loads(LOCAL_CONFIG.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise Misconfigured([f"the configuration file {LOCAL_CONFIG} is not TOML"]) from None


def _ports_of(table: dict[str, Any]) -> dict[str, int]:
    def group(name: str) -> dict[str, Any]:
        found = table.get(name)
        return found if isinstance(found, dict) else {}

    database = table.get("database_url")
    found = {
        "kafka": str(group("kafka").get("bootstrap_servers", "")).rpartition(":")[2],
        "postgres": urlsplit(database).port if isinstance(database, str) and _is_own(database) else None,
        "receiver": group("receiver").get("port"),
        "receiver_metrics": group("receiver").get("metrics_port"),
        "worker_metrics": group("worker").get("metrics_port"),
        "simulator": group("simulator").get("port"),
    }
    return {name: int(port) for name, port in found.items() if port is not None and str(port).isdecimal()}


def _is_own(database_url: str) -> bool:
    parts = urlsplit(database_url)
    return parts.username == _OWN_USER and parts.hostname in _LOOPBACK and parts.path == f"/{_OWN_USER}"


def _with_ports(text: str, ports: LocalPorts) -> str:
    old = _ports_of(tomllib.loads(text))
    changed = {str(port): str(ports[name]) for name, port in old.items() if ports[name] != port}
    return re.sub(r"((?:localhost|127\.0\.0\.1):|port = )(\d+)\b", lambda m: m[1] + changed.get(m[2], m[2]), text)


def _with_database(text: str, database_url: str) -> str:
    named = tomllib.loads(text).get("database_url")
    if not (isinstance(named, str) and _is_own(named) and _is_own(database_url)):
        return text
    return text.replace(f'"{named}"', f'"{database_url}"')


def _new(ports: LocalPorts, database_url: str, keys: SimulatorKeys) -> str:
    return _TEMPLATE.format(
        variables=", ".join(VARIABLES.values()),
        database_url=database_url,
        secret_key=secrets.token_urlsafe(32),
        token_keys="local:" + base64.b64encode(secrets.token_bytes(32)).decode(),
        app=DEMO_APP,
        app_id=secrets.token_hex(12),
        client_secret=secrets.token_urlsafe(24),
        provider_secret=secrets.token_urlsafe(24),
        ed25519_key=keys.ed25519_public_pem,
        rsa_key=keys.rsa_public_pem,
        **{f"{name}_port": port for name, port in ports.items()},
    )


_TEMPLATE = '''\
# The settings of the local stack, written on its first start. They are yours to change: they are not written again.
# Environment variables win over this file: LEVELGATE_SECRET_KEY, LEVELGATE_RECEIVER__PORT, …
# The stack's ports are also changed here by {variables}.

database_url = "{database_url}"
secret_key = "{secret_key}"
token_keys = "{token_keys}"
# Modules with your handlers:
# handlers = ["my_app.handlers"]
# Whether the built-in handlers keep the mirror tables:
sync = true

[apps.{app}]
client_id = "{app_id}-{app}"
client_secret = "{client_secret}"
provider_secret = "{provider_secret}"
# The simulator's keys, in place of HighLevel's.
ed25519_keys = ["""
{ed25519_key}"""]
rsa_keys = ["""
{rsa_key}"""]

[vendor]
# The simulator, in place of HighLevel.
api_url = "http://127.0.0.1:{simulator_port}"
consent_url = "http://localhost:{simulator_port}/v2/oauth/chooselocation"

[kafka]
bootstrap_servers = "127.0.0.1:{kafka_port}"

[receiver]
port = {receiver_port}
metrics_port = {receiver_metrics_port}
public_url = "http://localhost:{receiver_port}"

[worker]
metrics_port = {worker_metrics_port}
waiting_retry_s = 1
session_timeout_s = 10

[simulator]
port = {simulator_port}
url = "http://127.0.0.1:{simulator_port}"
receiver_url = "http://127.0.0.1:{receiver_port}"
'''
