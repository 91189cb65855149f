"""Every setting, typed; all faults told at once, none of them with a value in it.

Sources, strongest first: environment (`LEVELGATE_*`, groups joined by `__`), mounted secret files
(a folder named by `LEVELGATE_SECRETS_DIR`, one file a setting), and a TOML file: the one named by
`LEVELGATE_CONFIG`, else `levelgate.toml`, else the local stack's `.levelgate/levelgate.toml`.
"""

import re
from datetime import date
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FilePath,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from schemas.errors import Misconfigured
from schemas.ids import AppId, AppName
from schemas.settings_checks import (
    Brokers,
    DatabaseUrl,
    Ed25519Keys,
    HttpUrl,
    RsaKeys,
    TokenKeys,
    Words,
    parse_token_keys,
)
from schemas.settings_sources import LOCAL_CONFIG, config_file, setting_faults, source_faults, sources

__all__ = [
    "HIGHLEVEL_ED25519_KEY",
    "HIGHLEVEL_RSA_KEY",
    "LOCAL_CONFIG",
    "App",
    "Kafka",
    "Log",
    "Receiver",
    "Settings",
    "Simulator",
    "Vendor",
    "Worker",
    "config_file",
    "load_settings",
    "parse_token_keys",
]

HIGHLEVEL_ED25519_KEY = """\
-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAi2HR1srL4o18O8BRa7gVJY7G7bupbN3H9AwJrHCDiOg=
-----END PUBLIC KEY-----
"""
"""Source: facts.md, Webhooks, Signatures: the vendor's guide, state of 2026-11-23."""

HIGHLEVEL_RSA_KEY = """\
-----BEGIN PUBLIC KEY-----
MIICIjANBgkqhkiG9w0BAQEFAAOCAg8AMIICCgKCAgEAokvo/r9tVgcfZ5DysOSC
Frm602qYV0MaAiNnX9O8KxMbiyRKWeL9JpCpVpt4XHIcBOK4u3cLSqJGOLaPuXw6
dO0t6Q/ZVdAV5Phz+ZtzPL16iCGeK9po6D6JHBpbi989mmzMryUnQJezlYJ3DVfB
csedpinheNnyYeFXolrJvcsjDtfAeRx5ByHQmTnSdFUzuAnC9/GepgLT9SM4nCpv
uxmZMxrJt5Rw+VUaQ9B8JSvbMPpez4peKaJPZHBbU3OdeCVx5klVXXZQGNHOs8gF
3kvoV5rTnXV0IknLBXlcKKAQLZcY/Q9rG6Ifi9c+5vqlvHPCUJFT5XUGG5RKgOKU
J062fRtN+rLYZUV+BjafxQauvC8wSWeYja63VSUruvmNj8xkx2zE/Juc+yjLjTXp
IocmaiFeAO6fUtNjDeFVkhf5LNb59vECyrHD2SQIrhgXpO4Q3dVNA5rw576PwTzN
h/AMfHKIjE4xQA1SZuYJmNnmVZLIZBlQAF9Ntd03rfadZ+yDiOXCCs9FkHibELhC
HULgCsnuDJHcrGNd5/Ddm5hxGQ0ASitgHeMZ0kcIOwKDOzOU53lDza6/Y09T7sYJ
PQe7z0cvj7aE4B+Ax1ZoZGPzpJlZtGXCsu9aTEGEnKzmsFqwcSsnw3JB31IGKAyk
T1hhTiaCeIY/OwwwNUY2yvcCAwEAAQ==
-----END PUBLIC KEY-----
"""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class App(_Part):
    """One Marketplace app, known to receiver and workers alike."""

    client_id: str = Field(pattern=r"^[^\s-][^\s]*$")
    client_secret: SecretStr = Field(min_length=1)
    level: Literal["location", "company"] = "location"
    scopes: Words = ()
    ed25519_keys: Ed25519Keys = (HIGHLEVEL_ED25519_KEY,)
    """Public keys in PEM; any of them may confirm `X-GHL-Signature`."""
    rsa_keys: RsaKeys = (HIGHLEVEL_RSA_KEY,)
    rsa_until: date | None = None
    """The last day on which `x-wh-signature` (RSA) is accepted where there is no Ed25519 header; none: never."""
    provider_secret: SecretStr | None = Field(default=None, min_length=16)
    """The secret in the conversation provider's delivery URL; none: the app is no provider."""

    @property
    def app_id(self) -> AppId:
        """The vendor's id of the app: the client id up to its first `-`."""
        return AppId(self.client_id.partition("-")[0])


