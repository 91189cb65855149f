"""Who is believed: a table of headers and keys, and no other way in."""

import base64
from datetime import date, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict
from pydantic import SecretStr

from levelgate.highlevel.signatures import VerifyingKeys
from schemas.errors import BadSignature
from schemas.settings import App

TODAY = date(2026, 11, 23)
BODY = b'{"type": "ContactCreate"}'

ED = Ed25519PrivateKey.generate()
NEXT_ED = Ed25519PrivateKey.generate()
RSA = generate_private_key(public_exponent=65537, key_size=2048)


def pem(private: Ed25519PrivateKey | RSAPrivateKey) -> str:
    return private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def app(**fields) -> App:
    given = {"ed25519_keys": (pem(ED), pem(NEXT_ED)), "rsa_keys": (pem(RSA),), "rsa_until": None}
    return App(client_id="a-b", client_secret=SecretStr("s"), **(given | fields))


KEYS = VerifyingKeys.from_app(app())
KEYS_WITH_RSA = VerifyingKeys.from_app(app(rsa_until=TODAY))


def ed25519(body: bytes, key: Ed25519PrivateKey = ED) -> str:
    return base64.b64encode(key.sign(body)).decode()


def rsa(body: bytes) -> str:
    return base64.b64encode(RSA.sign(body, PKCS1v15(), SHA256())).decode()


def refusal(keys: VerifyingKeys, headers, body: bytes = BODY, today: date = TODAY) -> str:
    with pytest.raises(BadSignature) as caught:
        keys.verify(body, CIMultiDict(headers), today=today)
    return caught.value.reason


@pytest.mark.parametrize("key", [ED, NEXT_ED], ids=["old key", "new key"])
def test_any_key_of_the_list_confirms(key):
    assert KEYS.verify(BODY, {"X-GHL-Signature": ed25519(BODY, key)}, today=TODAY) == "ed25519"


@pytest.mark.parametrize("name", ["X-GHL-Signature", "x-ghl-signature", "X-Ghl-SIGNATURE"])
def test_header_names_have_no_case_in_any_kind_of_mapping(name):
    signature = ed25519(BODY)
    assert KEYS.verify(BODY, {name: signature}, today=TODAY) == "ed25519"
    assert KEYS.verify(BODY, CIMultiDict({name: signature}), today=TODAY) == "ed25519"


def test_rsa_confirms_up_to_its_last_day():
    headers = {"x-wh-signature": rsa(BODY)}
    assert KEYS_WITH_RSA.verify(BODY, headers, today=TODAY) == "rsa"
    assert refusal(KEYS_WITH_RSA, headers, today=TODAY + timedelta(days=1)) == "rsa_off"


def test_rsa_is_off_unless_switched_on():
    assert refusal(KEYS, {"x-wh-signature": rsa(BODY)}) == "rsa_off"


def test_a_wrong_ed25519_signature_is_final_even_beside_a_good_rsa_one():
    headers = {"X-GHL-Signature": ed25519(b"another body"), "x-wh-signature": rsa(BODY)}
    assert refusal(KEYS_WITH_RSA, headers) == "wrong"


def test_n_a_is_no_signature():
    assert refusal(KEYS, {"X-GHL-Signature": "N/A"}) == "missing"
    assert refusal(KEYS_WITH_RSA, {"x-wh-signature": "N/A"}) == "missing"
    headers = {"X-GHL-Signature": "N/A", "x-wh-signature": rsa(BODY)}
    assert KEYS_WITH_RSA.verify(BODY, headers, today=TODAY) == "rsa"


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({}, "missing"),
        ({"X-GHL-Signature": ""}, "malformed"),
        ({"X-GHL-Signature": "not base64!"}, "malformed"),
        ({"X-GHL-Signature": "ü" * 88}, "malformed"),
        ({"X-GHL-Signature": base64.b64encode(b"x" * 63).decode()}, "malformed"),
        ({"X-GHL-Signature": base64.b64encode(b"x" * 64).decode()}, "wrong"),
        ({"x-wh-signature": base64.b64encode(b"x" * 256).decode()}, "wrong"),
        ({"x-wh-signature": base64.b64encode(b"x").decode()}, "wrong"),
        ([("X-GHL-Signature", ed25519(BODY)), ("x-ghl-signature", ed25519(BODY))], "malformed"),
    ],
)
def test_everything_else_is_refused_with_its_reason(headers, reason):
    assert refusal(KEYS_WITH_RSA, headers) == reason


def test_without_keys_nothing_is_believed():
    keys = VerifyingKeys.from_app(app(ed25519_keys=(), rsa_keys=(), rsa_until=TODAY))
    assert refusal(keys, {"X-GHL-Signature": ed25519(BODY)}) == "wrong"
    assert refusal(keys, {"x-wh-signature": rsa(BODY)}) == "wrong"


@given(body=st.binary(max_size=300), place=st.integers(min_value=0), bit=st.integers(0, 7))
def test_a_body_changed_by_one_bit_is_refused(body, place, bit):
    signature = ed25519(body)
    assert KEYS.verify(body, {"X-GHL-Signature": signature}, today=TODAY) == "ed25519"
    changed = bytearray(body or b"\0")
    changed[place % len(changed)] ^= 1 << bit
    assert refusal(KEYS, {"X-GHL-Signature": signature}, bytes(changed)) == "wrong"


@given(st.dictionaries(st.sampled_from(["X-GHL-Signature", "x-wh-signature", "Host"]), st.text()))
def test_no_header_text_passes_or_raises_anything_but_a_refusal(headers):
    assert refusal(KEYS_WITH_RSA, headers) in {"missing", "malformed", "wrong"}


def test_the_vendors_own_keys_load():
    VerifyingKeys.from_app(App(client_id="a-b", client_secret=SecretStr("s")))
