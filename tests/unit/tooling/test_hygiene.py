import asyncio
import logging
import os
import time

import pytest
import structlog
from blockbuster import BlockingError

from levelgate.migrations import migrations


async def test_a_blocking_call_in_a_loop_is_caught():
    with pytest.raises(BlockingError):
        migrations()  # Reads files.


async def test_the_tests_own_code_may_block():
    time.sleep(0)  # noqa: ASYNC251 -- the subject of the test


def test_no_setting_comes_from_outside(tmp_path):
    assert not [name for name in os.environ if name.startswith("LEVELGATE_")]
    assert tmp_path.samefile(".")


@pytest.mark.expected_errors("^here: it broke")
def test_an_expected_error_may_be_logged():
    logging.getLogger("here").error("it broke")


@pytest.mark.expected_errors
def test_all_errors_may_be_expected():
    structlog.get_logger("here").error("it broke")


def test_warnings_are_no_errors():
    logging.getLogger("here").warning("careful")


async def test_a_task_may_end_after_its_test():
    task = asyncio.create_task(asyncio.sleep(0))
    assert not task.done()
