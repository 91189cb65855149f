import contextlib
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from levelgate.cli.replays.hints import hints
from levelgate.cli.replays.showing import in_words
from processors.registry import Handler
from processors.replays.cursor import Range, merged
from processors.replays.selection import EVENT_FAMILIES, OffsetRange, Selection, resolved
from schemas.envelope import Envelope
from schemas.errors import LevelgateError
from schemas.ids import AppName, DeliveryId, EntityId, TenantId

AT = datetime(2026, 11, 24, 3, tzinfo=UTC)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
many = st.lists(texts, max_size=3).map(tuple)
times = st.none() | st.datetimes(timezones=st.just(UTC))
numbers = st.integers(min_value=0, max_value=10**18 - 1)
ranges = st.builds(
    lambda family, partition, first, count: OffsetRange(family, partition, first, count and first + count),
    st.sampled_from(EVENT_FAMILIES),
    st.integers(min_value=0, max_value=999_999_999),
    st.integers(min_value=0, max_value=10**17),
    st.none() | st.integers(min_value=1, max_value=10**17),
)
selections = st.builds(
    Selection,
    source=st.sampled_from(["topics", "dead"]),
    since=times,
    until=times,
    offsets=st.lists(ranges, max_size=3).map(tuple),
    types=many,
    tenants=many,
    not_tenants=many,
    entities=many,
    apps=many,
    deliveries=many,
    handlers=many,
    limit=st.none() | st.integers(min_value=1),
)
envelopes = st.builds(
    Envelope,
    id=st.sampled_from(["d-1", "d-2"]),
    type=st.sampled_from(["ContactCreate", "NoteCreate"]),
    app=st.sampled_from(["demo", "other"]),
    tenant=st.sampled_from(["t-1", "t-2"]),
    entity=st.none() | st.sampled_from(["c-1", "c-2"]),
    received_at=st.sampled_from([AT, AT + timedelta(hours=1)]),
)


@given(selections)
def test_a_selection_is_read_back_as_it_was_saved(selection):
    assert msgspec.json.decode(msgspec.json.encode(selection), type=Selection) == selection


@given(ranges)
def test_a_range_of_offsets_is_read_as_it_is_written(given_range):
    assert OffsetRange.of(str(given_range)) == given_range


@given(st.from_regex("[a-z-]{0,9}(:\\d{0,3}){0,3}(-\\d{0,3})?", fullmatch=True))
def test_any_text_is_a_range_that_reads_the_same_again_or_wrong(text):
    with contextlib.suppress(ValueError):
        assert OffsetRange.of(str(OffsetRange.of(text))) == OffsetRange.of(text)


@pytest.mark.parametrize(
    "text", ["contact", "contact:1", "nothing:1:2", "contact:1:9-8", "contact:1:-5", "contact:x:1"]
)
def test_a_range_that_can_not_be_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        OffsetRange.of(text)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30))))
def test_ranges_of_a_partition_are_read_once_and_in_order(chosen):
    found = merged(Range("contact", 1, *each) for each in chosen)

    read = [offset for each in found for offset in range(each.next, each.end)]
    assert read == sorted({offset for first, end in chosen for offset in range(first, end)})


@given(envelopes)
def test_an_empty_selection_means_every_event(envelope):
    assert Selection().fits(envelope)
    assert Selection().is_empty
    assert Selection(source="dead", limit=5).is_empty


@given(envelopes)
def test_each_field_that_is_set_must_fit(envelope):
    chosen: dict[str, Any] = {
        "types": ("ContactCreate",),
        "tenants": ("t-1",),
        "apps": ("demo",),
        "deliveries": ("d-1",),
        "entities": ("c-1",),
    }
    values = (envelope.type, envelope.tenant, envelope.app, envelope.id, envelope.entity)
    fitting = [value in wanted for value, wanted in zip(values, chosen.values(), strict=True)]
    for (name, wanted), fits in zip(chosen.items(), fitting, strict=True):
        one = Selection(**{name: wanted})
        assert one.fits(envelope) == fits
        assert not one.is_empty
    assert Selection(**chosen).fits(envelope) == all(fitting)
    half_past = AT + timedelta(minutes=30)
    assert Selection(since=half_past).fits(envelope) == (envelope.received_at > AT)
    assert Selection(until=half_past).fits(envelope) == (envelope.received_at == AT)
    # `since` is of it, `until` is not.
    assert Selection(since=envelope.received_at).fits(envelope)
    assert not Selection(until=envelope.received_at).fits(envelope)


def test_what_is_in_quarantine_or_of_a_replay_is_never_meant():
    plain = Envelope(
        id=DeliveryId("d"),
        type="X",
        app=AppName("demo"),
        tenant=TenantId("t"),
        entity=EntityId("c"),
        received_at=AT,
    )
    assert not Selection().fits(msgspec.structs.replace(plain, reason="stale"))
    assert not Selection().fits(msgspec.structs.replace(plain, replay_id="r-1"))


def test_only_the_families_of_the_types_are_read_and_the_unknown_where_a_type_once_was():
    assert Selection().families() == EVENT_FAMILIES
    assert Selection(types=("ContactCreate", "ContactUpdate")).families() == ("contact", "unknown")
    assert Selection(types=("BrandNewThing",)).families() == ("unknown",)
    assert Selection(types=("ContactCreate", "BrandNewThing")).families() == ("contact", "unknown")
    assert Selection(offsets=(OffsetRange("note", 1, 2),), types=("ContactCreate",)).families() == ("note",)


async def _nothing(_event, _ctx):
    pass


GREET = Handler("greet", ("ContactCreate", "ContactUpdate"), _nothing, built_in=False)


def test_chosen_handlers_choose_their_types():
    assert resolved(Selection(handlers=("greet",)), [GREET]).types == ("ContactCreate", "ContactUpdate")
    assert resolved(Selection(handlers=("greet",), types=("ContactUpdate", "X")), [GREET]).types == ("ContactUpdate",)
    # A dead letter's handler may be gone: looked at, it is never asked for.
    assert resolved(Selection(source="dead", handlers=("gone",)), [GREET]).types == ()
    with pytest.raises(LevelgateError, match="levelgate handlers"):
        resolved(Selection(handlers=("greet", "gone")), [GREET])
    with pytest.raises(LevelgateError, match="none of the chosen types"):
        resolved(Selection(handlers=("greet",), types=("NoteCreate",)), [GREET])
    with pytest.raises(LevelgateError, match="several replays"):
        resolved(Selection(source="dead", handlers=("h" * 3000, "i" * 3000)), [])


def test_names_that_nobody_knows_are_told_with_those_they_look_like():
    assert list(hints(Selection(types=("ContactCreate", "InboundMessage"), handlers=("gone",)), [GREET])) == []
    told = list(hints(Selection(source="dead", types=("ContactCraete", "~"), handlers=("greet", "great")), [GREET]))
    assert told == [
        "ContactCraete is no event type that is known (did you mean ContactCreate?): it is looked for as it is written",
        "~ is no event type that is known: it is looked for as it is written",
        "no handler here is called great (did you mean greet?): `levelgate handlers` lists them",
    ]


def test_a_selection_is_shown_as_the_options_that_make_it():
    assert in_words(Selection()) == "--all"
    shown = in_words(Selection(source="dead", tenants=("t",), offsets=(OffsetRange("note", 1, 2, 3),), limit=5))
    assert shown == "--from dead --offsets note:1:2-3 --tenant t --limit 5"
