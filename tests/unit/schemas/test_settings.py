import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from schemas.errors import Misconfigured
from schemas.ids import AppName
from schemas.settings import HIGHLEVEL_ED25519_KEY, HIGHLEVEL_RSA_KEY, LOCAL_CONFIG, load_settings

DEMO = AppName("demo")
TWO = AppName("two")
TOKEN_KEYS = f"k1:{base64.b64encode(b'k' * 32).decode()}"
GOOD = {
    "LEVELGATE_APPS__DEMO__CLIENT_ID": "66f0c1d2-demo",
    "LEVELGATE_APPS__DEMO__CLIENT_SECRET": "not-told",
    "LEVELGATE_DATABASE_URL": "postgresql://u:p@localhost/levelgate",
    "LEVELGATE_SECRET_KEY": "sixteen characters",
    "LEVELGATE_TOKEN_KEYS": TOKEN_KEYS,
}


def pem(key):
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.fixture
def environment(monkeypatch):
    def put(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return put


@pytest.fixture
def good(environment):
    environment(**GOOD)
    return environment


def faults():
    with pytest.raises(Misconfigured) as raised:
        load_settings()
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None
    return raised.value.faults


def the_fault():
    (fault,) = faults()
    return fault


def test_settings_come_from_the_environment(good):
    settings = load_settings()
    assert settings.apps[DEMO].client_secret.get_secret_value() == "not-told"
    assert settings.apps[DEMO].app_id == "66f0c1d2"
    assert settings.apps[DEMO].ed25519_keys == (HIGHLEVEL_ED25519_KEY,)
    assert settings.kafka.partitions == 12


def test_apps_may_be_one_json_text(good):
    good(LEVELGATE_APPS=json.dumps({"second": {"client_id": "b-2", "client_secret": "s"}}))
    assert set(load_settings().apps) == {"demo", "second"}


def test_every_missing_setting_is_told_at_once():
    told = "\n".join(faults())
    for name in ("LEVELGATE_APPS", "LEVELGATE_DATABASE_URL", "LEVELGATE_SECRET_KEY", "LEVELGATE_TOKEN_KEYS"):
        assert f"({name}): is not set" in told


def test_every_fault_is_told_at_once_and_no_value(environment, tmp_path):
    config = tmp_path / "other.toml"
    config.write_text('unknown = "MARKED"\n[kafka]\npartitons = "MARKED"\n')
    environment(
        LEVELGATE_CONFIG=str(config),
        LEVELGATE_APPS='{"demo": MARKED',
        LEVELGATE_DATABASE_URL="mysql://MARKED:MARKED@localhost",
        LEVELGATE_SECRET_KEY="MARKED",
        LEVELGATE_TOKEN_KEYS="k:MARKED",
        LEVELGATE_SYNC="MARKED",
        LEVELGATE_VENDOR="[MARKED",
        LEVELGATE_RECEIVER__PUBLIC_URL="ftp://MARKED",
        LEVELGATE_RECEIVER__PORT="MARKED",
        LEVELGATE_WORKER__CONCURENCY="MARKED",
        LEVELGATE_KAFKA__BOOTSTRAP_SERVERS="MARKED MARKED",
        LEVELGATE_LOG__LEVEL="MARKED",
    )
    told = faults()
    assert "MARKED" not in "\n".join(told)
    begins = [
        "apps (LEVELGATE_APPS)",
        "database_url (LEVELGATE_DATABASE_URL)",
        "kafka.bootstrap_servers (LEVELGATE_KAFKA__BOOTSTRAP_SERVERS)",
        f"kafka.partitons in {config}",
        "log.level (LEVELGATE_LOG__LEVEL)",
        "receiver.port (LEVELGATE_RECEIVER__PORT)",
        "receiver.public_url (LEVELGATE_RECEIVER__PUBLIC_URL)",
        "secret_key (LEVELGATE_SECRET_KEY)",
        "sync (LEVELGATE_SYNC)",
        "token_keys (LEVELGATE_TOKEN_KEYS)",
        f"unknown in {config}",
        "vendor (LEVELGATE_VENDOR)",
        "worker.concurency (LEVELGATE_WORKER__CONCURENCY)",
    ]
    assert [fault.partition(": ")[0] for fault in sorted(told)] == begins


@pytest.mark.parametrize(
    "text",
    ['{"demo": MARKED', "MARKED", "[1, 2]", "7", '{"demo": "MARKED"}', "[" * 5000],
    ids=lambda text: text[:12],
)
def test_apps_that_are_no_json_object_are_one_fault(environment, text):
    environment(**{name: value for name, value in GOOD.items() if "APPS" not in name}, LEVELGATE_APPS=text)
    assert "write it as a JSON object, or field by field" in the_fault()


def test_a_broken_field_of_an_app_is_told_by_its_variable(good):
    good(LEVELGATE_APPS__DEMO__LEVEL="agency")
    assert the_fault().startswith("apps.demo.level (LEVELGATE_APPS__DEMO__LEVEL): ")


@pytest.mark.parametrize("name", ["Demo!", "my app", "ä", "demo\n"])
def test_an_apps_name_goes_into_paths(good, name):
    good(LEVELGATE_APPS=json.dumps({name: {"client_id": "a", "client_secret": "s"}}))
    assert "a-z, 0-9 and -" in the_fault()


def test_at_least_one_app_is_needed(environment):
    environment(**{name: value for name, value in GOOD.items() if "APPS" not in name}, LEVELGATE_APPS="{}")
    assert the_fault() == "apps (LEVELGATE_APPS): name at least one app"


@pytest.mark.parametrize("client_id", ["-demo", "a b", " "])
def test_a_client_id_must_give_an_app_id(good, client_id):
    good(LEVELGATE_APPS__DEMO__CLIENT_ID=client_id)
    assert the_fault().startswith("apps.demo.client_id ")


def test_a_short_secret_of_the_providers_url_is_refused(good):
    good(LEVELGATE_APPS__DEMO__PROVIDER_SECRET="short")
    assert the_fault() == "apps.demo.provider_secret (LEVELGATE_APPS__DEMO__PROVIDER_SECRET): is too short"


@pytest.mark.parametrize("scopes", ["a.readonly b.write", "a.readonly, b.write", '["a.readonly", "b.write"]'])
def test_several_words_may_be_written_in_one_variable(good, scopes):
    good(LEVELGATE_APPS__DEMO__SCOPES=scopes, LEVELGATE_HANDLERS="my_app.handlers, other")
    settings = load_settings()
    assert settings.apps[DEMO].scopes == ("a.readonly", "b.write")
    assert settings.handlers == ("my_app.handlers", "other")


def test_several_keys_may_be_written_one_after_the_other(good):
    keys = [pem(ed25519.Ed25519PrivateKey.generate()) for _ in range(2)]
    good(LEVELGATE_APPS__DEMO__ED25519_KEYS="".join(keys))
    assert load_settings().apps[DEMO].ed25519_keys == tuple(keys)
    good(LEVELGATE_APPS__DEMO__ED25519_KEYS="".join(keys).replace("\n", "\\n"))
    assert load_settings().apps[DEMO].ed25519_keys == tuple(keys)
    good(LEVELGATE_APPS__DEMO__ED25519_KEYS=json.dumps(keys))
    assert load_settings().apps[DEMO].ed25519_keys == tuple(keys)


def test_keys_must_be_keys_of_their_scheme(good):
    wrong = HIGHLEVEL_RSA_KEY.replace("MIICI", "MARKE")
    good(
        LEVELGATE_APPS__DEMO__ED25519_KEYS=json.dumps([HIGHLEVEL_ED25519_KEY, HIGHLEVEL_RSA_KEY, wrong]),
        LEVELGATE_APPS__DEMO__RSA_KEYS=HIGHLEVEL_ED25519_KEY,
    )
    told = faults()
    assert [fault.split(" ", 1)[0] for fault in told] == [
        "apps.demo.ed25519_keys.1",
        "apps.demo.ed25519_keys.2",
        "apps.demo.rsa_keys.0",
    ]
    assert "MARKE" not in "".join(told)
    assert all("(LEVELGATE_APPS__DEMO__" in fault for fault in told)


def test_a_small_rsa_key_is_still_a_key(good):
    key = pem(rsa.generate_private_key(public_exponent=65537, key_size=2048))
    good(LEVELGATE_APPS__DEMO__RSA_KEYS=key)
    assert load_settings().apps[DEMO].rsa_keys == (key,)


@pytest.mark.parametrize("url", ["localhost", "ftp://x", "http://", "http:///path", "http://a b", "http://x:99999"])
def test_a_url_must_be_one_of_http(good, url):
    good(LEVELGATE_VENDOR__API_URL=url)
    assert the_fault().startswith("vendor.api_url (LEVELGATE_VENDOR__API_URL)")


def test_a_url_loses_the_slash_at_its_end(good):
    good(LEVELGATE_RECEIVER__PUBLIC_URL="https://hooks.example.com/")
    assert load_settings().receiver.public_url == "https://hooks.example.com"


@pytest.mark.parametrize("url", ["mysql://MARKED", "MARKED", "postgresql://u:MARKED@h:port/d", "postgresql+x://MARKED"])
def test_the_database_must_be_postgres(good, url):
    good(LEVELGATE_DATABASE_URL=url)
    assert "MARKED" not in the_fault()


@pytest.mark.parametrize("brokers", ["a:9092", "a:9092,b:9092", "a, b", "[::1]:9092", "broker.example.com:9092"])
def test_brokers_are_hosts_with_ports(good, brokers):
    good(LEVELGATE_KAFKA__BOOTSTRAP_SERVERS=brokers)
    assert load_settings().kafka.bootstrap_servers == brokers


@pytest.mark.parametrize("brokers", ["kafka://a:9092", "a:b", "a:9092,", "a b"])
def test_brokers_in_another_form_are_refused(good, brokers):
    good(LEVELGATE_KAFKA__BOOTSTRAP_SERVERS=brokers)
    assert "host:port" in the_fault()


def test_sasl_needs_a_user_and_a_password(good):
    good(LEVELGATE_KAFKA__SECURITY_PROTOCOL="SASL_SSL", LEVELGATE_KAFKA__SASL_USERNAME="u")
    assert "sasl_username and sasl_password" in the_fault()


@pytest.mark.parametrize(
    "keys", ["MARKED", "k1:MARKED", f"{TOKEN_KEYS},{TOKEN_KEYS}", f":{TOKEN_KEYS[3:]}", "k1:TUFSS0VE", TOKEN_KEYS + ","]
)
def test_the_key_ring_must_be_whole(good, keys):
    good(LEVELGATE_TOKEN_KEYS=keys)
    fault = the_fault()
    assert fault.startswith("token_keys (LEVELGATE_TOKEN_KEYS): ")
    assert "MARKED" not in fault


def test_a_toml_file_is_read_and_the_environment_wins(good, tmp_path):
    (tmp_path / "levelgate.toml").write_text(
        '[kafka]\npartitions = 3\ntopic_prefix = "x"\n[apps.two]\nclient_id = "b"\n'
    )
    good(LEVELGATE_KAFKA__PARTITIONS="4", LEVELGATE_APPS__TWO__CLIENT_SECRET="s")
    settings = load_settings()
    assert (settings.kafka.partitions, settings.kafka.topic_prefix) == (4, "x")
    assert set(settings.apps) == {"demo", "two"}


def test_the_local_stacks_file_is_read_where_there_is_no_other(good, tmp_path):
    (tmp_path / LOCAL_CONFIG).parent.mkdir()
    (tmp_path / LOCAL_CONFIG).write_text("[kafka]\npartitions = 5\n")
    assert load_settings().kafka.partitions == 5
    (tmp_path / "levelgate.toml").write_text("[kafka]\npartitions = 6\n")
    assert load_settings().kafka.partitions == 6


def test_a_toml_file_that_is_none_is_told_by_its_place_among_the_other_faults(environment, tmp_path):
    (tmp_path / "levelgate.toml").write_text(
        '[kafka]\npartitions = 3\nsasl_password = MARKED\n[apps.demo]\nclient_id="a"'
    )
    environment(LEVELGATE_SYNC="MARKED")
    told = faults()
    assert told[0] == "the configuration file levelgate.toml is not TOML (at line 3, column 17)"
    # What is missing may stand in that file: only what is known to be wrong is told.
    assert [fault.split(" ", 1)[0] for fault in told[1:]] == ["sync"]
    assert "MARKED" not in "\n".join(told)


def test_a_configuration_file_that_can_not_be_read_is_a_fault(good, tmp_path):
    good(LEVELGATE_CONFIG=str(tmp_path / "none.toml"))
    assert the_fault() == f"LEVELGATE_CONFIG names {tmp_path / 'none.toml'}, and there is no such file"
    good(LEVELGATE_CONFIG=str(tmp_path))
    assert the_fault() == f"the configuration file {tmp_path} can't be read: IsADirectoryError"
    (tmp_path / "latin.toml").write_bytes(b'sync = "\xff"')
    good(LEVELGATE_CONFIG=str(tmp_path / "latin.toml"))
    assert "UnicodeDecodeError" in the_fault()


def test_mounted_files_hold_secrets(good, tmp_path):
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "LEVELGATE_APPS__TWO__CLIENT_SECRET").write_text("from a file\n")
    (folder / "levelgate_apps__two__client_id").write_text("b-2\n")
    (folder / "LEVELGATE_APPS__TWO__ED25519_KEYS").write_text(HIGHLEVEL_ED25519_KEY * 2)
    (folder / "LEVELGATE_SECRET_KEY").write_text("of no use: the environment wins")
    good(LEVELGATE_SECRETS_DIR=str(folder))
    settings = load_settings()
    assert settings.apps[TWO].client_secret.get_secret_value() == "from a file"
    assert len(settings.apps[TWO].ed25519_keys) == 2
    assert settings.secret_key.get_secret_value() == GOOD["LEVELGATE_SECRET_KEY"]


