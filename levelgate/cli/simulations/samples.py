"""`levelgate simulate samples`."""

from pathlib import Path

import click

from levelgate.cli.lazy import example
from levelgate.cli.output import cell, json_option, print_json, print_table
from schemas.errors import LevelgateError


@click.command(
    epilog=example(
        """
levelgate simulate samples
levelgate simulate samples --write samples      only write the bodies to files
"""
    )
)
@click.option("--app", help="The app they are for; needed where the settings name several.")
@click.option(
    "--write",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Send nothing; write each body to a file in this folder, for `simulate send`.",
)
@json_option
def command(*, app: str | None, folder: Path | None, as_json: bool) -> None:
    """Send every documented sample event as a new webhook, one after the other.

    Where the documented body has no name for the event, it is named in the path.
    """
    if folder is not None:
        _write(folder, as_json=as_json)
    else:
        _send(app, as_json=as_json)


def _write(folder: Path, *, as_json: bool) -> None:
    import msgspec

    from schemas.samples import samples

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for sample in samples():
        file = folder / f"{sample.name}.json"
        file.write_bytes(msgspec.json.format(msgspec.json.encode(sample.body), indent=2) + b"\n")
        event = sample.type if sample.in_path or sample.provider else None
        written.append({"file": str(file), "type": sample.type, "event": event})
    if as_json:
        print_json(written)
        return
    click.echo(f"wrote {len(written)} files to {folder}")
    in_path = [each["type"] for each in written if each["event"]]
    if in_path:
        click.echo(f"to be sent with --event NAME, their bodies having no name for it: {', '.join(map(str, in_path))}")


def _send(app: str | None, *, as_json: bool) -> None:
    from levelgate.cli.connections import run
    from levelgate.cli.local_settings import demo_app
    from levelgate.cli.output import Reporter
    from levelgate.cli.simulator_client import open_simulator
    from schemas.samples import samples
    from schemas.settings import Settings

    total = len(samples())

    async def send(settings: Settings) -> list[dict[str, object]]:
        lines = []
        async with open_simulator(settings) as simulator:
            with Reporter().progress("samples sent", total) as advance:
                async for line in simulator.stream("samples", app=app or demo_app(settings)):
                    if line.get("done"):
                        continue
                    lines.append(line)
                    advance(len(lines))
        return lines

    sent = run(send)
    if as_json:
        print_json(sent)
    else:
        rows = [
            (line["name"], line.get("status"), cell(line.get("skipped") or line.get("error")), line.get("id"))
            for line in sent
        ]
        print_table(("sample", "status", "note", "delivery"), rows, empty="there are no samples")
    refused = [line for line in sent if not line.get("accepted") and "skipped" not in line]
    if refused:
        raise LevelgateError(f"{len(refused)} of {len(sent)} samples were not accepted")
