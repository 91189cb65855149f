"""The vendor's OAuth grants, one function each; what they answer becomes a `Grant`, or a typed error.

Keeps nothing and decides nothing: `tokens.py` does. Source: facts.md §1 (v2 of the endpoints).

Errors: GrantRefused (the vendor said no), RateLimited, ApiUnavailable (no usable answer: the grant may have been
spent or not).
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Literal
from urllib.parse import urlencode

import aiohttp
import msgspec
from pydantic import SecretStr
from yarl import URL

from levelgate.highlevel.paging import by_offset
from levelgate.highlevel.rate_limits import wait_after_429
from levelgate.highlevel.wire import Answer, exchange
from schemas.errors import ApiUnavailable, Permanent, RateLimited
from schemas.ids import CompanyId, LocationId, TenantId
from schemas.settings import App, Vendor

Level = Literal["location", "company"]

TOKEN_CALL_TIMEOUT_S = 8.0
"""Refresh and exchange: short enough to be repeated within the vendor's 30 s of grace (design §9.11)."""

_VERSION = {"Version": "2021-07-28"}
_USER_TYPES: Mapping[Level, str] = {"location": "Location", "company": "Company"}
_LIFETIME_S = 86_399
"""The documented `expires_in`, where an answer has none; a 401 corrects it."""
_PAGE_SIZE = 100


class Refusal(Enum):
    """Why the vendor refused a grant, as far as its texts tell."""

    INVALID_GRANT = "invalid_grant"
    """The code or refresh token is wrong, expired or used: final."""
    INACTIVE = "inactive"
    """The location is not active: the same refresh token works again once it is."""
    UNAUTHORIZED = "unauthorized"
    """401 without a known text: of an exchange, the company token is stale."""
    OTHER = "other"


class GrantRefused(Permanent):
    """The vendor refused a code, a refresh token or an exchange."""

    def __init__(self, message: str, *, refusal: Refusal, status: int) -> None:
        super().__init__(message)
        self.refusal = refusal
        self.status = status


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """An access token with what came along. Only the token is sure to be there."""

    access_token: SecretStr
    level: Level
    refresh_token: SecretStr | None = None
    expires_in_s: int = _LIFETIME_S
    company: CompanyId | None = None
    location: LocationId | None = None
    scopes: tuple[str, ...] = ()
    user: str | None = None
    is_bulk: bool = False
    """A company's grant of a sub-account app: its locations get theirs by exchange."""

    @property
    def tenant(self) -> TenantId | None:
        """Whose token it is; None where the answer did not say."""
        return _tenant(self.location if self.level == "location" else self.company)


class InstalledLocation(msgspec.Struct, frozen=True):
    """One location where the app is installed."""

    id: LocationId
    name: str | None = None


def consent_url(vendor: Vendor, app: App, *, redirect_uri: str, state: str) -> str:
    """Return where to send the person who installs the app."""
    query = {
        "response_type": "code",
        "redirect_uri": redirect_uri,
        "client_id": app.client_id,
        "scope": " ".join(app.scopes),
        "state": state,
    }
    return f"{vendor.consent_url}?{urlencode(query)}"


async def exchange_code(
    session: aiohttp.ClientSession, vendor: Vendor, app: App, *, code: str, redirect_uri: str
) -> Grant:
    """Trade an authorization code for the first tokens. A code works once: see design §9.12 before calling."""
    fields = {
        "grant_type": "authorization_code",
        "code": code,
        "user_type": _USER_TYPES[app.level],
        "redirect_uri": redirect_uri,
    }
    answer = await _ask_for_token(session, vendor, app, fields, timeout_s=vendor.call_timeout_s)
    grant = _grant(answer, level=None)
    if grant.tenant is None:
        raise ApiUnavailable(f"{answer.named} answered a token without saying whose it is")
    return grant


async def refresh(
    session: aiohttp.ClientSession, vendor: Vendor, app: App, *, refresh_token: SecretStr, level: Level
) -> Grant:
    """Trade a refresh token for new tokens; it is used up, but for 30 s gives the same answer again."""
    fields = {
        "grant_type": "refresh_token",
        "refresh_token": refresh_token.get_secret_value(),
        "user_type": _USER_TYPES[level],
    }
    answer = await _ask_for_token(session, vendor, app, fields, timeout_s=TOKEN_CALL_TIMEOUT_S)
    return _grant(answer, level=level)


async def location_token(
    session: aiohttp.ClientSession,
    vendor: Vendor,
    *,
    company_token: SecretStr,
    company: CompanyId,
    location: LocationId,
) -> Grant:
    """Trade a company's access token for one of its locations'; it may come without a refresh token."""
    answer = await exchange(
        session,
        "POST",
        URL(vendor.api_url) / "oauth/locationToken",
        named="POST /oauth/locationToken",
        headers=_bearer(company_token),
        data={"companyId": company, "locationId": location},
        timeout_s=TOKEN_CALL_TIMEOUT_S,
    )
    grant = _grant(_successful(answer), level="location")
    return msgspec.structs.replace(grant, company=company, location=location)


