"""What every measurement needs: a real Kafka and Postgres of its own, settings for them, and a figure printed."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pydantic import SecretStr
from rich.console import Console
from rich.table import Table

from levelgate.local.kafka import KafkaServer
from levelgate.local.postgres import PostgresServer
from levelgate.local.processes import free_port
from levelgate.simulator.keys import SimulatorKeys, ensure_keys
from processors.run import collect_less_often
from schemas.ids import AppName
from schemas.settings import App, Kafka, Log, Receiver, Settings, Worker

APP = AppName("bench")
JARS = Path(".levelgate/jars")


@contextlib.contextmanager
def parts() -> Iterator[tuple[Settings, SimulatorKeys]]:
    """Start Kafka and Postgres in a temporary folder; yield settings for them, and the keys that they trust."""
    collect_less_often()  # as `levelgate worker` does: the workers of a measurement run in its own process
    with tempfile.TemporaryDirectory(prefix="levelgate-bench-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        keys = ensure_keys(folder / "keys")
        kafka = KafkaServer(folder, jars=JARS, port=free_port(), controller_port=free_port())
        postgres = PostgresServer(folder, port=free_port())
        for server in (kafka, postgres):
            stack.callback(server.stop)
            server.start()
        app = App(client_id="bench-app", client_secret=SecretStr("bench"), ed25519_keys=(keys.ed25519_public_pem,))
        yield (
            Settings(
                apps={APP: app},
                database_url=SecretStr(postgres.url),
                secret_key=SecretStr("a secret of the bench"),
                token_keys=SecretStr(f"bench:{'A' * 43}="),
                kafka=Kafka(bootstrap_servers=kafka.bootstrap_servers),
                receiver=Receiver(host="127.0.0.1", port=free_port(), metrics_port=free_port()),
                worker=Worker(host="127.0.0.1", metrics_port=0),
                log=Log(level="error"),
            ),
            keys,
        )


def show(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Print a table of figures."""
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="left" if column == columns[0] else "right")
    for row in rows:
        table.add_row(*row)
    Console().print(table)
