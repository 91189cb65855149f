"""Where a replay stands in what it reads, with the end that was set when it began. Pure."""

from collections.abc import Iterable
from datetime import datetime

import msgspec


class Range(msgspec.Struct, frozen=True):
    """What is left of one partition: from `next` on, up to `end`, which is not read."""

    topic: str
    partition: int
    next: int
    end: int


def merged(ranges: Iterable[Range]) -> list[Range]:
    """Return what some ranges of one partition have to read, each offset once and in order."""
    found: list[Range] = []
    for each in sorted((each for each in ranges if each.next < each.end), key=lambda each: each.next):
        if found and each.next <= found[-1].end:
            found[-1] = msgspec.structs.replace(found[-1], end=max(found[-1].end, each.end))
        else:
            found.append(each)
    return found


class DeadKey(msgspec.Struct, frozen=True):
    """A dead pair's place in the order in which dead letters are replayed: that of their topics."""

    topic: str = ""
    partition: int = -1
    record_offset: int = -1
    handler: str = ""
    element: int = -1


class Cursor(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is left to read: ranges of the topics, or the dead letters after a key that had died before a time."""

    ranges: tuple[Range, ...] = ()
    after: DeadKey = DeadKey()
    died_before: datetime | None = None


class Gap(msgspec.Struct, frozen=True):
    """A partition of which retention has taken the beginning, or an offset that was asked for."""

    topic: str
    partition: int
    kept_from: datetime | None
    """When its oldest record was published, where that is known."""
    first_offset: int
    """Its oldest offset."""
