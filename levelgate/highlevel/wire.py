"""One HTTP exchange with the vendor: bounded in time and in size, and every failure of the line mapped.

The only module that knows aiohttp's client and its errors. No error raised here carries a URL, a header or a
body: aiohttp's own may hold all three, so they end here and leave their class name behind.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

import aiohttp
import msgspec
import orjson
from multidict import CIMultiDictProxy
from yarl import URL

from schemas.errors import ApiUnavailable, Permanent

MAX_ANSWER_BYTES = 16 * 1024 * 1024
"""The vendor documents none; far above a page of 100 contacts, far below what hurts a worker."""

_LINE_ERRORS = (aiohttp.ClientError, TimeoutError, OSError)
"""All that a request can end in besides an answer; a test walks aiohttp's family against it."""


class AnswerTooLong(Permanent):
    """The vendor's answer is longer than anything documented; asking again would bring the same."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the vendor said; `named` is the call, as errors and logs may call it."""

    named: str
    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    def __repr__(self) -> str:  # the body may be tokens
        return f"<Answer {self.named} {self.status}>"

    @property
    def is_success(self) -> bool:
        """2xx. A 3xx is none: redirects are not followed, since they would take the token along."""
        return 200 <= self.status < 300  # noqa: PLR2004 -- HTTP's own classes

    def json(self) -> Any:  # noqa: ANN401 -- the JSON edge
        """Return the parsed body, None where it is empty (some 201 are: facts.md §4); raise ApiUnavailable."""
        if not self.body.strip():
            return None
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            pass  # raised below, outside: the decoder's error holds the whole body
        raise ApiUnavailable(f"{self.named} answered {self.status} with something that is not JSON")

    def complaint(self) -> str:
        """Return what an error answer says, lower-cased, to be judged and never to be shown; "" where it is unclear.

        Source: facts.md §4: `message` is a text or a list; v3 nests it in `error`.
        """
        try:
            body = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return ""
        said = list(_texts(body, depth=3))
        return " ".join(said).lower()

    @property
    def trace(self) -> str:
        """The vendor's trace id in a form for messages, " (trace …)", or nothing."""
        try:
            body = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return ""
        trace = body.get("traceId") if isinstance(body, dict) else None
        is_plain = isinstance(trace, str) and len(trace) <= 64 and trace.replace("-", "").isalnum() and trace.isascii()  # noqa: PLR2004 -- a UUID has 36
        return f" (trace {trace})" if is_plain else ""


def open_session() -> aiohttp.ClientSession:
    """Return a session fit for the vendor: connections are reused, cookies are not kept. The caller closes it."""
    return aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(),
        connector=aiohttp.TCPConnector(limit=512),
        timeout=aiohttp.ClientTimeout(total=None),
        headers={"User-Agent": "levelgate", "Accept": "application/json"},
    )


async def exchange(
    session: aiohttp.ClientSession,
    method: str,
    url: URL,
    *,
    named: str,
    headers: Mapping[str, str],
    data: bytes | Mapping[str, str] | None = None,
    timeout_s: float,
) -> Answer:
    """Send one request and read its whole answer, whatever its status.

    Raises ApiUnavailable where no whole answer came: nothing is known of the call's effect then; AnswerTooLong.
    """
    try:
        async with (
            asyncio.timeout(timeout_s),
            session.request(method, url, headers=headers, data=data, allow_redirects=False) as response,
        ):
            body = await _read(response)
            answer = (
                None
                if body is None
                else Answer(named=named, status=response.status, headers=response.headers, body=body)
            )
    except _LINE_ERRORS as error:
        problem = "no answer in time" if isinstance(error, TimeoutError) else f"no answer ({type(error).__name__})"
    else:
        if answer is None:
            raise AnswerTooLong(f"{named}: the answer is longer than {MAX_ANSWER_BYTES} bytes")
        return answer
    # Raised outside the handler, so that not even __context__ keeps the error with its URL.
    raise ApiUnavailable(f"{named}: {problem}")


async def _read(response: aiohttp.ClientResponse) -> bytes | None:
    chunks: list[bytes] = []
    left = MAX_ANSWER_BYTES
    async for chunk in response.content.iter_any():
        left -= len(chunk)
        if left < 0:
            response.close()
            return None
        chunks.append(chunk)
    return b"".join(chunks)


def _texts(value: Any, *, depth: int) -> list[str]:  # noqa: ANN401 -- any JSON
    match value:
        case str():
            return [value]
        case list() if depth:
            return [text for item in value for text in _texts(item, depth=depth - 1)]
        case dict() if depth:
            named = (value.get(name) for name in ("message", "error", "error_description", "msg"))
            return [text for item in named for text in _texts(item, depth=depth - 1)]
        case _:
            return []
