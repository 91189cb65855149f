"""Whether a body was signed by the vendor: raw bytes, headers and key lists in, the scheme or a refusal out.

Pure. Never looks into the body, and never verifies anything but the bytes as they came.
Source: facts.md, Webhooks, Signatures.
"""

import base64
import binascii
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Literal, Self

import nacl.bindings
import nacl.exceptions
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from schemas.errors import BadSignature
from schemas.settings import App

ED25519_HEADER = "X-GHL-Signature"
RSA_HEADER = "x-wh-signature"

_ED25519_BYTES = 64
_NO_SIGNATURE = "N/A"
"""What the vendor writes where it has none."""

Scheme = Literal["ed25519", "rsa"]


class VerifyingKeys:
    """One app's keys per scheme, as lists, so that a new key can be added before the vendor rotates."""

    def __init__(self, ed25519: Iterable[bytes], rsa: Iterable[RSAPublicKey], rsa_until: date | None) -> None:
        self._ed25519 = tuple(ed25519)
        self._rsa = tuple(rsa)
        self._rsa_until = rsa_until

    @classmethod
    def from_app(cls, app: App) -> Self:
        """Read the keys of an app; its settings have checked that they are keys of their kind."""
        return cls(map(_ed25519_key, app.ed25519_keys), map(_rsa_key, app.rsa_keys), app.rsa_until)

    def verify(self, body: bytes, headers: Mapping[str, str], *, today: date) -> Scheme:
        """Return the scheme that confirms `body`.

        Ed25519 decides when its header is there, and a wrong one is final: an attacker who can't make one
        must not get a second try with the older scheme.

        Raises BadSignature: reason `missing`, `wrong`, `malformed` or `rsa_off`.
        """
        ed25519, rsa = _signature_headers(headers)
        if ed25519 is not None:
            self._verify_ed25519(body, _decoded(ed25519))
            return "ed25519"
        if rsa is None:
            raise BadSignature("the webhook has no signature", reason="missing")
        if self._rsa_until is None or today > self._rsa_until:
            raise BadSignature("the webhook has only an RSA signature, which is not accepted", reason="rsa_off")
        self._verify_rsa(body, _decoded(rsa))
        return "rsa"

    def _verify_ed25519(self, body: bytes, signature: bytes) -> None:
        if len(signature) != _ED25519_BYTES:
            raise BadSignature("an Ed25519 signature has 64 bytes", reason="malformed")
        signed = signature + body
        for key in self._ed25519:
            try:
                nacl.bindings.crypto_sign_open(signed, key)
            except nacl.exceptions.BadSignatureError:
                continue
            return
        raise BadSignature("no Ed25519 key confirms the signature", reason="wrong")

    def _verify_rsa(self, body: bytes, signature: bytes) -> None:
        for key in self._rsa:
            try:
                key.verify(signature, body, PKCS1v15(), SHA256())
            except InvalidSignature:
                continue
            return
        raise BadSignature("no RSA key confirms the signature", reason="wrong")


def _signature_headers(headers: Mapping[str, str]) -> tuple[str | None, str | None]:
    found: dict[str, str] = {}
    # One pass over all of them: a multidict shows a repeated header here, and its get() would hide it.
    for name, value in headers.items():
        lowered = name.lower()
        if lowered in _HEADERS and value != _NO_SIGNATURE:
            if lowered in found:
                raise BadSignature("the signature header is there twice", reason="malformed")
            found[lowered] = value
    return found.get(ED25519_HEADER.lower()), found.get(RSA_HEADER.lower())


_HEADERS = frozenset({ED25519_HEADER.lower(), RSA_HEADER.lower()})


def _decoded(signature: str) -> bytes:
    try:
        decoded = base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        decoded = b""
    if not decoded:
        raise BadSignature("the signature is not base64", reason="malformed")
    return decoded


def _ed25519_key(pem: str) -> bytes:
    key = load_pem_public_key(pem.encode())
    if not isinstance(key, Ed25519PublicKey):
        raise TypeError("not an Ed25519 public key")
    return key.public_bytes_raw()


def _rsa_key(pem: str) -> RSAPublicKey:
    key = load_pem_public_key(pem.encode())
    if not isinstance(key, RSAPublicKey):
        raise TypeError("not an RSA public key")
    return key