def installed_locations(
    session: aiohttp.ClientSession, vendor: Vendor, app: App, *, company_token: SecretStr, company: CompanyId
) -> AsyncGenerator[InstalledLocation, None]:
    """Yield every location of the company where the app is installed, page after page."""

    async def fetch(skip: int) -> Sequence[InstalledLocation]:
        query = {"companyId": company, "appId": app.app_id, "isInstalled": "true"}
        paged = query | {"skip": str(skip), "limit": str(_PAGE_SIZE)}
        answer = await exchange(
            session,
            "GET",
            (URL(vendor.api_url) / "oauth/installedLocations").with_query(paged),
            named="GET /oauth/installedLocations",
            headers=_bearer(company_token),
            timeout_s=vendor.call_timeout_s,
        )
        found = _object(_successful(answer)).get("locations")
        return [_installed(entry) for entry in found if _is_location(entry)] if isinstance(found, list) else []

    return by_offset(fetch, key=lambda location: location.id)


async def _ask_for_token(
    session: aiohttp.ClientSession, vendor: Vendor, app: App, fields: Mapping[str, str], *, timeout_s: float
) -> Answer:
    secrets = {"client_id": app.client_id, "client_secret": app.client_secret.get_secret_value()}
    answer = await exchange(
        session,
        "POST",
        URL(vendor.api_url) / "oauth/token",
        named="POST /oauth/token",
        headers=_VERSION,
        data=secrets | dict(fields),
        timeout_s=timeout_s,
    )
    return _successful(answer)


def _bearer(token: SecretStr) -> dict[str, str]:
    return {"Authorization": f"Bearer {token.get_secret_value()}", **_VERSION}


def _successful(answer: Answer) -> Answer:
    """Return the answer if it is a success; raise what else it means."""
    if answer.is_success:
        return answer
    said = f"{answer.named} answered {answer.status}{answer.trace}"
    if answer.status == 429:  # noqa: PLR2004 -- HTTP
        raise RateLimited(said, after=wait_after_429(answer.headers, now=datetime.now(UTC)))
    if answer.status >= 500:  # noqa: PLR2004 -- HTTP
        raise ApiUnavailable(said)
    refusal = _refusal(answer)
    raise GrantRefused(f"{said}: {refusal.value}", refusal=refusal, status=answer.status)


def _refusal(answer: Answer) -> Refusal:
    """Judge a refusal by its text: v3 documents these two, v2 none (facts.md §1, Refusals)."""
    complaint = answer.complaint()
    if "not active" in complaint:
        return Refusal.INACTIVE
    if "invalid grant" in complaint or "invalid_grant" in complaint:
        return Refusal.INVALID_GRANT
    return Refusal.UNAUTHORIZED if answer.status == 401 else Refusal.OTHER  # noqa: PLR2004 -- HTTP


def _grant(answer: Answer, *, level: Level | None) -> Grant:
    body = _object(answer)
    token = _text(body, "access_token")
    if token is None:
        raise ApiUnavailable(f"{answer.named} answered {answer.status} without an access token")
    location = _text(body, "locationId")
    refresh_token = _text(body, "refresh_token")
    return Grant(
        access_token=SecretStr(token),
        level=level or _level(_text(body, "userType"), location),
        refresh_token=SecretStr(refresh_token) if refresh_token else None,
        expires_in_s=_lifetime_s(body.get("expires_in")),
        company=CompanyId(company) if (company := _text(body, "companyId")) else None,
        location=LocationId(location) if location else None,
        scopes=tuple((_text(body, "scope") or "").split()),
        user=_text(body, "userId"),
        is_bulk=body.get("isBulkInstallation") is True,
    )


def _level(user_type: str | None, location: str | None) -> Level:
    if user_type is None:
        return "location" if location else "company"
    return "location" if user_type.lower() == "location" else "company"


def _lifetime_s(value: Any) -> int:  # noqa: ANN401 -- any JSON
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return max(0, min(int(value), 366 * 86_400)) if is_number else _LIFETIME_S


def _object(answer: Answer) -> dict[str, Any]:
    body = answer.json()
    if not isinstance(body, dict):
        raise ApiUnavailable(f"{answer.named} answered {answer.status} with something that is not a JSON object")
    return body


def _text(body: Mapping[str, Any], name: str) -> str | None:
    value = body.get(name)
    return value if isinstance(value, str) and value else None


def _is_location(entry: Any) -> bool:  # noqa: ANN401 -- any JSON
    return isinstance(entry, dict) and _text(entry, "_id") is not None and entry.get("isInstalled") is not False


def _installed(entry: Mapping[str, Any]) -> InstalledLocation:
    return InstalledLocation(LocationId(entry["_id"]), _text(entry, "name"))


def _tenant(of: LocationId | CompanyId | None) -> TenantId | None:
    return None if of is None else TenantId(of)
