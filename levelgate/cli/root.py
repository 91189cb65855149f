"""`levelgate` itself: the list of commands, and how each failure ends as one clear sentence and an exit code.

0 done · 1 it did not work · 2 wrong usage or settings · 130 interrupted.
"""

from typing import Any

import click

from levelgate.cli.lazy import LazyGroup, example
from schemas.errors import LevelgateError, Misconfigured

INTERRUPTED = 130

_SECTIONS = {
    "Try it on this machine": {
        "run-local": ("levelgate.cli.run_local", "Start everything, run the demo, stay up until Ctrl-C."),
        "up": ("levelgate.cli.up", "Start the local stack in the background."),
        "status": ("levelgate.cli.status", "Show what of the local stack runs."),
        "down": ("levelgate.cli.down", "Stop the local stack; its data stay."),
        "simulate": ("levelgate.cli.simulate", "Let the simulated HighLevel send webhooks, install, uninstall."),
    },
    "Run the parts": {
        "receiver": ("levelgate.cli.receiver", "Receive webhooks and OAuth callbacks."),
        "worker": ("levelgate.cli.worker", "Work off events: run handlers, keep the mirror tables."),
        "simulator": ("levelgate.cli.simulator", "Run the fake HighLevel of the local stack."),
    },
    "Set up": {
        "check": ("levelgate.cli.check", "Check settings and connections, with a fix for each fault."),
        "migrate": ("levelgate.cli.migrate", "Bring the database's tables up to date."),
        "topics": ("levelgate.cli.topics", "Create and show Kafka's topics."),
        "apps": ("levelgate.cli.apps", "List the apps of the settings, with the URLs to register."),
        "handlers": ("levelgate.cli.handlers", "List the handlers, yours and the built-in ones, with their policies."),
    },
    "Look": {
        "trace": ("levelgate.cli.trace", "Show one delivery's way: received, published, handled, API calls."),
        "installs": ("levelgate.cli.installs", "List where the apps are installed."),
        "budget": ("levelgate.cli.budget", "Show what is left of each tenant's API calls."),
        "parked": ("levelgate.cli.parked", "List what waits for its next attempt."),
        "dead": ("levelgate.cli.dead", "Dead letters: list, show, redrive, discard."),
    },
    "Run again": {
        "replay": ("levelgate.cli.replay", "Replay events of the past: plan, start, status, pause, resume, cancel."),
    },
}


class Root(LazyGroup):
    """The outermost command: the one place where failures become messages."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 -- click's own
        """Run the command; click calls this."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)
        except Misconfigured as error:
            click.echo(str(error), err=True)
            click.echo(
                "`levelgate check` shows all settings, and `levelgate check --help` where they come from", err=True
            )
            ctx.exit(2)
        except LevelgateError as error:
            click.echo(str(error), err=True)
            ctx.exit(1)


root = Root(
    name="levelgate",
    sections=_SECTIONS,
    help="Levelgate receives the webhooks of your HighLevel apps, keeps them in Kafka, and runs your handlers.",
    epilog=example(
        """
levelgate run-local              everything on this machine, with a demo
levelgate COMMAND --help         what a command does, with examples
"""
    ),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
click.version_option(package_name="levelgate", message="%(version)s")(root)
