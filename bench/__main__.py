"""`python -m bench`: measure receiver and worker on this machine, each beside its ceiling in the same run."""

import click

from bench import coalescing, fairness, receiver, worker
from bench.parts import parts
from schemas.logs import configure_logs


@click.command()
@click.argument("what", type=click.Choice(["all", "receiver", "worker", "fairness", "coalescing"]), default="all")
@click.option("--count", default=20_000, show_default=True, help="Webhooks, or deliveries, a run.")
def main(what: str, count: int) -> None:
    """Measure receiver and worker; takes a minute or two. Absolute figures swing: compare within one run."""
    with parts() as (settings, keys):
        configure_logs(settings.log)
        if what in {"all", "receiver"}:
            receiver.measure(settings, keys, count)
        if what in {"all", "worker"}:
            worker.measure(settings, count)
        if what in {"all", "fairness"}:
            fairness.measure(settings, count)
        if what in {"all", "coalescing"}:
            coalescing.measure(settings)


if __name__ == "__main__":
    main()
