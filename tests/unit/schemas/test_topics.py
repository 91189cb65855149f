import re
from datetime import timedelta

from schemas.catalogue import FAMILIES
from schemas.settings import Kafka
from schemas.topics import Topics, max_batch_bytes, max_message_bytes, max_record_bytes

TOPICS = Topics(Kafka(topic_prefix="highlevel"))
LAYOUT = {topic.name: topic for topic in TOPICS.layout(1024 * 1024)}


def test_each_family_has_a_topic_and_so_has_the_unknown_one():
    events = {name for name in LAYOUT if name.startswith("highlevel.events.")}
    assert events == {f"highlevel.events.{family}" for family in (*FAMILIES, "unknown")}
    assert TOPICS.events("contact") == "highlevel.events.contact"


def test_beside_the_events_there_are_quarantine_replay_and_dead_letters():
    others = {name for name in LAYOUT if not name.startswith("highlevel.events.")}
    assert others == {"highlevel.quarantine", "highlevel.replay", "highlevel.dead"}


def test_workers_read_all_topics_but_the_dead_letters():
    assert set(TOPICS.consumed()) == {name for name, topic in LAYOUT.items() if topic.consumed}
    assert set(LAYOUT) - set(TOPICS.consumed()) == {"highlevel.dead"}


def test_retention_is_what_the_broker_is_told():
    assert LAYOUT["highlevel.events.contact"].retention == timedelta(days=7)
    for topic in LAYOUT.values():
        assert topic.config["retention.ms"] == str(int(topic.retention.total_seconds()) * 1000)


def test_a_record_fits_into_a_batch_and_a_batch_into_what_the_broker_takes():
    for body in (1024, 1024 * 1024, 10 * 1024 * 1024):
        assert body < max_record_bytes(body) < max_batch_bytes(body) < max_message_bytes(body)
        assert {topic.config["max.message.bytes"] for topic in TOPICS.layout(body)} == {str(max_message_bytes(body))}


def test_names_are_ones_that_kafka_takes():
    assert all(re.fullmatch(r"[a-zA-Z0-9._-]{1,249}", name) for name in LAYOUT)


def test_a_topics_family_is_a_label_out_of_a_closed_set():
    assert {TOPICS.family(name) for name in LAYOUT} == {*FAMILIES, "unknown", "quarantine", "replay", "dead"}


def test_topics_of_another_prefix_are_other_topics():
    other = Topics(Kafka(topic_prefix="highlevel.events"))
    assert not set(other.consumed()) & set(TOPICS.consumed())
    assert {other.family(name) for name in other.consumed()} == {TOPICS.family(name) for name in TOPICS.consumed()}
