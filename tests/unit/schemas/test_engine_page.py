"""The engine's page names what there is: files that exist, and every state of its machines."""

import re
from typing import get_args

import pytest

from levelgate.highlevel.installations import State as InstallationState
from processors.brake import State as BrakeState
from processors.circuit import State as CircuitState
from processors.coalescing import MOST
from processors.parking import OF_A_TENANT
from processors.partitions import Phase
from processors.replays.room import BOUNDS
from processors.replays.states import STATES
from processors.shares import WEIGHTS


@pytest.fixture
def page(request):
    return (request.config.rootpath / "docs" / "engine.md").read_text()


def test_each_file_that_it_names_exists(page, request):
    named = set(re.findall(r"`((?:processors|levelgate|tests)/[\w/.]+)`", page))

    assert named
    assert [path for path in sorted(named) if not (request.config.rootpath / path).is_file()] == []


@pytest.mark.parametrize(
    "states",
    [
        [phase.value for phase in Phase],
        [state.value for state in CircuitState],
        [state.value for state in BrakeState],
        get_args(InstallationState),
        [*STATES, "interrupted"],
        WEIGHTS,
    ],
)
def test_each_state_of_a_machine_is_drawn(page, states):
    drawn = " ".join(re.findall(r"```\n(.*?)```", page, re.DOTALL))

    assert [state for state in states if not re.search(rf"\b{state}\b", drawn)] == []


@pytest.mark.parametrize(
    "stated",
    [
        f"at most {MOST:,} of those of its line",
        f"fewer than {BOUNDS.unhandled:,} are not handled",
        f"fewer than {BOUNDS.parked:,} of its pairs are parked",
        f"{OF_A_TENANT} of one at a time",
    ],
)
def test_each_bound_that_it_names_is_the_one_in_the_code(page, stated):
    assert stated in page
