"""What can go wrong, and what happens next: the class decides, nobody looks into strings.

    LevelgateError
    ├── Retry(after)             park, try again; an attempt is used up
    │   ├── ApiUnavailable       the vendor's API failed or did not answer
    │   ├── RefreshFailed        no token now, for a reason that may pass
    │   │   └── RefreshUnanswered    the vendor's token endpoint failed or did not answer
    │   └── Waiting              park, try again; no attempt is used up
    │       ├── RateLimited          the vendor said 429
    │       └── InstallationMissing  no usable installation for this tenant (yet)
    ├── Permanent                dead letter now
    │   └── ApiRejected(status)  the vendor refused the call for good
    │       └── ApiNotFound      404: the entity does not exist (any more)
    ├── Poison(reason)           quarantine
    │   ├── NotJson
    │   ├── WrongShape
    │   └── BrokenEnvelope
    ├── Unauthentic(reason)      401, counted
    │   ├── BadSignature
    │   └── ForeignApp
    └── Misconfigured(faults)    stop, list them

A message says what happened, with which ids, and what to do; never a token, a secret or a body.
"""

from collections.abc import Sequence
from datetime import timedelta


class LevelgateError(Exception):
    """Root of everything that Levelgate raises on purpose."""


class Retry(LevelgateError):
    """Try again later: the pair is parked, and an attempt is used up.

    `after` is the least time to wait, a year at most; without it the handler's backoff decides.
    Raises TypeError where it is no timedelta.
    """

    def __init__(self, message: str = "try again later", *, after: timedelta | None = None) -> None:
        if not isinstance(after, timedelta | None):
            raise TypeError(f"Retry(after=…) takes a timedelta, not {type(after).__name__}")
        super().__init__(message)
        self.after = after


class ApiUnavailable(Retry):
    """The vendor's API failed (5xx, time-out, no connection): nothing is known of the call's effect."""


class RefreshFailed(Retry):
    """An access token could not be had now; the stored grant is kept."""


class RefreshUnanswered(RefreshFailed):
    """The vendor's token endpoint failed or did not answer, asked more than once."""


class Waiting(Retry):
    """Waiting is not failing: the pair is parked without using up an attempt."""


class RateLimited(Waiting):
    """The vendor answered 429; `after` is its Retry-After or what is left of the interval."""


class InstallationMissing(Waiting):
    """There is no usable installation of the app for this tenant; events wait until there is one."""


class Permanent(LevelgateError):
    """No retry can help: the pair becomes a dead letter now."""


class ApiRejected(Permanent):
    """The vendor refused the call for good (a 4xx that is neither 401 of a stale token nor 429)."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class ApiNotFound(ApiRejected):
    """404: the entity does not exist, or does not any more."""

    def __init__(self, message: str) -> None:
        super().__init__(message, status=404)


class Poison(LevelgateError):
    """Signed, but not usable as an event: kept in quarantine under `reason`, a short closed word."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class NotJson(Poison):
    """The bytes are not strict JSON."""

    def __init__(self, message: str = "the body is not JSON") -> None:
        super().__init__(message, reason="not_json")


class WrongShape(Poison):
    """JSON, but not what its type should look like."""


class BrokenEnvelope(Poison):
    """A Kafka record whose headers do not make an envelope."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason="broken_envelope")


class Unauthentic(LevelgateError):
    """Not shown to come from the vendor for this app: answered 401, counted by `reason`."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class BadSignature(Unauthentic):
    """No signature, an unknown scheme, or one that no key confirms."""


class ForeignApp(Unauthentic):
    """Signed by the vendor, but for another app (`appId` of the body): its keys are the platform's."""

    def __init__(self, message: str = "the body's appId is another app's") -> None:
        super().__init__(message, reason="foreign_app")


class Misconfigured(LevelgateError):
    """Settings that can't work; `faults` lists each of them, a sentence each, without any value."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("the configuration has faults:\n" + "\n".join(f"  - {fault}" for fault in faults))
        self.faults = tuple(faults)
