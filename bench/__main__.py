"""`python -m bench`: measure receiver and worker on this machine, each beside its ceiling in the same run."""

import click

from bench import coalescing, fairness, memory, receiver, worker
from bench.parts import parts
from schemas.logs import configure_logs

_COUNT = 20_000
_MEMORY_COUNT = 200_000

_PARTS = ["all", "receiver", "worker", "fairness", "coalescing", "memory"]


@click.command()
@click.argument("what", type=click.Choice(_PARTS), default="all")
@click.option(
    "--count", type=click.IntRange(min=10), help="Webhooks, or deliveries, a run: 20,000, for memory 200,000."
)
def main(what: str, count: int | None) -> None:
    """Measure receiver and worker; takes a minute or two. Absolute figures swing: compare within one run.

    `memory`, which `all` leaves out, tells whether a worker's memory stays flat over many deliveries.
    """
    with parts() as (settings, keys):
        configure_logs(settings.log)
        if what in {"all", "receiver"}:
            receiver.measure(settings, keys, count or _COUNT)
        if what in {"all", "worker"}:
            worker.measure(settings, count or _COUNT)
        if what in {"all", "fairness"}:
            fairness.measure(settings, count or _COUNT)
        if what in {"all", "coalescing"}:
            coalescing.measure(settings)
        if what == "memory":
            memory.measure(settings, count or _MEMORY_COUNT)


if __name__ == "__main__":
    main()
