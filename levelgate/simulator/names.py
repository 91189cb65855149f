"""How ids and tokens of the simulator look: the shapes that the vendor's have. Nothing here is guessable."""

import base64
import secrets
import string

import orjson

_ALPHABET = string.ascii_letters + string.digits
_ID_LENGTH = 20
_OBJECT_ID_BYTES = 12


def new_id() -> str:
    """Return an id as contacts, locations and most entities have: 20 letters and digits."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(_ID_LENGTH))


def new_object_id() -> str:
    """Return an id as orders, invoices, products and prices have: 24 hexadecimal digits."""
    return secrets.token_hex(_OBJECT_ID_BYTES)


def new_token(**claims: str) -> str:
    """Return an opaque token in the shape of a JWT, so that what redacts the vendor's tokens redacts these."""
    return ".".join((_segment({"alg": "HS256", "typ": "JWT"}), _segment(claims), secrets.token_urlsafe(32)))


def _segment(value: dict[str, str]) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(value)).rstrip(b"=").decode()
