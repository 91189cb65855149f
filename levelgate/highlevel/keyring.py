"""Encrypt and decrypt what is stored of tokens: AES-256-GCM under a ring of keys, so that keys can be rotated.

Pure. A blob is: format byte, length of the key id, key id, nonce, ciphertext with its tag. Everything before the
ciphertext is authenticated, and so is the caller's context: a blob moved to another row does not decrypt.
"""

import os
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from schemas.errors import Misconfigured, RefreshFailed

_FORMAT = 1
_HEAD_BYTES = 2
_NONCE_BYTES = 12
_MAX_KEY_ID_BYTES = 255


class CannotDecrypt(RefreshFailed):
    """A stored token can't be read: its key is missing from the ring, or the blob is damaged. Nothing is deleted."""


class KeyRing:
    """Keys by id; the first one encrypts, any of them decrypts."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        if not keys or any(not 0 < len(key_id.encode()) <= _MAX_KEY_ID_BYTES for key_id in keys):
            raise Misconfigured(["the token key ring needs at least one key, with an id of 1 to 255 bytes each"])
        self._ciphers = {key_id: AESGCM(key) for key_id, key in keys.items()}
        self.current_id = next(iter(keys))

    def encrypt(self, text: str, *, context: bytes) -> bytes:
        """Return `text` under the current key; only the same `context` opens it again."""
        key_id = self.current_id.encode()
        head = bytes((_FORMAT, len(key_id))) + key_id
        nonce = os.urandom(_NONCE_BYTES)
        return head + nonce + self._ciphers[self.current_id].encrypt(nonce, text.encode(), head + context)

    def decrypt(self, blob: bytes, *, context: bytes) -> str:
        """Return the text of a blob that `encrypt` made with the same `context`, under any key of the ring.

        Raises CannotDecrypt.
        """
        key_id = _key_id(blob)
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise CannotDecrypt(f"a stored token needs the key {key_id!r}: put it back into LEVELGATE_TOKEN_KEYS")
        head_end = _HEAD_BYTES + blob[1]
        nonce_end = head_end + _NONCE_BYTES
        nonce = blob[head_end:nonce_end]
        if len(nonce) == _NONCE_BYTES:
            try:
                return cipher.decrypt(nonce, blob[nonce_end:], blob[:head_end] + context).decode()
            except InvalidTag:
                pass
        raise CannotDecrypt(f"a stored token does not open with the key {key_id!r}: another key of that id, or damage")


def _key_id(blob: bytes) -> str:
    if len(blob) < _HEAD_BYTES or blob[0] != _FORMAT or len(blob) < _HEAD_BYTES + blob[1]:
        raise CannotDecrypt("a stored token is damaged")
    return blob[_HEAD_BYTES : _HEAD_BYTES + blob[1]].decode(errors="replace")