class Vendor(_Part):
    """Where HighLevel is; changed only to point at the simulator."""

    api_url: HttpUrl = "https://services.leadconnectorhq.com"
    consent_url: HttpUrl = "https://marketplace.gohighlevel.com/v2/oauth/chooselocation"
    call_timeout_s: float = Field(default=30.0, gt=0)
    burst_calls: int = Field(default=100, ge=1)
    """API calls that an app may make for a tenant in `burst_interval_s`, where answers do not say otherwise."""
    burst_interval_s: float = Field(default=10.0, gt=0)
    daily_calls: int = Field(default=200_000, ge=1)
    """API calls that an app may make for a tenant in a day, where answers do not say otherwise."""


class Kafka(_Part):
    """The broker."""

    bootstrap_servers: Brokers = "localhost:9092"
    topic_prefix: str = Field(default="highlevel", pattern=r"^[a-zA-Z0-9._-]+$")
    partitions: int = Field(default=12, ge=1)
    replication_factor: int = Field(default=1, ge=1)
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    ssl_ca_file: FilePath | None = None

    @model_validator(mode="after")
    def _sasl_has_a_user(self) -> Self:
        if self.security_protocol.startswith("SASL") and not (self.sasl_username and self.sasl_password):
            raise ValueError("with SASL, sasl_username and sasl_password are needed")
        return self


class Receiver(_Part):
    """`levelgate receiver`."""

    host: str = "0.0.0.0"  # noqa: S104 -- a server in a container listens on all its addresses
    port: int = Field(default=8080, ge=0, le=65535)
    metrics_port: int = Field(default=9100, ge=0, le=65535)
    public_url: HttpUrl = "http://localhost:8080"
    """What the browser and the vendor call this receiver by: the base of the OAuth redirect URI."""
    max_body_bytes: int = Field(default=1024 * 1024, ge=1024)
    max_in_flight: int = Field(default=1000, ge=1)
    """Webhooks taken and not answered yet; beyond it 429."""
    publish_timeout_s: float = Field(default=5.0, gt=0)
    retry_after_s: int = Field(default=30, ge=1)
    grace_s: float = Field(default=20.0, gt=0)
    stale_after_days: int = Field(default=35, ge=1)


