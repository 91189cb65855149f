"""The due poll against sets: a due pair is taken once until it has ended, and not by an answer from before its end."""

import asyncio
from collections.abc import Callable

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from processors.due import DuePairs
from processors.holds import Holds
from processors.pairs import History
from processors.parking import DuePair, Lines, Parking
from processors.scheduler import Scheduler
from schemas.settings import Kafka
from tests.support.deliveries import delivery
from tests.support.eventually import settle

NUMBER = 7
TENANTS = ("location-1", "location-2")


def parked(tenant):
    record = msgspec.structs.replace(delivery(Kafka(), tenant=tenant), partition=NUMBER)
    return DuePair(record.pair("greet", 0), record, History())


PAIRS = [parked(tenant) for tenant in TENANTS for _ in range(2)]


class Gate(Parking):
    """Asked for due pairs, waits until it is told which."""

    def __init__(self) -> None:
        self.held: set[str] = set()

    async def due(self, *_given, held=(), **_more):
        self.held = {tenant for _, tenant in held}
        self.answer = asyncio.get_running_loop().create_future()
        return await self.answer


class Queue(Scheduler):
    """Runs nothing: keeps what it was given, and whom to tell its end."""

    def __init__(self) -> None:
        self.given: list[tuple[int, int, Callable[[bool], None]]] = []

    def add_parked(self, due, *, epoch, finished):
        self.given.append((PAIRS.index(due), epoch, finished))


class DuePairsAgainstSets(RuleBasedStateMachine):
    """Pairs become due and end, their number is claimed anew, budgets are spent: at any moment of a poll."""

    def __init__(self):
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.parking, self.queue = Gate(), Queue()
        self.epoch: int | None = 1
        self.poll = DuePairs(
            self.parking,
            self.queue,
            Lines(),
            Holds(),
            budget_wait_s=lambda _app, tenant, _lane: 3600.0 if tenant in self.spent else 0.0,
            active=lambda: {NUMBER: self.epoch} if self.epoch else {},
        )
        self.due = set(range(len(PAIRS)))
        self.spent: set[str] = set()
        self.held: set[str] = set()
        self.under_way: set[tuple[int, int]] = set()
        self.ended: set[tuple[int, int]] = set()
        self.asked: list[tuple[asyncio.Task[int], int]] = []
        self.found: list[list[int]] = []
        self.claims = 1

    def teardown(self):
        if self.asked:
            self.finds()
            self.told()
        self.loop.close()

    @rule(number=st.integers(0, len(PAIRS) - 1))
    def becomes_due(self, number):
        self.due.add(number)

    @rule(tenant=st.sampled_from(TENANTS), is_spent=st.booleans())
    def budget_changes(self, tenant, is_spent):
        (self.spent.add if is_spent else self.spent.discard)(tenant)

    @rule(is_claimed=st.booleans())
    def number_is_given_back(self, is_claimed):
        self.claims += 1
        self.epoch = self.claims if is_claimed else None

    @precondition(lambda self: not self.asked)
    @rule()
    def asks(self):
        asked = self.loop.create_task(self.poll.take())
        self.loop.run_until_complete(settle())
        if self.epoch is None:
            assert asked.result() == 0
            return
        self.asked.append((asked, self.epoch))
        self.ended.clear()
        assert self.parking.held == self.held

    @precondition(lambda self: self.asked and not self.found)
    @rule()
    def finds(self):
        self.found = [[number for number in sorted(self.due) if PAIRS[number].pair.tenant not in self.held]]

    @precondition(lambda self: self.found)
    @rule()
    def told(self):
        (asked, epoch), found = self.asked.pop(), self.found.pop()
        expected = set()
        for number in found:
            key, tenant = (number, epoch), PAIRS[number].pair.tenant
            if key in self.under_way or key in self.ended or epoch != self.epoch:
                continue
            if tenant in self.spent:
                self.held.add(tenant)
            else:
                expected.add(key)
        before = len(self.queue.given)
        self.parking.answer.set_result([PAIRS[number] for number in found])
        assert self.loop.run_until_complete(asked) == len(expected)
        assert {(number, epoch) for number, epoch, _ in self.queue.given[before:]} == expected
        self.under_way |= expected

    @precondition(lambda self: not self.asked and self.epoch)
    @rule()
    def polls(self):
        self.asks()
        self.finds()
        self.told()

    @precondition(lambda self: self.queue.given)
    @rule(data=st.data(), is_due_again=st.booleans())
    def ends(self, data, is_due_again):
        self.end(data.draw(st.sampled_from(self.queue.given)), is_due_again=is_due_again)

    def end(self, given, *, is_due_again):
        number, epoch, finished = given
        self.queue.given.remove(given)
        # Under an epoch that is over nothing was written: the row is as it was.
        is_ours = epoch == self.epoch
        if is_ours and not is_due_again:
            self.due.discard(number)
        finished(is_ours)
        self.under_way.discard((number, epoch))
        self.ended.add((number, epoch))


TestDuePairsAgainstSets = DuePairsAgainstSets.TestCase


def test_a_pair_that_ends_while_an_answer_is_under_way_is_not_taken_from_it_but_by_the_next():
    run = DuePairsAgainstSets()
    run.polls()
    run.asks()
    run.finds()
    run.end(run.queue.given[0], is_due_again=True)
    run.told()
    assert len(run.queue.given) == len(PAIRS) - 1
    run.polls()
    assert len(run.queue.given) == len(PAIRS)
    run.teardown()
