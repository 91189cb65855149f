"""Coalescing: events of one entity that wait together become one run of a handler that asks for it.

The **leader** is the pair whose turn it is; its **followers** are pairs of the same handler that wait behind it, in
the lane of its entity or in its parked line. The handler runs once, for the newest of them (a **fold**):

    ends well         all of them are done
    failed, waiting   the leader alone is parked; the others keep their places behind it
    would be dead     nothing is said of anyone by it: the leader runs alone, by its own event

So a pair dies of its own event only: a newest one that nothing can be done with does not take the others with it.
For the same reason a pair that has failed before is tried alone.
"""

import asyncio
from collections.abc import Callable, Collection, Container, Iterable
from datetime import datetime, timedelta

import msgspec

from levelgate.postgres import POSTGRES_AWAY
from processors.ledger import Ledger
from processors.pairs import Done, History, Outcome, Pair, Parked, Record, kept
from processors.parking import DuePair, Lines, Parking
from processors.registry import Handler
from schemas.logs import get_logger

log = get_logger(__name__)

MOST = 500
"""How many may follow one leader: what a crash after the run can bring back at most."""


class Place(msgspec.Struct, eq=False):
    """A delivery's place in its entity's lane: what waits behind it, and which handlers did it before its turn."""

    record: Record
    epoch: int
    finished: Callable[[bool], None]
    """Called later, once: True when each pair and the index row are in Postgres, False where the partition was
    another's by then."""
    behind: Callable[["Place"], list["Place"]]
    """What waits in the lane of a place under the same epoch, at most `MOST`, the oldest first."""
    folded: set[str] = msgspec.field(default_factory=set)
    """Names of handlers that an earlier delivery's run did this one by."""


class Fold(msgspec.Struct, frozen=True):
    """One run for many pairs of a handler."""

    leader: Pair
    history: History
    """The leader's, before the run."""
    received_at: datetime
    """When the leader's delivery was."""
    followers: dict[Pair, Record]
    """In order, one at least; the last is the newest. Records stand for their line; the newest's is its own."""
    places: tuple[Place, ...] = ()
    """The followers' places in the lane; none for parked ones."""

    @property
    def newest(self) -> tuple[Pair, Record]:
        """Whose event the run is for."""
        return next(reversed(self.followers.items()))

    @property
    def others(self) -> tuple[Pair, ...]:
        """Who is done by the run without being its newest."""
        return (self.leader, *self.followers)[:-1]

    def settle(self, outcome: Outcome, *, deadline_s: float | None) -> dict[Pair, Outcome] | None:
        """Return what `outcome` of the newest's run makes of the leader and of each follower that it decides.

        None where it decides nothing, and the leader is to run alone.
        """
        match outcome:
            case Done(at):
                by_another: dict[Pair, Outcome] = {pair: Done(at, History()) for pair in self.followers}
                # Attempts count a pair's own runs: those that another's run did have none.
                return by_another | {self.leader: Done(at, self.history), self.newest[0]: outcome}
            case Parked(at, tried, reason, due_at):
                if deadline_s is not None and due_at is not None:
                    ends_at = self.received_at + timedelta(seconds=deadline_s)
                    if ends_at <= at:
                        return None
                    due_at = min(due_at, ends_at)
                before = self.history
                failures, calls = kept((*before.failures, *tried.failures)), kept((*before.calls, *tried.calls))
                return {
                    self.leader: Parked(at, History(before.attempts + tried.attempts, failures, calls), reason, due_at)
                }
            case _:
                return None


def foldable(
    handler: Handler, behind: Iterable[Place], handlers_of: Callable[[Record], Collection[Handler]]
) -> list[Place]:
    """Return the places whose deliveries one run of `handler` may do, in order.

    Ends at the first delivery that other handlers run for and this one does not: between a contact's updates, its
    deletion must not be overtaken. What nobody handles is passed over.
    """
    chosen = []
    for place in behind:
        handlers = handlers_of(place.record)
        if handler in handlers:
            chosen.append(place)
        elif handlers:
            break
    return chosen


async def gather(
    place: Place,
    handler: Handler,
    handlers_of: Callable[[Record], Collection[Handler]],
    *,
    ledger: Ledger,
    running: Container[Pair],
) -> Fold | None:
    """Return the fold that the delivery at `place` leads, None where nothing waits behind it that may follow.

    Leaves out what is recorded already, or runs elsewhere.
    """
    chosen = foldable(handler, place.behind(place), handlers_of)
    if not chosen:
        return None
    recorded = await asyncio.gather(*(ledger.recorded(each.record) for each in chosen))
    name = handler.name
    leader = place.record.pair(name, 0)
    followers: dict[Pair, Place] = {}
    for each, known in zip(chosen, recorded, strict=True):
        pair = each.record.pair(name, 0)
        is_open = (name, 0) not in known and not ledger.is_recent(pair) and pair not in running
        # A copy of one that is in already keeps its turn, and is skipped then.
        if is_open and pair != leader:
            followers.setdefault(pair, each)
    if not followers:
        return None
    records = {pair: each.record for pair, each in followers.items()}
    return Fold(leader, History(), place.record.envelope.received_at, records, tuple(followers.values()))


async def gather_parked(due: DuePair, *, parking: Parking, lines: Lines) -> Fold | None:
    """Return the fold that a parked line's head leads, None where it is to run alone."""
    line = due.record.line(due.pair.handler)
    is_alone = lines.length(due.record.partition, line) <= 1
    if is_alone or due.history.attempts or due.is_redriven:
        return None
    try:
        followers = await parking.followers(due, most=MOST)
    except POSTGRES_AWAY as error:
        # The head can do without; whether Postgres takes its outcome is the ledger's care.
        log.warning("parked_unreadable", error=type(error).__name__)
        return None
    return Fold(due.pair, due.history, due.record.envelope.received_at, followers) if followers else None
