"""The `levelgate` command: one thin module a subcommand, imported only when it is called.

Nothing heavy is imported here, so that `levelgate --help` answers at once.
"""

from levelgate.cli.root import root

__all__ = ["main", "root"]


def main() -> None:
    """Run the command with the arguments of this process, and exit."""
    root(prog_name="levelgate")
