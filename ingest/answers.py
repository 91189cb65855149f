"""The closed table of what a webhook's sender is told: one word and one status for each outcome.

Nothing is answered that is not in here. The vendor counts what is not 2xx and pauses delivery when it
is much (facts.md, Circuit breaker), so a refusal that may pass is 429, the one that every version of
its rules has retried, and nothing unforeseen becomes a 5xx.
"""

from enum import Enum
from http import HTTPStatus

import orjson
from aiohttp import web

from schemas.ids import DeliveryId


class Outcome(Enum):
    """What became of a webhook: the answer's word, which is also the metric's label, and its status."""

    ACCEPTED = "accepted", HTTPStatus.OK
    """The broker has it."""
    DUPLICATE = "duplicate", HTTPStatus.OK
    """The broker has had it before: known from a small memory, the workers' ledger decides."""
    QUARANTINED = "quarantined", HTTPStatus.OK
    """The broker has it, in the quarantine topic: the vendor would not send it again any better."""
    UNAUTHENTICATED = "unauthenticated", HTTPStatus.UNAUTHORIZED
    """No signature, or one that no key confirms."""
    FOREIGN_APP = "foreign_app", HTTPStatus.UNAUTHORIZED
    """Signed by the vendor, for another app."""
    UNKNOWN_APP = "unknown_app", HTTPStatus.NOT_FOUND
    """No such app; on the provider route also a wrong secret, so that nobody learns which of the two."""
    TOO_LARGE = "too_large", HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    UNSUPPORTED_TYPE = "unsupported_type", HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    UNAVAILABLE = "unavailable", HTTPStatus.TOO_MANY_REQUESTS
    """The broker is slow or gone."""
    OVERLOADED = "overloaded", HTTPStatus.TOO_MANY_REQUESTS
    """More webhooks at once than this process takes."""
    INCOMPLETE = "incomplete", HTTPStatus.TOO_MANY_REQUESTS
    """The body did not come whole, or not in time."""
    STOPPING = "stopping", HTTPStatus.TOO_MANY_REQUESTS
    FAILED = "failed", HTTPStatus.TOO_MANY_REQUESTS
    """Anything unforeseen: counted and logged."""

    def __init__(self, word: str, status: HTTPStatus) -> None:
        self.word = word
        self.status = status


def answer(outcome: Outcome, delivery: DeliveryId | None, *, retry_after_s: int) -> web.Response:
    """Return the small JSON answer; `delivery` is None where the webhook was not taken."""
    response = web.Response(
        body=orjson.dumps({"id": delivery, "status": outcome.word}),
        status=outcome.status,
        content_type="application/json",
    )
    if outcome.status is HTTPStatus.TOO_MANY_REQUESTS:
        response.headers["Retry-After"] = str(retry_after_s)
    if outcome is Outcome.STOPPING:
        response.force_close()  # the next try should reach a process that stays
    return response
