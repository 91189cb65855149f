"""How commands reach Postgres and Kafka; what is away ends as one sentence that says what to do."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

import asyncpg
from aiokafka.errors import KafkaError

from levelgate.postgres import POSTGRES_AWAY
from processors.sql import Pool
from schemas.errors import LevelgateError
from schemas.settings import Kafka, Log, Settings

_CONNECT_TIMEOUT_S = 5.0
_QUERY_TIMEOUT_S = 30.0
_CLOSE_TIMEOUT_S = 5.0

Result = TypeVar("Result")

_TOO_SLOW = (TimeoutError, asyncpg.QueryCanceledError, asyncpg.LockNotAvailableError)
_REFUSED = (
    asyncpg.InsufficientPrivilegeError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.ReadOnlySQLTransactionError,
)
_GONE = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)


class Unreachable(LevelgateError):
    """A part that the command needs does not answer."""


def run(command: Callable[[Settings], Coroutine[Any, Any, Result]]) -> Result:
    """Load the settings and run a command that looks or asks; raise Misconfigured, or what it raises."""
    from schemas.logs import configure_logs
    from schemas.settings import load_settings

    settings = load_settings()
    configure_logs(Log(level="warning"))
    # They log each refused or interrupted connection; the command says it once, in its own words, or ends quietly.
    for noisy in ("aiokafka", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    return asyncio.run(command(settings))


@asynccontextmanager
async def open_pool(settings: Settings) -> AsyncIterator[Pool]:
    """Yield a pool on the database.

    What the body raises of Postgres' becomes a sentence too: Unreachable, or LevelgateError where Postgres refuses or
    there are no tables yet. So whatever else the body asks, over a network or the disk, it must tell in its own words.
    """
    try:
        async with asyncio.timeout(_CONNECT_TIMEOUT_S * 2):
            pool: Pool = await asyncpg.create_pool(
                settings.database_url.get_secret_value(),
                min_size=1,
                max_size=4,
                timeout=_CONNECT_TIMEOUT_S,
                command_timeout=_QUERY_TIMEOUT_S,
            )
    except (ValueError, *POSTGRES_AWAY) as error:
        # The driver's own text may repeat the URL, password included: only its kind is told.
        raise Unreachable(_postgres_away(error)) from None
    try:
        yield pool
    except asyncpg.UndefinedTableError:
        raise LevelgateError("the database has no tables of Levelgate yet: run `levelgate migrate`") from None
    except asyncpg.UndefinedColumnError:
        raise LevelgateError("the database's tables are of an older version: run `levelgate migrate`") from None
    except BrokenPipeError:
        raise  # not Postgres: who read the command's output has gone
    except _TOO_SLOW as error:
        raise Unreachable(
            f"Postgres takes too long ({type(error).__name__}): try again, or ask for less where the command has "
            "filters; if it stays so, look at what keeps it busy"
        ) from None
    except _REFUSED as error:
        # Of these the driver's text names a table or an operation, no value.
        raise LevelgateError(
            f"Postgres refuses it ({error}): LEVELGATE_DATABASE_URL must name the primary, and a role that may do so"
        ) from None
    except _GONE as error:
        raise Unreachable(_postgres_away(error)) from None
    finally:
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await pool.close()
        except TimeoutError:
            pool.terminate()


@contextmanager
def kafka_errors(kafka: Kafka) -> Iterator[None]:
    """Turn what aiokafka raises in the body into Unreachable."""
    try:
        yield
    except (KafkaError, OSError, TimeoutError) as error:
        raise Unreachable(
            f"Kafka at {kafka.bootstrap_servers} does not answer as it should ({type(error).__name__}): check that it "
            "runs (`levelgate up` starts one here) and LEVELGATE_KAFKA__BOOTSTRAP_SERVERS"
        ) from None


def _postgres_away(error: BaseException) -> str:
    return (
        f"Postgres can't be reached ({type(error).__name__}): check that it runs (`levelgate up` starts one here) "
        "and LEVELGATE_DATABASE_URL"
    )
