"""Webhooks as the vendor sends them."""

import json
from datetime import UTC, datetime

from tests.support.keys import sign_ed25519, sign_rsa

APP_ID = "66f0c1d2e3a4b5968778695a"
LOCATION = "ve9EPM428h8vShlRW1KT"


def webhook(event="ContactCreate", **fields) -> dict[str, object]:
    """A body of this type with what the vendor adds to each; `field=None` is sent as null, `...` leaves it out."""
    common = {
        "type": event,
        "locationId": LOCATION,
        "id": "nmFmQEsNgz6AVpgLVUJ0",
        "appId": APP_ID,
        "webhookId": "d1a2f9d6-6c1a-4d6e-9f0e-0f6d3c3b7a11",
        "timestamp": datetime.now(UTC).isoformat(),
    }
    return {name: value for name, value in {**common, **fields}.items() if value is not ...}


def encoded(body) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()


def signed(body: bytes, scheme="ed25519") -> dict[str, str]:
    headers = {"Content-Type": "application/json"}
    match scheme:
        case "ed25519":
            headers["X-GHL-Signature"] = sign_ed25519(body)
        case "rsa":
            headers["x-wh-signature"] = sign_rsa(body)
        case "wrong":
            headers["X-GHL-Signature"] = sign_ed25519(body + b" ")
        case "N/A":
            headers["X-GHL-Signature"] = "N/A"
    return headers
