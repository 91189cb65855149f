"""What a replay is of: a value that is shown, saved and read back. Pure, no I/O."""

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Literal, Self

import msgspec

from processors.registry import Handler
from schemas.catalogue import FAMILIES, lookup
from schemas.envelope import Envelope
from schemas.errors import LevelgateError
from schemas.topics import UNKNOWN_FAMILY

EVENT_FAMILIES = (*FAMILIES, UNKNOWN_FAMILY)

MAX_HANDLERS_LENGTH = 4000
"""Of all handlers' names together: they travel in a header of each record."""

_OFFSETS = re.compile("([a-z_-]+):([0-9]{1,9}):([0-9]{1,18})(?:-([0-9]{1,18}))?")


class OffsetRange(msgspec.Struct, frozen=True):
    """Some offsets of one partition of a family's topic; `last` is the last one meant, None: up to now."""

    family: str
    partition: int
    first: int
    last: int | None = None

    @classmethod
    def of(cls, text: str) -> Self:
        """Read `contact:3:100-250` or `contact:3:100`. Raises ValueError, in words for whoever wrote it."""
        found = _OFFSETS.fullmatch(text)
        if found is None:
            raise ValueError(
                f"{text!r} is no range of offsets: write FAMILY:PARTITION:FIRST-LAST, as contact:3:100-250"
            )
        if found[1] not in EVENT_FAMILIES:
            raise ValueError(f"there is no family {found[1]!r}: {', '.join(EVENT_FAMILIES)}")
        last = int(found[4]) if found[4] is not None else None
        if last is not None and last < int(found[3]):
            raise ValueError(f"{text!r} ends before it begins")
        return cls(found[1], int(found[2]), int(found[3]), last)

    def __str__(self) -> str:
        """Return it as `of` reads it."""
        last = "" if self.last is None else f"-{self.last}"
        return f"{self.family}:{self.partition}:{self.first}{last}"


class Selection(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which events are meant: those that fit each of its fields that is set; of an empty one, all that are kept."""

    source: Literal["topics", "dead"] = "topics"
    """The event topics, or the live run's dead letters, each for the handler that gave up."""
    since: datetime | None = None
    """Received at that time or later."""
    until: datetime | None = None
    offsets: tuple[OffsetRange, ...] = ()
    """Where some are given, no other partition is read."""
    types: tuple[str, ...] = ()
    tenants: tuple[str, ...] = ()
    not_tenants: tuple[str, ...] = ()
    """Whose events are left out."""
    entities: tuple[str, ...] = ()
    apps: tuple[str, ...] = ()
    deliveries: tuple[str, ...] = ()
    handlers: tuple[str, ...] = ()
    """Which handlers run; none: all of the type."""
    limit: int | None = None
    """At most so many."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing chooses among what the source has."""
        return msgspec.structs.replace(self, source="topics", limit=None) == Selection()

    def families(self) -> tuple[str, ...]:
        """Return the families whose topics are read, each once.

        What came before the catalogue knew its type lies among the unknown.
        """
        if self.offsets:
            return tuple(dict.fromkeys(each.family for each in self.offsets))
        if not self.types:
            return EVENT_FAMILIES
        known = [each.family for name in self.types if (each := lookup(name))]
        return tuple(dict.fromkeys((*known, UNKNOWN_FAMILY)))

    def fits(self, envelope: Envelope) -> bool:
        """Whether an event is meant, by its headers alone; what is in quarantine or a replay itself never is."""
        return (
            envelope.reason is None
            and envelope.replay_id is None
            and (not self.types or envelope.type in self.types)
            and (not self.tenants or envelope.tenant in self.tenants)
            and envelope.tenant not in self.not_tenants
            and (not self.entities or envelope.entity in self.entities)
            and (not self.apps or envelope.app in self.apps)
            and (not self.deliveries or envelope.id in self.deliveries)
            and (self.since is None or envelope.received_at >= self.since)
            and (self.until is None or envelope.received_at < self.until)
        )


def resolved(selection: Selection, handlers: Iterable[Handler]) -> Selection:
    """Return the selection with wire names for aliases, and, where handlers are chosen, with their types alone.

    Raises LevelgateError for a handler that is not among `handlers`, or that takes none of the types.
    """
    types = tuple(dict.fromkeys(known.wire if (known := lookup(name)) else name for name in selection.types))
    if selection.handlers and selection.source == "topics":
        by_name = {each.name: each for each in handlers}
        unknown = [name for name in selection.handlers if name not in by_name]
        if unknown:
            raise LevelgateError(f"no handler is called {', '.join(unknown)}: `levelgate handlers` lists them")
        taken = dict.fromkeys(wire for name in selection.handlers for wire in by_name[name].types)
        types = tuple(wire for wire in types or taken if wire in taken)
        if not types:
            raise LevelgateError("the chosen handlers take none of the chosen types: `levelgate handlers` shows theirs")
    if sum(map(len, selection.handlers)) > MAX_HANDLERS_LENGTH:
        raise LevelgateError("so many handlers can't be named at once: make several replays of them")
    return msgspec.structs.replace(selection, types=types)
