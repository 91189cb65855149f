"""The image of this tree, and the whole stack in containers; skipped, with the reason, where there is no engine."""

import os
import shutil
import subprocess
import uuid
from pathlib import Path

import msgspec
import pytest
import tomli_w

from levelgate.local.processes import free_port
from levelgate.simulator.keys import ensure_keys
from tests.support.keys import TOKEN_KEYS
from tests.support.webhooks import APP_ID

ROOT = Path(__file__).parents[2]
COMPOSE_FILE = ROOT / "deploy" / "compose.yaml"
IMAGE_USER = 10001

_BUILD_TIMEOUT_S = 240
_UP_TIMEOUT_S = 150
_DOCKER_TIMEOUT_S = 60

PORT_VARIABLES = {
    "kafka": "LEVELGATE_LOCAL_KAFKA_PORT",
    "postgres": "LEVELGATE_LOCAL_POSTGRES_PORT",
    "receiver": "LEVELGATE_RECEIVER__PORT",
    "receiver_metrics": "LEVELGATE_RECEIVER__METRICS_PORT",
    "worker": "LEVELGATE_WORKER__METRICS_PORT",
    "simulator": "LEVELGATE_SIMULATOR__PORT",
}


def docker(*arguments, environment=None, stdin=None, timeout_s=_DOCKER_TIMEOUT_S, expect=0) -> str:
    """Run `docker …` and return what it printed; fail with all that it said where it ends otherwise than expected."""
    done: subprocess.CompletedProcess[str] = subprocess.run(
        ["docker", *arguments],  # noqa: S607 -- wherever it is
        env={**os.environ, **(environment or {})},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == expect, f"docker {' '.join(map(str, arguments))} ended with {done.returncode}:\n{said}"
    return said if expect else done.stdout


def new_project() -> str:
    return f"levelgate-test-{uuid.uuid4().hex[:12]}"


def free_ports() -> dict[str, int]:
    return {part: free_port() for part in PORT_VARIABLES}


def port_environment(ports) -> dict[str, str]:
    return {variable: str(ports[part]) for part, variable in PORT_VARIABLES.items()}


class Compose(msgspec.Struct, frozen=True):
    """`docker compose` with this project's file, under a name of its own."""

    project: str
    environment: dict[str, str]

    def __call__(self, *arguments, timeout_s=_DOCKER_TIMEOUT_S) -> str:
        return docker(
            "compose",
            "--file",
            str(COMPOSE_FILE),
            "--project-name",
            self.project,
            *arguments,
            environment=self.environment,
            timeout_s=timeout_s,
        )

    def left(self) -> dict[str, list[str]]:
        """What there is of this project at the engine."""
        label = f"label=com.docker.compose.project={self.project}"
        listed = {
            "containers": docker("ps", "--all", "--quiet", "--filter", label),
            "volumes": docker("volume", "ls", "--quiet", "--filter", label),
            "networks": docker("network", "ls", "--quiet", "--filter", label),
        }
        return {kind: names.split() for kind, names in listed.items() if names.split()}


class Stack(msgspec.Struct, frozen=True):
    """The whole stack, up and healthy; the environment is that of a command on this machine."""

    compose: Compose
    ports: dict[str, int]
    command_environment: dict[str, str]

    def url(self, part: str) -> str:
        return f"http://localhost:{self.ports[part]}"


@pytest.fixture(scope="session", autouse=True)
def _engine():
    for asked in (["docker", "info"], ["docker", "compose", "version"]):
        try:
            done = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            pytest.skip(f"needs a Docker engine with compose: `{' '.join(asked)}` failed ({type(error).__name__})")
        if done.returncode:
            said = done.stderr.strip().splitlines()
            pytest.skip(f"needs a Docker engine with compose: {said[0] if said else ' '.join(asked)}")


@pytest.fixture(scope="session")
def image(_engine):
    """The image of this tree, built as compose builds it."""
    name = f"levelgate-test:{uuid.uuid4().hex[:12]}"
    Compose(new_project(), {"LEVELGATE_IMAGE": name})("build", timeout_s=_BUILD_TIMEOUT_S)
    yield name
    docker("image", "rm", "--force", name)


@pytest.fixture(scope="session")
def stack(image, simulator_keys, tmp_path_factory):
    """The whole stack, on free ports and with a folder of its own; in the end nothing of it may be left."""
    folder = tmp_path_factory.mktemp("local")
    shutil.copytree(simulator_keys, folder / "simulator")
    ports = free_ports()
    _write_settings(folder, ports)
    compose = Compose(
        new_project(),
        {
            "LEVELGATE_IMAGE": image,
            "LEVELGATE_LOCAL_FOLDER": str(folder),
            "LEVELGATE_LOCAL_USER": _give_to_an_ordinary_user(folder),
            **port_environment(ports),
        },
    )
    try:
        try:
            compose("up", "--wait", "--quiet-pull", timeout_s=_UP_TIMEOUT_S)
        except AssertionError as error:
            pytest.fail(f"{error}\n{compose('logs', '--no-color', '--tail', '30')}")
        yield Stack(compose, ports, {"LEVELGATE_CONFIG": str(folder / "levelgate.toml")})
    finally:
        compose("down", "--volumes", timeout_s=_UP_TIMEOUT_S)
    assert compose.left() == {}, "`docker compose down --volumes` left something"


def _write_settings(folder: Path, ports: dict[str, int]) -> None:
    keys = ensure_keys(folder / "simulator")
    settings = {
        "apps": {
            "demo": {
                "client_id": f"{APP_ID}-demo",
                "client_secret": "client-secret-of-the-tests",
                "ed25519_keys": [keys.ed25519_public_pem],
            }
        },
        "database_url": f"postgresql://levelgate:levelgate@localhost:{ports['postgres']}/levelgate",
        "secret_key": "secret-key-of-the-tests",
        "token_keys": TOKEN_KEYS,
        "kafka": {"bootstrap_servers": f"localhost:{ports['kafka']}"},
        "vendor": {
            "api_url": f"http://localhost:{ports['simulator']}",
            "consent_url": f"http://localhost:{ports['simulator']}/v2/oauth/chooselocation",
        },
        "receiver": {"host": "127.0.0.1", "public_url": f"http://localhost:{ports['receiver']}"},
        "simulator": {"url": f"http://localhost:{ports['simulator']}", "data_dir": str(folder / "simulator")},
    }
    file = folder / "levelgate.toml"
    file.touch(mode=0o600)
    file.write_text(tomli_w.dumps(settings), "utf-8")


def _give_to_an_ordinary_user(folder: Path) -> str:
    """Return the uid:gid that the containers run as, never root: a root's folder is given to the image's user."""
    if os.getuid() != 0:
        return f"{os.getuid()}:{os.getgid()}"
    for path in (folder, *folder.rglob("*")):
        os.chown(path, IMAGE_USER, IMAGE_USER)
    return f"{IMAGE_USER}:{IMAGE_USER}"
