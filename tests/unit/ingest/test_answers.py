import json

import pytest

from ingest.answers import Outcome, answer

STATUSES = {
    "accepted": 200,
    "duplicate": 200,
    "quarantined": 200,
    "unauthenticated": 401,
    "foreign_app": 401,
    "unknown_app": 404,
    "too_large": 413,
    "unsupported_type": 415,
    "unavailable": 429,
    "overloaded": 429,
    "incomplete": 429,
    "stopping": 429,
    "failed": 429,
}


def test_each_outcome_has_its_status():
    assert {outcome.word: outcome.status for outcome in Outcome} == STATUSES


@pytest.mark.parametrize("outcome", Outcome)
def test_an_answer_says_its_word_and_a_429_when_to_come_again(outcome):
    response = answer(outcome, None, retry_after_s=30)
    assert json.loads(response.text or "") == {"id": None, "status": outcome.word}
    assert response.headers.get("Retry-After") == ("30" if outcome.status == 429 else None)
