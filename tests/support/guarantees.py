"""What the notes of flaky handlers and the ledger's rows say together: who ran what, and was that right? Pure."""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from tests.support.flaky_handlers import (
    BEGUN,
    CANCELLED,
    DONE,
    FAILED,
    FOLDING,
    GIVEN_UP,
    IN_ORDER,
    MAX_ATTEMPTS,
    Note,
)


class Pair(NamedTuple):
    """By numbers: of the delivery, of the handler."""

    delivery: int
    handler: int


class Run(NamedTuple):
    """One run of a pair; `ended` and `what` are None where it was cut off."""

    pair: Pair
    attempt: int
    process: int
    begun: float
    ended: float | None
    what: int | None

    @property
    def key(self) -> tuple[Pair, int]:
        return self.pair, self.attempt

    @property
    def is_final(self) -> bool:
        """Whether the pair is over with it."""
        return self.what in {DONE, GIVEN_UP} or (self.what == FAILED and self.attempt == MAX_ATTEMPTS)


class Row(NamedTuple):
    """What the ledger has of a pair."""

    state: str
    attempts: int
    at: float

    def has(self, run: Run) -> bool:
        """Whether it was written with what the run ended with, or later."""
        return self.state != "parked" or self.attempts >= run.attempt


class Fault(NamedTuple):
    """A worker that was killed or frozen, with what the ledger had right after that."""

    process: int
    at: float
    recorded: Mapping[Pair, Row]
    woken_at: float | None = None

    def in_flight(self, runs: Iterable[Run]) -> set[Run]:
        """The worker's runs up to then that were not recorded, ended or not."""
        return {
            run
            for run in runs
            if run.process == self.process
            and run.begun < self.at
            and (run.pair not in self.recorded or not self.recorded[run.pair].has(run))
        }

    def is_stale(self, run: Run, others: Sequence[Run]) -> bool:
        """Whether `run` had passed its last check when the worker was frozen, and began when it woke up.

        It was for nothing, then: the pair was run by its new owner, or again by this worker as the owner it is by now.
        `others` are all runs that may have done the pair.
        """
        return (
            self.woken_at is not None
            and run.process == self.process
            and run.begun > self.woken_at
            and any(
                other.attempt == run.attempt and other.begun > (self.at if other.process != run.process else run.begun)
                for other in others
            )
        )


def runs_of(notes: Iterable[Note]) -> list[Run]:
    """Return all runs, in the order of their beginnings."""
    begun: dict[tuple[int, Pair, int], Note] = {}
    runs = []
    for note in notes:
        pair = Pair(note.delivery, note.handler)
        key = note.process, pair, note.attempt
        if note.what == BEGUN:
            assert key not in begun, "one process runs a pair twice at the same time"
            begun[key] = note
        else:
            runs.append(Run(pair, note.attempt, note.process, begun.pop(key).at, note.at, note.what))
    cut_off = [Run(pair, attempt, process, note.at, None, None) for (process, pair, attempt), note in begun.items()]
    return sorted([*runs, *cut_off], key=lambda run: run.begun)


def by_pair(runs: Iterable[Run]) -> dict[Pair, list[Run]]:
    found: dict[Pair, list[Run]] = defaultdict(list)
    for run in runs:
        found[run.pair].append(run)
    return found


def doers(rows: Mapping[Pair, Row], lines: Iterable[Sequence[int]]) -> dict[Pair, Pair]:
    """Return by the run of which pair each pair was done: its own, or of those that were folded, the newest's.

    All that one run did is recorded at the same time, and the attempt is counted for the newest alone.
    """
    found = {pair: pair for pair in rows}
    for line in lines:
        for at, together in itertools.groupby(line, lambda delivery: rows[Pair(delivery, FOLDING)].at):
            *folded, newest = (Pair(delivery, FOLDING) for delivery in together)
            assert [rows[pair].attempts for pair in (*folded, newest)] == [*(0 for _ in folded), 1], (line, at)
            found |= dict.fromkeys(folded, newest)
    return found


def done_without_a_run(
    runs: Mapping[Pair, Sequence[Run]], rows: Mapping[Pair, Row], doers: Mapping[Pair, Pair]
) -> list[Pair]:
    """Return the pairs that are recorded as done before a run that may have done them had ended well."""
    return [
        pair
        for pair, row in rows.items()
        if row.state == "done"
        and not any(run.what == DONE and run.ended <= row.at for run in runs.get(doers[pair], ()) if run.ended)
    ]


def stale(
    runs: Mapping[Pair, Sequence[Run]], faults: Iterable[Fault], in_flight: set[Run], doers: Mapping[Pair, Pair]
) -> set[Run]:
    """Return the runs that a worker which had been frozen began although they were another's by then.

    Where the other's run was itself cut off by a fault (`in_flight`), it was right to run the pair again.
    """
    found = set()
    for pair, each in runs.items():
        whole = [run for run in each if run not in in_flight]
        others = [run for run in {*each, *runs.get(doers[pair], ())} if run not in in_flight]
        found |= {run for run in whole if any(fault.is_stale(run, others) for fault in faults)}
    return found


def repeated_without_need(runs: Mapping[Pair, Sequence[Run]], in_flight: set[Run]) -> list[Run]:
    """Return the runs that were neither cut off by a fault nor the only other one of their attempt."""
    found = []
    for each in runs.values():
        whole: dict[int, list[Run]] = defaultdict(list)
        for run in each:
            if run not in in_flight and run.what != CANCELLED:
                whole[run.attempt].append(run)
        found += [run for attempts in whole.values() for run in attempts[1:]]
    return found


def begun_after_recorded(runs: Iterable[Run], rows: Mapping[Pair, Row]) -> list[Run]:
    """Return the runs of pairs whose recorded end lies before them."""
    return [run for run in runs if rows[run.pair].state != "parked" and run.begun > rows[run.pair].at]


def out_of_order(
    runs: Mapping[Pair, Sequence[Run]],
    rows: Mapping[Pair, Row],
    lines: Iterable[Sequence[int]],
    doers: Mapping[Pair, Pair],
) -> list[tuple[Pair, Pair]]:
    """Return neighbours in a line, strict handlers only, of which the later one did not wait for the earlier one.

    No run of the later one may begin before the earlier one was over once, and the run that counts, the last
    one, not before the earlier one's recorded end. Of those that one run did, that counts of the next run; a run that
    was cut off does not tell which earlier ones it was for.
    """
    found = []
    for line in lines:
        for handler in IN_ORDER:
            pairs = [Pair(delivery, handler) for delivery in line]
            for earlier, later in itertools.pairwise(pairs):
                if doers[earlier] == doers[later]:
                    continue
                begun = runs[doers[later]][-1].begun < rows[earlier].at
                if handler != FOLDING:
                    over = min(run.ended for run in runs[earlier] if run.is_final and run.ended is not None)
                    begun = begun or runs[later][0].begun < over
                if begun:
                    found.append((earlier, later))
    return found
