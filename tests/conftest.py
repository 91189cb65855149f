"""Hygiene of every test: no setting from outside, no blocking call in a loop, no error that nobody expected."""

import asyncio
import logging
import os
import re
import signal

import pytest
import structlog
from blockbuster import blockbuster_ctx
from hypothesis import configuration

pytest_plugins = ["tests.fixtures.stack", "tests.fixtures.simulator"]

TEST_PARTS = pytest.StashKey[str]()
"""What LEVELGATE_TEST_PARTS said before it was removed: native, containers, or nothing."""

_TASKS_END_WITHIN_S = 2


def pytest_configure(config):
    config.addinivalue_line(
        "markers",
        "expected_errors(*patterns): log records of level ERROR that match one of these are expected; none: all are",
    )
    config.stash[TEST_PARTS] = os.environ.get("LEVELGATE_TEST_PARTS", "")
    for name in [name for name in os.environ if name.startswith("LEVELGATE_")]:
        del os.environ[name]
    configuration.set_hypothesis_home_dir(config.rootpath / ".hypothesis")
    # A shell's background job ignores SIGINT, and so would the commands that tests interrupt: children inherit it.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Killed by a time limit, the session still ends its fixtures, and so the broker and the database.
    signal.signal(signal.SIGTERM, lambda *_: pytest.exit("terminated", returncode=143))


def pytest_collection_modifyitems(items):
    # In random order (pytest-randomly), but what takes no time first.
    items.sort(key=lambda item: "unit" not in item.path.parts)
    for item in items:
        if asyncio.iscoroutinefunction(getattr(item, "function", None)):
            item.fixturenames.insert(0, "_no_task_is_left")


@pytest.fixture(scope="session", autouse=True)
def _no_call_blocks_a_loop():
    with blockbuster_ctx(["schemas", "levelgate", "ingest", "processors"]) as blockbuster:
        for function in blockbuster.functions.values():
            # At each new connection asyncpg looks for a client certificate in the home folder.
            function.can_block_in("asyncpg/connect_utils.py", "_parse_connect_arguments")
        yield


@pytest.fixture(autouse=True)
def _no_setting_from_outside(tmp_path, monkeypatch):
    # Settings are also read from files of the working folder: a developer's own must not count.
    monkeypatch.chdir(tmp_path)


@pytest.fixture
async def _no_task_is_left():
    yield
    # aiokafka leaves a connection behind that it was opening while its client was closed.
    left = {
        task
        for task in asyncio.all_tasks() - {asyncio.current_task()}
        if getattr(task.get_coro(), "__qualname__", "") != "AIOKafkaConnection._read"
    }
    if left:
        _, left = await asyncio.wait(left, timeout=_TASKS_END_WITHIN_S)
    assert not left, f"tasks were left running: {left}"


@pytest.fixture(autouse=True)
def _no_unexpected_error_is_logged(request, caplog):
    """Let a test fail that logged an error; `@pytest.mark.expected_errors(regex, …)` names those it provokes."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["event"]),
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        cache_logger_on_first_use=False,
    )
    yield
    root.handlers[:], root.level = handlers, level
    structlog.contextvars.clear_contextvars()
    marker = request.node.get_closest_marker("expected_errors")
    patterns = (marker.args or (".*",)) if marker else ()
    unexpected = [
        text
        for phase in ("setup", "call")
        for record in caplog.get_records(phase)
        if record.levelno >= logging.ERROR
        for text in [f"{record.name}: {record.getMessage()}"]
        if not any(re.search(pattern, text, re.DOTALL) for pattern in patterns)
    ]
    assert not unexpected, "errors were logged:\n" + "\n".join(unexpected)
