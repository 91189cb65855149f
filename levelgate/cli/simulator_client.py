"""The simulator's control routes, as commands call them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson

from levelgate.cli.connections import Unreachable
from schemas.errors import LevelgateError
from schemas.settings import Settings

_TIMEOUT = aiohttp.ClientTimeout(total=60)
# A refused webhook is tried again for minutes, and no line comes meanwhile.
_STREAM_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=900)


class SimulatorClient:
    """Asks the simulator at `url`. Every method raises Unreachable where none answers, LevelgateError for its no."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self.url = url

    async def status(self) -> dict[str, Any]:
        """Return what there is and what was done since its start."""
        return await self._ask("GET", "status")

    async def post(self, route: str, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 -- any JSON
        """Call a control route with these fields; those that are None are left out."""
        return await self._ask("POST", route, data=_encode(fields))

    async def deliver(
        self, raw: bytes, *, app: str | None, event: str | None, scheme: str, fresh: bool
    ) -> dict[str, Any]:
        """Have these bytes signed and sent once; return the receiver's `status` and `answer`, or the `error`."""
        params = {"app": app, "event": event, "scheme": scheme, "fresh": "1" if fresh else None}
        given = {name: value for name, value in params.items() if value is not None}
        return await self._ask("POST", "deliver", data=raw, params=given)

    async def stream(self, route: str, **fields: Any) -> AsyncIterator[dict[str, Any]]:  # noqa: ANN401 -- any JSON
        """Call a control route that answers a line at a time."""
        async with (
            self._answered(),
            self._session.post(self._route(route), data=_encode(fields), timeout=_STREAM_TIMEOUT) as response,
        ):
            if response.status != 200:  # noqa: PLR2004 -- HTTP's OK
                raise _refused(await response.read())
            while line := await response.content.readline():
                yield orjson.loads(line)

    async def _ask(
        self, method: str, route: str, *, data: bytes | None = None, params: dict[str, str] | None = None
    ) -> dict[str, Any]:
        async with (
            self._answered(),
            self._session.request(method, self._route(route), data=data, params=params, timeout=_TIMEOUT) as response,
        ):
            raw = await response.read()
            if response.status != 200:  # noqa: PLR2004 -- HTTP's OK
                raise _refused(raw)
            answer: dict[str, Any] = orjson.loads(raw)
            return answer

    def _route(self, name: str) -> str:
        return f"{self.url}/_simulator/{name}"

    @asynccontextmanager
    async def _answered(self) -> AsyncIterator[None]:
        try:
            yield
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unreachable(
                f"no simulator answers at {self.url} ({type(error).__name__}): start it with `levelgate up`, "
                "or check LEVELGATE_SIMULATOR__URL"
            ) from None


@asynccontextmanager
async def open_simulator(settings: Settings) -> AsyncIterator[SimulatorClient]:
    """Yield a client of the simulator that the settings name."""
    async with aiohttp.ClientSession() as session:
        yield SimulatorClient(session, settings.simulator.url)


def _encode(fields: dict[str, Any]) -> bytes:
    return orjson.dumps({name: value for name, value in fields.items() if value is not None})


def _refused(raw: bytes) -> LevelgateError:
    try:
        reason = orjson.loads(raw)["error"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        reason = "no reason was given"
    return LevelgateError(f"the simulator refuses: {reason}")
