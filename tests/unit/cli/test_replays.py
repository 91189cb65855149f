"""What `levelgate replay …` decides without a Kafka or a Postgres."""

import runpy

import pytest

from levelgate.cli.connections import Unreachable
from levelgate.cli.replays import running
from levelgate.cli.replays.choosing import source_errors
from processors.replays.selection import Selection
from schemas.settings import Kafka, Settings


def test_processes_that_share_a_host_name_and_a_number_are_different_publishers():
    in_another_container = runpy.run_path(running.__file__)

    assert running.publisher_name() == running.publisher_name()
    assert in_another_container["publisher_name"]() != running.publisher_name()


@pytest.mark.parametrize(("source", "told"), [("topics", Unreachable), ("dead", TimeoutError)])
def test_kafka_is_not_blamed_for_what_is_read_from_postgres(source, told):
    settings = Settings.model_construct(kafka=Kafka())

    with pytest.raises(told), source_errors(settings, Selection(source=source)):
        raise TimeoutError
