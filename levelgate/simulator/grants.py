"""Who may do what: installs, authorization codes, access and refresh tokens, as OAuth at the vendor has them.

No I/O but the store. Source of the rules: facts.md, OAuth. Guesses, each in one constant: how long a code lives.
Decided here, since the vendor does not say: an agency's uninstall ends the app's tokens of all its locations too.
"""

from typing import Any, Literal

import msgspec

from levelgate.simulator import refusals
from levelgate.simulator.clock import Clock
from levelgate.simulator.names import new_id, new_token
from levelgate.simulator.store import Body, Store

ACCESS_LIFETIME_S = 86_399
REFRESH_LIFETIME_S = 365 * 86_400
GRACE_S = 30
"""How long a used refresh token still gives the tokens that its first use gave."""
CODE_LIFETIME_S = 600
"""A guess: undocumented."""

PLAN_ID = "66f0c1d2e3a4b59687786960"
USER_ID = "Lm4Qa9Xe2Rk7Ub5Tz1Wy"

Level = Literal["location", "company"]


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """What a token stands for."""

    app_id: str
    level: Level
    company: str
    location: str | None
    scopes: tuple[str, ...]
    bulk: bool = False

    @property
    def tenant(self) -> str:
        """Whose limits a call with this token draws on."""
        return self.location or self.company


