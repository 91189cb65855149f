"""The image: what is in it, who runs it, and what it says."""

import json
import re

from tests.containers.conftest import IMAGE_USER, ROOT, docker

_LIST_PACKAGES = """
from importlib.metadata import distributions
print("\\n".join(f"{each.metadata['Name'].lower().replace('_', '-')}=={each.version}" for each in distributions()))
"""


def run(image, *arguments, options=(), **expectations) -> str:
    return docker("run", "--rm", "--network", "none", *options, image, *arguments, **expectations)


def test_its_entrypoint_is_the_command(image):
    assert "Usage: levelgate [OPTIONS] COMMAND" in run(image, "--help")


def test_it_runs_as_a_user_given_by_number_that_is_not_root(image):
    assert json.loads(docker("inspect", "--format", "{{json .Config.User}}", image)) == f"{IMAGE_USER}:{IMAGE_USER}"
    assert run(image, "-u", options=("--entrypoint", "id")).strip() == str(IMAGE_USER)


def test_it_runs_as_any_user_without_privileges_and_with_nothing_to_write_to(image):
    nothing = ("--user", "54321:54321", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
    assert "Usage: levelgate receiver" in run(image, "receiver", "--help", options=nothing)


def test_a_process_without_settings_stops_and_names_each_that_is_missing(image):
    said = run(image, "receiver", expect=2)
    for name in ("LEVELGATE_APPS", "LEVELGATE_DATABASE_URL", "LEVELGATE_SECRET_KEY", "LEVELGATE_TOKEN_KEYS"):
        assert name in said
    assert "Traceback" not in said


def test_it_holds_the_locked_packages_and_levelgate_alone(image):
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    locked = set(re.findall(r"^[a-z0-9.-]+==[^ ]+", lock, re.MULTILINE))
    held = set(run(image, "-c", _LIST_PACKAGES, options=("--entrypoint", "/opt/levelgate/bin/python")).split())
    ours = {each for each in held if each.startswith("levelgate==")}
    assert len(ours) == 1
    # The base image's own pip is seen by no Python of ours.
    assert held - ours <= locked
    # The lock is for all platforms: a few of its packages are for others only.
    assert len(locked - held) <= 2


def test_it_holds_the_files_that_the_code_reads(image):
    code = (
        "from schemas.samples import samples; from schemas.operations import OPERATIONS; "
        "from importlib.resources import files; "
        "print(len(samples()), len(OPERATIONS) > 0, any(files('schemas').joinpath('migrations').iterdir()))"
    )
    assert run(image, "-c", code, options=("--entrypoint", "python")).split() == ["83", "True", "True"]


def test_nothing_of_the_working_folder_but_the_product_is_sent_to_the_build(image, tmp_path):
    docker(
        "build", "--file", "-", "--output", f"type=local,dest={tmp_path}", str(ROOT), stdin="FROM scratch\nCOPY . /\n"
    )
    sent = {path.name for path in tmp_path.iterdir()}
    code = {"schemas", "levelgate", "ingest", "processors"}
    assert sent == code | {"pyproject.toml", "requirements.lock", "README.md", "LICENSE"}
    assert list(tmp_path.rglob("__pycache__")) == []
