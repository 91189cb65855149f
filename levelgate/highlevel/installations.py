"""An installation's states, and what to do when somebody asks for its token.

Pure: a row of the table and its clock in, the next step out. The steps are carried out by `tokens.py`.

    pending ──tokens by code or exchange──► active ──uninstalled──► gone ──INSTALL──► pending
                                            │    ▲
                         "not active" ▼     │    │ refreshed, exchanged, installed again
                                  inactive ─┼────┤
                     refused for good ▼     │    │
                                    broken ─┴────┘
"""

from datetime import datetime, timedelta
from enum import Enum
from typing import Literal

import msgspec

from levelgate.highlevel.oauth import Level
from schemas.ids import AppName, CompanyId, TenantId

State = Literal["pending", "active", "inactive", "broken", "gone"]

MARGIN = timedelta(seconds=60)
"""A token is handed out only while it is good for this long."""


class Installation(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `installation` as it was at `now`, the database's clock; the tokens are still encrypted."""

    app: AppName
    tenant: TenantId
    level: Level
    company: CompanyId | None
    state: State
    access_token: bytes | None
    refresh_token: bytes | None
    expires_at: datetime | None
    scopes: tuple[str, ...]
    version: int
    lease_until: datetime | None
    retry_at: datetime | None
    installed_at: datetime
    updated_at: datetime
    now: datetime

    @property
    def good_for(self) -> timedelta:
        """How long the access token is good; nothing where there is none."""
        if self.access_token is None or self.expires_at is None:
            return timedelta(0)
        return self.expires_at - self.now

    @property
    def can_exchange(self) -> bool:
        """Whether a company is known whose token could be traded for this location's.

        The vendor's samples have a location and a company of one id: a row can't be exchanged for itself.
        """
        return self.level == "location" and self.company is not None and str(self.company) != self.tenant


class Step(Enum):
    """What to do for a token."""

    USE = "use"
    WAIT = "wait"
    """Somebody else is at it: look again soon."""
    REFRESH = "refresh"
    EXCHANGE = "exchange"
    LATER = "later"
    """It failed a moment ago: not before `retry_at`."""
    NOTHING = "nothing"
    """There is no way to a token."""


def next_step(row: Installation) -> Step:
    """Return what to do for a token of this installation."""
    if row.state == "gone":
        return Step.NOTHING
    if row.state == "active" and row.good_for > MARGIN:
        return Step.USE
    if row.lease_until is not None and row.lease_until > row.now:
        return Step.WAIT
    if row.retry_at is not None and row.retry_at > row.now:
        return Step.LATER
    if row.refresh_token is not None and row.state in {"active", "inactive"}:
        return Step.REFRESH
    return Step.EXCHANGE if row.can_exchange else Step.NOTHING
