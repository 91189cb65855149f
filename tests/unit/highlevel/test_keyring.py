"""What is stored opens with its key and its context, and with nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from levelgate.highlevel.keyring import CannotDecrypt, KeyRing
from schemas.errors import Misconfigured

OLD, NEW = b"o" * 32, b"n" * 32


@given(text=st.text(), context=st.binary())
def test_what_was_encrypted_comes_back(text, context):
    ring = KeyRing({"k1": OLD})
    assert ring.decrypt(ring.encrypt(text, context=context), context=context) == text


@given(text=st.text(min_size=1), place=st.integers(min_value=0), bit=st.integers(0, 7))
def test_a_blob_changed_by_one_bit_does_not_open(text, place, bit):
    ring = KeyRing({"k1": OLD, "k0": OLD})
    blob = bytearray(ring.encrypt(text, context=b"row"))
    blob[place % len(blob)] ^= 1 << bit
    with pytest.raises(CannotDecrypt):
        ring.decrypt(bytes(blob), context=b"row")


@given(st.binary(max_size=60))
def test_any_bytes_end_in_the_one_error(blob):
    with pytest.raises(CannotDecrypt):
        KeyRing({"k1": OLD}).decrypt(blob, context=b"")


def test_a_blob_of_another_row_does_not_open():
    ring = KeyRing({"k1": OLD})
    with pytest.raises(CannotDecrypt):
        ring.decrypt(ring.encrypt("token", context=b"row 1"), context=b"row 2")


def test_a_rotated_ring_reads_the_old_and_writes_the_new():
    stored = KeyRing({"k1": OLD}).encrypt("token", context=b"row")
    ring = KeyRing({"k2": NEW, "k1": OLD})
    assert ring.decrypt(stored, context=b"row") == "token"
    assert KeyRing({"k2": NEW}).decrypt(ring.encrypt("token", context=b"row"), context=b"row") == "token"


def test_a_missing_key_is_named_and_nothing_else_is_said():
    stored = KeyRing({"k1": OLD}).encrypt("secret-token", context=b"row")
    with pytest.raises(CannotDecrypt, match="'k1'") as caught:
        KeyRing({"k2": NEW}).decrypt(stored, context=b"row")
    assert "secret-token" not in str(caught.value)


def test_the_same_text_never_looks_the_same_twice():
    ring = KeyRing({"k1": OLD})
    assert ring.encrypt("token", context=b"row") != ring.encrypt("token", context=b"row")
    assert b"token" not in ring.encrypt("token", context=b"row")


@pytest.mark.parametrize("keys", [{}, {"": OLD}, {"k" * 256: OLD}])
def test_a_ring_that_can_not_work_is_refused(keys):
    with pytest.raises(Misconfigured):
        KeyRing(keys)
