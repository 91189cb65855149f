"""The simulator's signing keys, both schemes: made once, kept as PEM files that only their owner reads."""

import base64
from pathlib import Path
from typing import Literal

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

Scheme = Literal["ed25519", "rsa", "both", "none", "wrong"]

ED25519_HEADER = "X-GHL-Signature"
RSA_HEADER = "x-wh-signature"

_RSA_BITS = 4096


class SimulatorKeys:
    """A pair of each scheme. Signing with RSA takes some milliseconds, Ed25519 a tenth of one."""

    def __init__(self, ed25519: Ed25519PrivateKey, rsa_key: rsa.RSAPrivateKey) -> None:
        self._ed25519 = ed25519
        self._rsa = rsa_key
        self.ed25519_public_pem = _public_pem(ed25519)
        self.rsa_public_pem = _public_pem(rsa_key)

    def headers(self, body: bytes, scheme: Scheme = "both") -> dict[str, str]:
        """Return the signature headers for `body`; `wrong` is a good signature of another body, `none` no header."""
        if scheme == "none":
            return {}
        if scheme == "wrong":
            return {ED25519_HEADER: _base64(self._ed25519.sign(body + b" "))}
        signed = {}
        if scheme in {"ed25519", "both"}:
            signed[ED25519_HEADER] = _base64(self._ed25519.sign(body))
        if scheme in {"rsa", "both"}:
            signed[RSA_HEADER] = _base64(self._rsa.sign(body, padding.PKCS1v15(), SHA256()))
        return signed


def new_keys(*, rsa_bits: int = _RSA_BITS) -> SimulatorKeys:
    """Return fresh keys that are kept nowhere. Blocks: a long RSA pair takes seconds to make."""
    rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=rsa_bits)
    return SimulatorKeys(Ed25519PrivateKey.generate(), rsa_key)


def ensure_keys(data_dir: Path) -> SimulatorKeys:
    """Return the keys of `data_dir`, made anew where they are missing. Blocks: an RSA pair takes seconds to make."""
    ed25519 = _load(data_dir / "ed25519.pem") or _keep(data_dir / "ed25519.pem", Ed25519PrivateKey.generate())
    rsa_key = _load(data_dir / "rsa.pem") or _keep(
        data_dir / "rsa.pem", rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS)
    )
    if not isinstance(ed25519, Ed25519PrivateKey) or not isinstance(rsa_key, rsa.RSAPrivateKey):
        raise TypeError(f"the keys in {data_dir} are of other kinds than their names say; delete them")
    return SimulatorKeys(ed25519, rsa_key)


def _load(path: Path) -> object | None:
    return load_pem_private_key(path.read_bytes(), password=None) if path.exists() else None


def _keep(path: Path, key: Ed25519PrivateKey | rsa.RSAPrivateKey) -> Ed25519PrivateKey | rsa.RSAPrivateKey:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.touch(mode=0o600)
    fresh.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    fresh.replace(path)
    return key


def _public_pem(key: Ed25519PrivateKey | rsa.RSAPrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _base64(signature: bytes) -> str:
    return base64.b64encode(signature).decode()
