"""`levelgate simulate …`: what the simulated HighLevel can be told to do."""

from levelgate.cli.lazy import LazyGroup

command = LazyGroup(
    name="simulate",
    sections={
        "Commands": {
            "send": ("levelgate.cli.simulations.send", "Sign a file's bytes and send them as a webhook."),
            "samples": ("levelgate.cli.simulations.samples", "Send every documented sample, or write them to files."),
            "burst": ("levelgate.cli.simulations.burst", "Send many events over many locations, and wait for them."),
            "install": ("levelgate.cli.simulations.install", "Install an app, and send INSTALL."),
            "uninstall": ("levelgate.cli.simulations.uninstall", "Remove an app, and send UNINSTALL."),
        }
    },
    help="Let the simulated HighLevel act. It must run: `levelgate up`, or `levelgate simulator`.",
)
