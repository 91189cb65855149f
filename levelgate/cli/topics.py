"""`levelgate topics apply|show`."""

import click

from levelgate.cli.lazy import example
from levelgate.cli.output import json_option, print_json, print_table


@click.group(name="topics")
def command() -> None:
    """Create and show Kafka's topics: one for each family of events, quarantine, replay, dead letters."""


@command.command(epilog=example("levelgate topics apply"))
def apply() -> None:
    """Create the missing topics, and set retention and record size of the others.

    The partition count of a topic that is there is never changed: it is reported where it differs.
    """
    from levelgate.broker import apply_topics
    from levelgate.cli.connections import run

    changes = run(lambda settings: apply_topics(settings.kafka, settings.receiver.max_body_bytes))
    for name in changes.created:
        click.echo(f"created {name}")
    for name, config in changes.altered.items():
        click.echo(f"changed {name}: " + ", ".join(f"{key}={value}" for key, value in config.items()))
    for name, partitions in changes.other_partitions.items():
        click.echo(f"left as it is: {name} has {partitions} partitions, the settings say another number")
    if not changes.created and not changes.altered:
        click.echo("nothing to do: all topics are as they should be")


@command.command(
    epilog=example(
        """
levelgate topics show
levelgate topics show --json
"""
    )
)
@json_option
def show(*, as_json: bool) -> None:
    """Show every topic as the broker has it, and what `apply` would change."""
    from levelgate.broker import describe_topics
    from levelgate.cli.connections import run

    topics = run(lambda settings: describe_topics(settings.kafka, settings.receiver.max_body_bytes))
    if as_json:
        print_json(
            [
                {
                    "topic": topic.name,
                    "partitions": topic.partitions,
                    "wanted_partitions": topic.wanted_partitions,
                    "missing": topic.is_missing,
                    "config": topic.config,
                    "changes": {} if topic.is_missing else topic.config_changes,
                }
                for topic in topics
            ]
        )
        return
    rows = []
    for topic in topics:
        note = "missing: run `levelgate topics apply`" if topic.is_missing else ""
        if topic.has_other_partitions:
            note = f"the settings say {topic.wanted_partitions} partitions"
        elif not topic.is_missing and topic.config_changes:
            note = "`levelgate topics apply` would change " + ", ".join(topic.config_changes)
        days = int(topic.config.get("retention.ms", "0")) // 86_400_000
        rows.append((topic.name, topic.partitions or None, days or None, note))
    print_table(("topic", "partitions", "days kept", "note"), rows, empty="no topics")