def test_a_mounted_file_that_is_wrong_is_told_like_a_variable(good, tmp_path):
    (tmp_path / "LEVELGATE_APPS").write_text('{"two": MARKED')
    (tmp_path / "LEVELGATE_KAFKA").write_text("{MARKED")
    good(LEVELGATE_SECRETS_DIR=str(tmp_path))
    assert [fault.partition(":")[0] for fault in faults()] == ["kafka (LEVELGATE_KAFKA)"]


def test_a_folder_of_secrets_that_can_not_be_read_is_a_fault(good, tmp_path):
    good(LEVELGATE_SECRETS_DIR=str(tmp_path / "none"))
    assert the_fault() == f"LEVELGATE_SECRETS_DIR names {tmp_path / 'none'}, which is not a folder"
    (tmp_path / "LEVELGATE_SYNC").write_bytes(b"\xff")
    good(LEVELGATE_SECRETS_DIR=str(tmp_path))
    assert "UnicodeDecodeError" in the_fault()


def test_settings_show_no_secret(good):
    good(
        LEVELGATE_APPS__DEMO__CLIENT_SECRET="MARKED",
        LEVELGATE_APPS__DEMO__PROVIDER_SECRET="MARKED MARKED MARKED",
        LEVELGATE_DATABASE_URL="postgresql://u:MARKED@localhost/d",
        LEVELGATE_SECRET_KEY="MARKED MARKED MARKED",
        LEVELGATE_KAFKA__SASL_PASSWORD="MARKED",
    )
    settings = load_settings()
    assert "MARKED" not in repr(settings)
    assert "MARKED" not in settings.model_dump_json()
    assert TOKEN_KEYS not in settings.model_dump_json()


def test_overrides_win_over_every_source(good):
    assert load_settings(kafka={"partitions": 2}).kafka.partitions == 2


def test_an_empty_variable_is_as_good_as_none(good):
    good(LEVELGATE_KAFKA__PARTITIONS="", LEVELGATE_HANDLERS="")
    assert load_settings().kafka.partitions == 12


def test_variables_that_kubernetes_makes_for_a_service_do_no_harm(good):
    good(LEVELGATE_SERVICE_HOST="10.0.0.1", LEVELGATE_RECEIVER_PORT="tcp://10.0.0.1:8080", LEVELGATE_PORT="tcp://x")
    assert load_settings().receiver.port == 8080
