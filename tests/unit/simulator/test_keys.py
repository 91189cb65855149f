import stat

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from levelgate.simulator.keys import ensure_keys


def test_the_keys_are_made_once_for_their_owner_only_and_are_of_the_vendors_kinds(tmp_path):
    first, second = ensure_keys(tmp_path / "new"), ensure_keys(tmp_path / "new")
    assert first.ed25519_public_pem == second.ed25519_public_pem
    assert first.rsa_public_pem == second.rsa_public_pem
    rsa_key = load_pem_public_key(first.rsa_public_pem.encode())
    assert isinstance(rsa_key, RSAPublicKey)
    assert rsa_key.key_size == 4096
    for name in ("ed25519.pem", "rsa.pem"):
        assert stat.S_IMODE((tmp_path / "new" / name).stat().st_mode) == 0o600


def test_a_wrong_signature_is_well_formed_and_none_is_no_header(simulator_keys):
    keys = ensure_keys(simulator_keys)
    wrong = keys.headers(b"body", "wrong")["X-GHL-Signature"]
    right = keys.headers(b"body", "ed25519")["X-GHL-Signature"]
    assert wrong != right
    assert len(wrong) == len(right)
    assert keys.headers(b"body", "none") == {}
    assert set(keys.headers(b"body", "both")) == {"X-GHL-Signature", "x-wh-signature"}
