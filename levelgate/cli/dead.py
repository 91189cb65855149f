"""`levelgate dead …`: dead letters, looked at, run again, or given up for good."""

from levelgate.cli.lazy import LazyGroup

command = LazyGroup(
    name="dead",
    sections={
        "Commands": {
            "list": ("levelgate.cli.dead_letters.listing", "List what was given up, the newest first."),
            "show": ("levelgate.cli.dead_letters.show", "Show all that is kept of one delivery's dead letters."),
            "redrive": ("levelgate.cli.dead_letters.redrive", "Run dead letters again, a few first if you like."),
            "discard": ("levelgate.cli.dead_letters.discard", "Give dead letters up for good, bodies included."),
        }
    },
    help="Dead letters: what was given up, kept with its whole history until you redrive or discard it.",
)
