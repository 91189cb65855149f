"""What stands for the API's client in a rehearsal: keeps each call, makes none but reads, and those only if it may.

A read is made once for all that ask for it, so that two versions of handlers see the same answers.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import msgspec
import orjson

from levelgate.highlevel.api.caller import Unmade
from levelgate.highlevel.client import HighLevelClient, OnCall
from levelgate.highlevel.lanes import Lane
from levelgate.highlevel.recording import Call, call_of
from schemas.errors import LevelgateError, RateLimited
from schemas.ids import AppName, TenantId
from schemas.operations import Operation

_ANSWERS_KEPT = 2000

Query = Mapping[str, str | int | bool | None]


class RehearsedCall(msgspec.Struct, frozen=True):
    """A call that a handler made, or would have made."""

    call: Call
    operation: str
    """Method and path with its parameters' names: `PUT /contacts/{contactId}`."""
    is_read: bool
    is_made: bool


class Reads:
    """Makes reads and keeps their answers, refusals and failures too: the same for all who ask in one rehearsal."""

    def __init__(self, client: HighLevelClient) -> None:
        self._client = client
        self._kept: OrderedDict[tuple[AppName, bytes], _Kept] = OrderedDict()
        self.made = 0
        """How many calls were made."""
        self.remembered = 0
        """How many were answered from memory instead."""

    async def answer(
        self,
        app: AppName,
        tenant: TenantId,
        operation: Operation,
        call: Call,
        *,
        path: Mapping[str, str] | None,
        query: Query | None,
        json: Any,  # noqa: ANN401 -- any JSON
    ) -> Any:  # noqa: ANN401 -- any JSON
        """Return the vendor's answer, a copy of its own for each who asks; raise what `HighLevelClient.request` does.

        What is left of the last 2,000 reads is not asked again, except for RateLimited.
        """
        kept = self._look_up((app, call.key))
        async with kept.lock:
            if kept.failure is None and kept.answer is None:
                try:
                    # Of a replay's share: a rehearsal must not spend what live work needs.
                    got = await self._client.request(
                        app, tenant, operation, path=path, query=query, json=json, lane="replay"
                    )
                    kept.answer = orjson.dumps(got)
                except RateLimited:
                    raise
                except LevelgateError as error:
                    kept.failure = error
                self.made += 1
            else:
                self.remembered += 1
        if kept.failure is not None:
            raise kept.failure.with_traceback(None)
        return orjson.loads(kept.answer or b"null")

    def _look_up(self, key: tuple[AppName, bytes]) -> "_Kept":
        kept = self._kept.setdefault(key, _Kept())
        self._kept.move_to_end(key)
        if len(self._kept) > _ANSWERS_KEPT:
            self._kept.popitem(last=False)
        return kept


class _Kept:
    __slots__ = ("answer", "failure", "lock")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.answer: bytes | None = None
        self.failure: LevelgateError | None = None


class RehearsedClient(HighLevelClient):
    """The client of one run of a handler. Takes nothing of what the real one is made of."""

    def __init__(self, reads: Reads | None) -> None:
        """Without `reads` no call is made at all."""
        self._reads = reads
        self.calls: list[RehearsedCall] = []
        self.was_limited = False
        """Whether a read could not be made now, for the API's limits."""

    async def request(
        self,
        app: AppName,
        tenant: TenantId,
        operation: Operation,
        *,
        path: Mapping[str, str] | None = None,
        query: Query | None = None,
        json: Any = None,  # noqa: ANN401 -- any JSON
        on_call: OnCall | None = None,
        lane: Lane = "live",
    ) -> Any:  # noqa: ANN401 -- any JSON
        """Keep the call; make it if it is a read and may be; the real one's arguments.

        Whatever is not made is answered by an empty object.
        """
        del on_call, lane
        call = call_of(tenant, operation, path, query, json)
        is_made = operation.is_read and self._reads is not None
        self.calls.append(RehearsedCall(call, f"{operation.method} {operation.path}", operation.is_read, is_made))
        if self._reads is None or not operation.is_read:
            return Unmade()
        try:
            return await self._reads.answer(app, tenant, operation, call, path=path, query=query, json=json)
        except RateLimited:
            self.was_limited = True
            raise