class Grants:
    """The vendor's side of OAuth, over the store."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self.exchange_gives_refresh_token = True
        """The v2 document says no, the vendor's newest answer says yes (facts.md, Company → location)."""
        self._forget_what_is_over()

    # Installs

    def install(self, app_id: str, location: str) -> bool:
        """Install the app on a location; return whether it was not installed before."""
        if self.is_installed(app_id, location):
            return False
        self._store.put("install", f"{app_id}:{location}", location, {"installedAt": self._clock.iso()})
        return True

    def install_agency(self, app_id: str, company: str, *, bulk: bool) -> list[str]:
        """Install the app for an agency; a bulk install puts it on all its locations. Return the new ones."""
        self._store.put("agency", f"{app_id}:{company}", company, {"bulk": bulk})
        if not bulk:
            return []
        return [location for location in self.locations_of(company) if self.install(app_id, location)]

    def uninstall(self, app_id: str, tenant: str) -> None:
        """Remove the app from a location, or from an agency and all its locations; their tokens end."""
        tenants = {tenant, *self.locations_of(tenant)} if self._store.get("company", tenant) else {tenant}
        for each in tenants:
            self._store.remove("install", f"{app_id}:{each}")
            self._store.remove("agency", f"{app_id}:{each}")
        for kind in ("code", "access", "refresh"):
            for token, entry in self._store.all(kind):
                if entry.tenant in tenants and entry.body["grant"]["app_id"] == app_id:
                    self._store.remove(kind, token)

    def is_installed(self, app_id: str, location: str) -> bool:
        """Whether the location has the app."""
        return self._store.get("install", f"{app_id}:{location}") is not None

    def installs_future_locations(self, app_id: str, company: str) -> bool:
        """Whether the agency has the app in bulk, so that its future locations get it too."""
        entry = self._store.get("agency", f"{app_id}:{company}")
        return entry is not None and bool(entry.body["bulk"])

    def locations_of(self, company: str) -> list[str]:
        """Return the ids of the agency's locations, oldest first."""
        return [key for key, entry in self._store.all("location") if entry.body.get("companyId") == company]

    def set_active(self, location: str, *, active: bool) -> None:
        """Pause a location, or bring it back: while it is paused its refresh tokens give nothing."""
        if active:
            self._store.remove("inactive", location)
        else:
            self._store.put("inactive", location, location, {})

    # Tokens

    def code(self, principal: Principal, redirect_uri: str | None) -> str:
        """Return a new authorization code."""
        code = new_id() + new_id()
        body = {"grant": _plain(principal), "redirect_uri": redirect_uri, "at": self._clock.now()}
        self._store.put("code", code, principal.tenant, body)
        return code

    def spend_code(self, app_id: str, code: str, redirect_uri: str | None) -> Body:
        """Return the tokens for a code; it works once, for the redirect URI that it was given to."""
        entry = self._store.get("code", code)
        if entry is None or entry.body["grant"]["app_id"] != app_id:
            raise refusals.bad_code()
        self._store.remove("code", code)
        expected = entry.body["redirect_uri"]
        if self._clock.now() > entry.body["at"] + CODE_LIFETIME_S or (
            redirect_uri and expected not in {None, redirect_uri}
        ):
            raise refusals.bad_code()
        return self.issue(_principal(entry.body["grant"]))

    def refresh(self, app_id: str, token: str, user_type: str | None) -> Body:
        """Return new tokens for a refresh token, which ends with it but for the grace."""
        entry = self._store.get("refresh", token)
        if entry is None or entry.body["grant"]["app_id"] != app_id:
            raise refusals.bad_refresh_token()
        body, now = entry.body, self._clock.now()
        if body["used_at"] is not None:
            if now > body["used_at"] + GRACE_S:
                raise refusals.bad_refresh_token()
            answer: Body = body["answer"]
            return answer
        principal = _principal(body["grant"])
        if now > body["at"] + REFRESH_LIFETIME_S:
            raise refusals.bad_refresh_token()
        if user_type is not None and user_type.lower() != principal.level:
            raise refusals.Refusal(400, "Invalid parameter: user_type")
        self._demand_active(principal.location)
        answer = self.issue(principal)
        self._store.put("refresh", token, entry.tenant, {**body, "used_at": now, "answer": answer})
        return answer

    def exchange(self, principal: Principal, company: str, location: str) -> Body:
        """Return a location's tokens for its agency's."""
        entry = self._store.get("location", location)
        if company != principal.company or entry is None or entry.body.get("companyId") != company:
            raise refusals.wrong_tenant()
        if not self.is_installed(principal.app_id, location):
            raise refusals.not_installed()
        self._demand_active(location)
        answer = self.issue(msgspec.structs.replace(principal, level="location", location=location, bulk=False))
        for absent in (
            "companyId",
            "isBulkInstallation",
            *(() if self.exchange_gives_refresh_token else ("refresh_token",)),
        ):
            answer.pop(absent, None)
        return answer

    def issue(self, principal: Principal) -> Body:
        """Return new tokens as `/oauth/token` answers them, v2 field names."""
        access = new_token(authClass=principal.level, authClassId=principal.tenant)
        refresh = new_token(authClass=principal.level, authClassId=principal.tenant, use="refresh")
        grant, now = _plain(principal), self._clock.now()
        self._store.put("access", access, principal.tenant, {"grant": grant, "until": now + ACCESS_LIFETIME_S})
        self._store.put(
            "refresh", refresh, principal.tenant, {"grant": grant, "at": now, "used_at": None, "answer": None}
        )
        answer: Body = {
            "access_token": access,
            "token_type": "Bearer",
            "expires_in": ACCESS_LIFETIME_S,
            "refresh_token": refresh,
            "scope": " ".join(principal.scopes),
            "userType": principal.level.capitalize(),
            "companyId": principal.company,
            "userId": USER_ID,
            "planId": PLAN_ID,
            "isBulkInstallation": principal.bulk,
        }
        if principal.location is not None:
            answer["locationId"] = principal.location
        elif principal.bulk:
            # Which locations were just chosen is not said (issue 294).
            answer |= {"approveAllLocations": True, "installToFutureLocations": True}
        return answer

    def principal(self, access_token: str) -> Principal | None:
        """Return what an access token stands for, or None where it is unknown, expired or ended."""
        entry = self._store.get("access", access_token)
        if entry is None or self._clock.now() > entry.body["until"]:
            return None
        return _principal(entry.body["grant"])

    def installed_locations(self, principal: Principal, location: str | None = None) -> list[Body]:
        """Return all locations of the agency, each with whether it has the app."""
        listed = []
        for key in self.locations_of(principal.company):
            entry = self._store.get("location", key)
            if entry is None or (location is not None and key != location):
                continue
            install = self._store.get("install", f"{principal.app_id}:{key}")
            row: Body = {"_id": key, "name": entry.body.get("name", ""), "address": entry.body.get("address", "")}
            row["isInstalled"] = install is not None
            if install is not None:
                row |= {"versionId": version_id(principal.app_id), "installedAt": install.body["installedAt"]}
            listed.append(row)
        return listed

    def _demand_active(self, location: str | None) -> None:
        if location is not None and self._store.get("inactive", location) is not None:
            raise refusals.inactive_location()

    def _forget_what_is_over(self) -> None:
        now = self._clock.now()
        for token, entry in self._store.all("access"):
            if now > entry.body["until"]:
                self._store.remove("access", token)
        for token, entry in self._store.all("refresh"):
            used_at = entry.body["used_at"]
            if now > (entry.body["at"] + REFRESH_LIFETIME_S if used_at is None else used_at + GRACE_S):
                self._store.remove("refresh", token)
        for code, entry in self._store.all("code"):
            if now > entry.body["at"] + CODE_LIFETIME_S:
                self._store.remove("code", code)


def version_id(app_id: str) -> str:
    """Return the id of the app's one version: the app's with another first digit."""
    return "6" + app_id[1:-1] + "b" if app_id else app_id


def _plain(principal: Principal) -> Body:
    plain: Body = msgspec.to_builtins(principal)
    return plain


def _principal(body: Any) -> Principal:  # noqa: ANN401 -- what the journal kept of a Principal
    return msgspec.convert(body, Principal)
