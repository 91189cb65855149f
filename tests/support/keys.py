"""The key pairs that tests sign with, in the vendor's two schemes, and the key ring that encrypts tokens."""

import base64
from functools import cache

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

TOKEN_KEYS = "test:" + base64.b64encode(bytes(range(32))).decode()

_ED25519 = Ed25519PrivateKey.from_private_bytes(b"levelgate tests sign with this 1")


def ed25519_public_pem() -> str:
    return _ED25519.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def rsa_public_pem() -> str:
    return _rsa().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def sign_ed25519(body: bytes) -> str:
    """Return what the vendor puts into `X-GHL-Signature`."""
    return base64.b64encode(_ED25519.sign(body)).decode()


def sign_rsa(body: bytes) -> str:
    """Return what the vendor puts into `x-wh-signature`."""
    return base64.b64encode(_rsa().sign(body, padding.PKCS1v15(), hashes.SHA256())).decode()


@cache
def _rsa() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)
