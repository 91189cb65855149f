"""Whatever ends a call, the caller gets an error of ours, and nothing of the request or the answer in its text."""

import asyncio
import traceback
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from levelgate.highlevel.wire import Answer, exchange
from schemas.errors import ApiUnavailable, LevelgateError

SECRET = "marked-secret"


def family(error: type[BaseException]) -> set[type[BaseException]]:
    return {error}.union(*(family(child) for child in error.__subclasses__()))


AIOHTTP_ERRORS = sorted(family(aiohttp.ClientError), key=lambda error: error.__name__)


class FailingSession:
    """Ends each request with one error, as aiohttp's session would."""

    def __init__(self, error):
        self._error = error

    def request(self, *_args, **_kwargs):
        raise self._error


@pytest.mark.parametrize("kind", [*AIOHTTP_ERRORS, TimeoutError, ConnectionResetError, OSError])
def test_every_error_of_the_line_is_mapped_and_says_nothing_of_the_call(kind):
    error = kind.__new__(kind)
    session: Any = FailingSession(error)
    error.args = (f"https://vendor/oauth?refresh_token={SECRET}",)
    url = URL("https://vendor/oauth").with_query({"code": SECRET})
    with pytest.raises(ApiUnavailable) as caught:
        asyncio.run(
            exchange(
                session,
                "POST",
                url,
                named="POST /oauth/token",
                headers={"Authorization": f"Bearer {SECRET}"},
                data={"refresh_token": SECRET},
                timeout_s=1,
            )
        )
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__context__ is None
    assert str(caught.value).startswith("POST /oauth/token: no answer")


def test_the_walk_meets_the_whole_family():
    assert {aiohttp.ClientConnectorError, aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError} <= set(
        AIOHTTP_ERRORS
    )


def answer(body: bytes, status: int = 400) -> Answer:
    return Answer(named="GET /x", status=status, headers=CIMultiDictProxy(CIMultiDict()), body=body)


@given(st.binary() | st.from_regex(r"\{\"message\":.*\}").map(str.encode))
def test_no_answer_breaks_the_reading_of_it(body):
    given = answer(body)
    assert given.complaint() == given.complaint().lower()
    assert len(given.trace) < 100
    try:
        given.json()
    except LevelgateError as error:
        assert error.__context__ is None  # noqa: PT017 -- most answers raise nothing


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b'{"statusCode":401,"message":"Invalid JWT","error":"Unauthorized"}', "invalid jwt unauthorized"),
        (b'{"message":["A is bad","B is bad"]}', "a is bad b is bad"),
        (b'{"error":{"code":"X","message":"Invalid grant: refresh token is invalid"}}', "invalid grant: refresh"),
        (b'{"error":"invalid_grant","error_description":"Nope"}', "invalid_grant nope"),
        (b"<html>", ""),
    ],
)
def test_an_error_answers_text_is_found_in_every_documented_shape(body, complaint):
    assert answer(body).complaint().startswith(complaint)


def test_an_empty_body_is_none():
    assert answer(b"", 201).json() is None


@pytest.mark.parametrize("trace", [b'"a b"', b'"x\\n"', b"7", b'"' + b"a" * 65 + b'"'])
def test_only_a_plain_trace_id_is_repeated(trace):
    assert answer(b'{"traceId":' + trace + b"}").trace == ""
