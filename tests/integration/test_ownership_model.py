"""What a worker may call its own, against a model of the table."""

import asyncio
import itertools

import asyncpg
from hypothesis import settings as run_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from processors.ownership import Ownership

HALF_S = 30

groups = itertools.count()
numbers = st.sampled_from([0, 1])
durations = st.sampled_from([0, 0, 1, HALF_S - 1, HALF_S])


class OwnershipAgainstAModel(RuleBasedStateMachine):
    """A worker and another one on the real table; beside them, who owns what, and when was asked what was answered."""

    def __init__(self, runner, pool):
        super().__init__()
        self.run, self.pool = runner.run, pool
        self.now = 1000
        self.lost: list[int] = []
        group = f"group-{next(groups)}"
        self.ours, self.others = (
            Ownership(
                pool,
                group=group,
                worker=worker,
                session_timeout_s=2 * HALF_S,
                lost=self.lost.append,
                monotonic=lambda: self.now,
            )
            for worker in ("ours", "another")
        )
        self.owner: dict[int, tuple[str, int]] = {}
        self.held: dict[int, int] = {}
        self.asked_at: dict[int, int] = {}
        self.answers: list[tuple[int, dict[int, int], set[int]]] = []
        self.reported: list[int] = []

    async def slowly(self, question, took_s, meanwhile=lambda: None):
        """Let time pass between a question and its answer."""
        asked = asyncio.get_running_loop().create_task(question)
        await asyncio.sleep(0)  # it waits for Postgres
        self.now += took_s
        meanwhile()
        return await asked

    def answered(self, asked_at, epochs):
        ours = {number for number, epoch in epochs.items() if self.owner[number] == ("ours", epoch)}
        self.answers.append((asked_at, epochs, ours))
        for number, epoch in epochs.items():
            if self.held.get(number) != epoch:
                continue
            if number in ours:
                self.asked_at[number] = max(asked_at, self.asked_at[number])
            else:
                self.reported.append(number)
                del self.held[number]

    def is_confirmed(self, number):
        return number in self.held and self.now - self.asked_at[number] < HALF_S

    def take(self, number, worker):
        self.owner[number] = (worker, self.owner.get(number, ("", 0))[1] + 1)
        return self.owner[number][1]

    @rule(number=numbers, took_s=durations)
    def claim(self, number, took_s):
        asked_at = self.now
        epoch = self.run(self.slowly(self.ours.claim(number), took_s))
        assert epoch == self.take(number, "ours")
        self.held[number], self.asked_at[number] = epoch, asked_at

    @rule(number=numbers)
    def another_takes_over(self, number):
        assert self.run(self.others.claim(number)) == self.take(number, "another")

    @rule(took_s=durations, dropped=st.none() | numbers)
    def renew(self, took_s, dropped):
        asked_at, epochs = self.now, dict(self.held)
        self.run(self.slowly(self.ours.renew(), took_s, meanwhile=lambda: self.drop(dropped)))
        self.answered(asked_at, epochs)

    @rule(took_s=durations)
    def hold(self, took_s):
        async def write():
            async with self.pool.acquire() as connection, connection.transaction():
                return await self.slowly(self.ours.hold(connection, self.ours.epochs), took_s)

        asked_at, epochs = self.now, dict(self.held)
        held = self.run(write())
        self.answered(asked_at, epochs)
        assert held == set(self.held)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), is_older=st.booleans(), took_s=durations)
    def confirm(self, data, is_older, took_s):
        number = data.draw(st.sampled_from(sorted(self.held)))
        epoch = self.held[number] - is_older
        asked_at, epochs, is_known = self.now, dict(self.held), self.is_confirmed(number)
        confirmed = self.run(self.slowly(self.ours.confirm(number, epoch), 0 if is_known else took_s))
        if not is_known:
            self.answered(asked_at, epochs)
        assert confirmed == (self.held.get(number) == epoch and self.is_confirmed(number))

    @rule(number=numbers)
    def drop(self, number):
        self.ours.drop(number)
        self.held.pop(number, None)

    @precondition(lambda self: self.answers)
    @rule(data=st.data())
    def an_old_answer_comes_again(self, data):
        asked_at, epochs, ours = data.draw(st.sampled_from(self.answers))
        self.ours.confirmed(asked_at, epochs, ours)
        for number in ours:
            if self.held.get(number) == epochs[number]:
                self.asked_at[number] = max(asked_at, self.asked_at[number])

    @rule(seconds=st.sampled_from([1, HALF_S - 1, HALF_S]))
    def time_passes(self, seconds):
        self.now += seconds

    @invariant()
    def holds_what_the_model_holds(self):
        assert self.ours.epochs == self.held
        assert [self.ours.is_confirmed(number) for number in (0, 1)] == [self.is_confirmed(number) for number in (0, 1)]
        assert self.lost == self.reported


def test_a_number_is_ours_where_a_young_question_was_answered_yes_for_its_epoch(database_url):
    async def open_pool():
        return await asyncpg.create_pool(database_url, min_size=1, max_size=2)

    with asyncio.Runner() as runner:
        pool = runner.run(open_pool())
        # Each example is a group of its own in the table.
        run_state_machine_as_test(
            lambda: OwnershipAgainstAModel(runner, pool),  # type: ignore[arg-type]  # any factory will do
            settings=run_settings(max_examples=30, deadline=None),
        )
        runner.run(pool.close())
