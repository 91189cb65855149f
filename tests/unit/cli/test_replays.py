"""What `levelgate replay …` decides without a Kafka or a Postgres."""

import runpy

from levelgate.cli.replays import running


def test_processes_that_share_a_host_name_and_a_number_are_different_publishers():
    in_another_container = runpy.run_path(running.__file__)

    assert running.publisher_name() == running.publisher_name()
    assert in_another_container["publisher_name"]() != running.publisher_name()
