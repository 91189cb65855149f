"""What a setting's text must look like: the parsers and checks behind `schemas.settings`. Pure.

No message repeats the value that it complains of, since a value may be a secret.
"""

import base64
import binascii
import json
import re
from typing import Annotated
from urllib.parse import urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from pydantic import AfterValidator, BeforeValidator, SecretStr
from pydantic_settings import NoDecode

_PEM = re.compile(r"-----BEGIN [A-Z ]+-----.*?-----END [A-Z ]+-----\n?", re.DOTALL)
_BROKER = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s:,\[\]/]+)(:\d{1,5})?")
_KEY_BYTES = 32


def _json_list(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("starts like a JSON list and is none") from None


def _words(value: object) -> object:
    if not isinstance(value, str):
        return value
    return _json_list(value) if value.lstrip().startswith("[") else tuple(re.findall(r"[^\s,]+", value))


def _pem_texts(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return _json_list(value)
    # In an environment variable or a mounted file the keys stand one after the other.
    return tuple(_PEM.findall(value.replace("\\n", "\n"))) or (value,)


def _http_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        raise ValueError("is not a URL") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or re.search(r"\s", value):
        raise ValueError("write a URL that starts with http:// or https://")
    return value.rstrip("/")


def _database_url(value: SecretStr) -> SecretStr:
    try:
        parts = urlsplit(value.get_secret_value())
        _ = parts.port
    except ValueError:
        raise ValueError("is not a URL") from None
    if parts.scheme not in {"postgresql", "postgres"}:
        raise ValueError("write a URL that starts with postgresql://")
    return value


def _brokers(value: str) -> str:
    if not all(_BROKER.fullmatch(part.strip()) for part in value.split(",")):
        raise ValueError("write host:port, several of them comma-separated")
    return value


def _ed25519_key(value: str) -> str:
    return _public_key(value, Ed25519PublicKey, "an Ed25519")


def _rsa_key(value: str) -> str:
    return _public_key(value, RSAPublicKey, "an RSA")


def _public_key(value: str, kind: type[Ed25519PublicKey | RSAPublicKey], name: str) -> str:
    try:
        key = load_pem_public_key(value.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("is not a public key in PEM") from None
    if not isinstance(key, kind):
        raise ValueError(f"is not {name} key")  # noqa: TRY004 -- pydantic takes ValueError only
    return value


Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)]
"""Several words: in one text, parted by commas or blanks, or a JSON list."""

Ed25519Keys = Annotated[tuple[Annotated[str, AfterValidator(_ed25519_key)], ...], NoDecode, BeforeValidator(_pem_texts)]
"""Public keys in PEM: in one text, one after the other, or a list."""

RsaKeys = Annotated[tuple[Annotated[str, AfterValidator(_rsa_key)], ...], NoDecode, BeforeValidator(_pem_texts)]
"""Public keys in PEM: in one text, one after the other, or a list."""

HttpUrl = Annotated[str, AfterValidator(_http_url)]
"""An http or https URL, without a slash at its end."""

DatabaseUrl = Annotated[SecretStr, AfterValidator(_database_url)]

Brokers = Annotated[str, AfterValidator(_brokers)]


def parse_token_keys(value: SecretStr) -> dict[str, bytes]:
    """Return the key ring as id → 32 bytes, in order; raise ValueError (without the value) where it is broken."""
    keys: dict[str, bytes] = {}
    for part in value.get_secret_value().split(","):
        key_id, colon, encoded = part.strip().partition(":")
        try:
            key = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("a key is not base64") from None
        if not colon or not key_id or len(key) != _KEY_BYTES:
            raise ValueError("write each key as id:base64 of 32 random bytes, comma-separated")
        if key_id in keys:
            raise ValueError("two keys have the same id")
        keys[key_id] = key
    return keys


def _token_keys(value: SecretStr) -> SecretStr:
    parse_token_keys(value)
    return value


TokenKeys = Annotated[SecretStr, AfterValidator(_token_keys)]
"""The key ring that encrypts tokens: `id:base64 of 32 bytes`, comma-separated; the first one encrypts."""
