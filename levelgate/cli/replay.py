"""`levelgate replay …`: events of the past, run again."""

from levelgate.cli.lazy import LazyGroup

command = LazyGroup(
    name="replay",
    sections={
        "Commands": {
            "plan": ("levelgate.cli.replays.plan", "Count what a replay would run, and estimate calls and time."),
            "start": ("levelgate.cli.replays.start", "Run events of the past again, beside live work."),
            "status": ("levelgate.cli.replays.status", "Show replays, and how far they are."),
            "pause": ("levelgate.cli.replays.pause", "Let a replay stop publishing; it can go on later."),
            "resume": ("levelgate.cli.replays.resume", "Go on with a replay that was paused or interrupted."),
            "cancel": ("levelgate.cli.replays.cancel", "End a replay for good: workers skip what is left of it."),
        }
    },
    help="Replay: run events of the past again, from the event topics or from dead letters, slower than live work.",
)
