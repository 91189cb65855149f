"""A replay's states, and what may be asked of it in each. Pure.

    start ──► running ──finish──► finished ──cancel──┐
               ▲  │ ╲                                ▼
        resume │  │  ╲────────────cancel─────────► cancelled
               │  ▼                                  ▲
               paused ────────────cancel─────────────┘

`running` is also what a killed publisher leaves behind: where nobody holds the lease it is shown as `interrupted`, and
`resume` goes on. `finished` means that all is published, not that all is handled: it can still be cancelled. From
`cancelled` nothing leads away.
"""

from typing import Literal, get_args

from schemas.errors import LevelgateError

State = Literal["running", "paused", "finished", "cancelled"]
Step = Literal["pause", "resume", "finish", "cancel"]

STATES: tuple[State, ...] = get_args(State)
STEPS: tuple[Step, ...] = get_args(Step)

_TABLE: dict[Step, dict[State, State]] = {
    "pause": {"running": "paused"},
    "resume": {"running": "running", "paused": "running"},
    "finish": {"running": "finished"},
    "cancel": {"running": "cancelled", "paused": "cancelled", "finished": "cancelled"},
}


class NotNow(LevelgateError):
    """What was asked of a replay is not possible in its state."""


def sources(step: Step) -> tuple[State, ...]:
    """Return the states in which a step is possible."""
    return tuple(_TABLE[step])


def after(state: State, step: Step) -> State:
    """Return the state that a step leads to. Raises NotNow."""
    following = _TABLE[step].get(state)
    if following is None:
        raise NotNow(f"a replay that is {state} can't be {_DONE[step]}")
    return following


_DONE: dict[Step, str] = {"pause": "paused", "resume": "resumed", "finish": "finished", "cancel": "cancelled"}


def shown(state: State, *, has_publisher: bool) -> str:
    """Return the state as a person is told it."""
    return "interrupted" if state == "running" and not has_publisher else state