class Worker(_Part):
    """`levelgate worker`."""

    group: str = Field(default="levelgate", min_length=1)
    host: str = "0.0.0.0"  # noqa: S104 -- as above
    metrics_port: int = Field(default=9101, ge=0, le=65535)
    concurrency: int = Field(default=256, ge=1)
    """Deliveries being handled at once, over all partitions."""
    partition_quota: int = Field(default=1000, ge=1)
    """Deliveries read and unfinished per partition number; beyond it the partition pauses."""
    tenant_backlog: int = Field(default=400, ge=1)
    """Deliveries of one tenant read and unfinished per partition number; beyond it they are parked unrun, so that
    what is behind them in the partition does not wait for them. Less than half of `partition_quota` is best."""
    max_gap: int = Field(default=100_000, ge=1)
    """Offsets between the lowest unfinished and the highest read of one partition; beyond it it pauses. After a crash
    so many may be read again."""
    session_timeout_s: float = Field(default=30.0, ge=6)
    grace_s: float = Field(default=20.0, gt=0)
    commit_interval_s: float = Field(default=1.0, gt=0)
    max_attempts: int = Field(default=8, ge=1)
    backoff_s: float = Field(default=2.0, gt=0)
    max_backoff_s: float = Field(default=3600.0, gt=0)
    waiting_retry_s: float = Field(default=30.0, gt=0)
    """How long a pair waits for an installation or a budget before it asks again."""
    handler_timeout_s: float = Field(default=120.0, gt=0)
    brake_share: float = Field(default=0.5, ge=0, le=1)
    """The share of a handler's runs, and of their tenants, that must fail for it to be braked; 0: none ever is."""
    brake_window_s: float = Field(default=60.0, gt=0)
    """Over how long its runs and failures are counted."""
    brake_least_failures: int = Field(default=50, ge=1)
    """How many must have failed in that time."""
    brake_wait_s: float = Field(default=30.0, gt=0)
    """How long a braked handler stands still before it is tried; twice as long each time, where it still fails."""
    brake_max_wait_s: float = Field(default=300.0, gt=0)
    stalled_after_s: float = Field(default=300.0, gt=0)
    """For how long nothing may move although there is work, before the worker says so and is no longer alive. A
    rebalance has `grace_s` and `session_timeout_s` at least."""


class Log(_Part):
    """Structured logs, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"


class Simulator(_Part):
    """`levelgate simulator`: the fake HighLevel of the local stack and the tests."""

    host: str = "127.0.0.1"
    port: int = Field(default=8090, ge=0, le=65535)
    url: HttpUrl = "http://localhost:8090"
    receiver_url: HttpUrl = "http://localhost:8080"
    """Where it sends webhooks: `{receiver_url}/webhooks/{app}`."""
    data_dir: Path = Path(".levelgate/simulator")
    retry_speedup: float = Field(default=60.0, gt=0)
    """How many times faster than the vendor a refused webhook is sent again."""


class Settings(BaseSettings):
    """All settings; every process gets the same ones and takes its part."""

    model_config = SettingsConfigDict(
        env_prefix="LEVELGATE_",
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        env_ignore_empty=True,
    )

    apps: dict[AppName, App]
    database_url: DatabaseUrl
    secret_key: SecretStr = Field(min_length=16)
    """Signs the OAuth state; any random text of 16 characters or more."""
    token_keys: TokenKeys
    handlers: Words = ()
    """Modules that hold `@on` handlers, comma-separated."""
    sync: bool = True
    """Whether the built-in handlers keep the mirror tables."""
    ledger_days: int = Field(default=35, ge=1)
    vendor: Vendor = Vendor()
    kafka: Kafka = Kafka()
    receiver: Receiver = Receiver()
    worker: Worker = Worker()
    simulator: Simulator = Simulator()
    log: Log = Log()

    @field_validator("apps")
    @classmethod
    def _apps_have_good_names(cls, apps: dict[AppName, App]) -> dict[AppName, App]:
        if not apps:
            raise ValueError("name at least one app")
        bad = [name for name in apps if not re.fullmatch("[a-z0-9-]+", name)]
        if bad:
            raise ValueError(f"an app's name has other characters than a-z, 0-9 and -: {', '.join(map(ascii, bad))}")
        return apps

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 -- the signature is pydantic's
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 -- as above
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 -- as above
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources; pydantic-settings calls this."""
        return sources(settings_cls, init_settings)


def load_settings(**overrides: Any) -> Settings:  # noqa: ANN401 -- any field of Settings, by name
    """Read and check all settings; `overrides` win over every source.

    Raises Misconfigured with every fault at once. No fault repeats a value, since a value may be a secret.
    """
    faults = source_faults(Settings)
    try:
        settings = Settings(**overrides)
    except ValidationError as error:
        faults += setting_faults(error, sources_failed=bool(faults))
    else:
        if not faults:
            return settings
    raise Misconfigured(faults)
