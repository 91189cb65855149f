"""What the simulated API answers when it refuses: one place for every text, each with its source or marked a guess."""

import uuid
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any


class Refusal(Exception):
    """An answer of 400 or more, in the vendor's shape."""

    def __init__(self, status: int, message: str | list[str]) -> None:
        super().__init__(f"answered {status}")
        self.status = status
        self.message = message

    def body(self) -> dict[str, Any]:
        """Return the answer's JSON (facts.md, API conventions, Errors)."""
        return {
            "statusCode": self.status,
            "message": self.message,
            "error": HTTPStatus(self.status).phrase,
            "traceId": str(uuid.uuid4()),
        }


def invalid_token() -> Refusal:
    """No bearer token, an unknown, expired or revoked one (issue 213)."""
    return Refusal(401, "Invalid JWT")


def wrong_scope() -> Refusal:
    """Refuse a call beyond the scopes of a good token: no refresh helps (issue 217)."""
    return Refusal(401, "The token is not authorized for this scope.")


def wrong_tenant() -> Refusal:
    """Another location's token, or a company token on a location's call (issue 213)."""
    return Refusal(403, "The token does not have access to this location.")


def not_found(kind: str, entity_id: str) -> Refusal:
    """No such entity; the text is a guess."""
    return Refusal(404, f"{kind.capitalize()} with id {entity_id} not found")


def no_such_path(method: str, path: str) -> Refusal:
    """Nothing answers there."""
    return Refusal(404, f"Cannot {method} {path}")


def not_in_v3(path: str) -> Refusal:
    """Refuse a path of v2 that is asked for as v3 (issue 304)."""
    return Refusal(
        400,
        f"Endpoint {path} not available in API version v3. This endpoint was removed in version v3. "
        "Please use a version before v3.",
    )


def bad_version() -> Refusal:
    """No Version header, or one that is not served; status and text are a guess."""
    return Refusal(400, "Version header is missing or not served")


def malformed(faults: Sequence[str]) -> Refusal:
    """Fields are missing or wrong: the message is a list (n8n-io/n8n issue 12689 shows one of /oauth/token)."""
    return Refusal(422, list(faults))


def too_many() -> Refusal:
    """Beyond the limits; body undocumented, a guess; no Retry-After, since none is documented either."""
    return Refusal(429, "Too Many Requests")


def bad_client() -> Refusal:
    """Unknown client_id or wrong client_secret; v2 documents the status 401 without a text."""
    return Refusal(401, "Invalid client credentials")


def bad_code() -> Refusal:
    """Refuse an authorization code that is unknown, used or expired; the text follows that of the refresh token."""
    return Refusal(400, "Invalid grant: authorization code is invalid")


def bad_refresh_token() -> Refusal:
    """Wrong, expired or used up: final once the grace is over (facts.md, Refusals)."""
    return Refusal(400, "Invalid grant: refresh token is invalid")


def inactive_location() -> Refusal:
    """Refuse for now: the same refresh token works again when the location is active (facts.md, Refusals)."""
    return Refusal(400, "Location is not active")


def reconnect_removed() -> Refusal:
    """`POST /oauth/reconnect` is gone (issue 333)."""
    return Refusal(400, "This endpoint has been removed")


def not_installed() -> Refusal:
    """Refuse a location without the app; status and text are a guess."""
    return Refusal(400, "App is not installed on this location")
