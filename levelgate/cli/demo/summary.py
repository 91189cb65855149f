"""What the demo ends with: a table by family, where all samples are accounted for, and what to try next."""

import shutil
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
import msgspec

from levelgate.cli.output import print_table
from processors.deliveries import State
from schemas.catalogue import CATALOGUE
from schemas.ids import AppName
from schemas.settings import Settings

_ENDS = ("handled", "quarantined", "parked", "dead")


class SentSample(msgspec.Struct, frozen=True):
    """One sample as it was sent."""

    name: str
    type: str
    id: str
    accepted: bool


class FamilyRow(msgspec.Struct, frozen=True):
    """One line of the table."""

    family: str
    sent: int
    accepted: int
    handled: int
    quarantined: int
    parked: int
    dead: int


class Summary(msgspec.Struct, frozen=True):
    """All that the demo did."""

    mode: str
    app: AppName
    installed_anew: bool
    locations: int
    """Locations of the samples that have a token."""
    families: tuple[FamilyRow, ...]
    total: FamilyRow
    deliveries: Mapping[str, str]
    """Sample → the id of its delivery."""
    not_handled: Mapping[str, str]
    """Sample → its state, for those that did not end as handled."""
    mirror_rows: Mapping[str, int]
    urls: Mapping[str, str]
    seconds: float

    @property
    def is_good(self) -> bool:
        """Whether every sample was accepted and handled."""
        return self.total.accepted == self.total.sent == self.total.handled


def count_families(sent: Sequence[SentSample], states: Mapping[str, State]) -> tuple[tuple[FamilyRow, ...], FamilyRow]:
    """Return a row for each family of the samples, and their sum."""
    counts: dict[str, Counter[str]] = {}
    for sample in sent:
        counter = counts.setdefault(CATALOGUE[sample.type].family, Counter())
        counter["sent"] += 1
        if sample.accepted:
            counter["accepted"] += 1
            counter[states.get(sample.id, "accepted and not ended")] += 1
    rows = tuple(_row(family, counter) for family, counter in sorted(counts.items()))
    return rows, _row("all", sum(counts.values(), Counter()))


def urls(settings: Settings, app: AppName) -> dict[str, str]:
    """Return where to look with a browser."""
    receiver, worker = settings.receiver, settings.worker
    return {
        "receiver": f"{receiver.public_url}/readyz",
        "install page": f"{receiver.public_url}/oauth/start/{app}",
        "webhooks": f"{receiver.public_url}/webhooks/{app}",
        "receiver metrics": f"http://localhost:{receiver.metrics_port}/metrics",
        "worker metrics": f"http://localhost:{worker.metrics_port}/metrics",
        "worker": f"http://localhost:{worker.metrics_port}/readyz",
        "simulator": f"http://localhost:{settings.simulator.port}/_simulator/status",
    }


def show(summary: Summary) -> None:
    """Print all of it."""
    fields = FamilyRow.__struct_fields__
    rows = [[getattr(row, field) for field in fields] for row in (*summary.families, summary.total)]
    click.echo()
    print_table(fields, rows, empty="no sample was sent", totals=True)
    for name, state in summary.not_handled.items():
        click.echo(f"{name} ended as {state}: levelgate trace {summary.deliveries.get(name, '')}")
    if summary.mirror_rows:
        kept = ", ".join(f"{count} {kind}" for kind, count in summary.mirror_rows.items())
        click.echo(f"\nMirror tables in Postgres: {kept}")
    installed = "installed now, in bulk" if summary.installed_anew else "installed before"
    click.echo(f"App {summary.app}: {installed}; {summary.locations} locations of the samples have tokens")
    click.echo(f"All of it took {summary.seconds:.0f} s ({summary.mode})\n")
    width = max(map(len, summary.urls))
    for name, url in summary.urls.items():
        click.echo(f"  {name.ljust(width)}  {url}")


def show_next(summary: Summary, command: str) -> None:
    """Print three things to try."""
    traced = summary.deliveries.get("ContactCreate-1") or next(iter(summary.deliveries.values()), "DELIVERY_ID")
    click.echo(
        f"""
Three things to try next, in another terminal:

  {command} trace {traced}
      one delivery's way, with the API calls that it took

  {command} simulate samples --write samples
  {command} simulate send --fresh samples/ContactCreate-1.json
      change the file and send it as a webhook; with --scheme wrong it is refused

  {command} simulate burst --count 2000
      two thousand events over 50 locations, followed until each is handled
"""
    )


def command_here() -> str:
    """Return how the command is called from this folder: by its name alone only where it is on PATH."""
    if shutil.which("levelgate"):
        return "levelgate"
    script = Path(sys.executable).with_name("levelgate")
    return str(script.relative_to(Path.cwd())) if script.is_relative_to(Path.cwd()) else str(script)


def _row(family: str, counts: Mapping[str, int]) -> FamilyRow:
    return FamilyRow(family, counts.get("sent", 0), counts.get("accepted", 0), *(counts.get(end, 0) for end in _ENDS))
