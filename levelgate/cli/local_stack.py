"""Which local stack it is: in containers where a Docker engine answers, else native."""

import os

from levelgate.cli.compose import COMPOSE_FILE, ComposeStack, compose_command
from levelgate.cli.native import NativeStack
from levelgate.cli.output import Reporter
from schemas.errors import Misconfigured

Stack = NativeStack | ComposeStack

_VARIABLE = "RUN_LOCAL"


def choose_stack(mode: str | None, reporter: Reporter) -> Stack:
    """Return the stack that `mode`, else RUN_LOCAL, asks for; without either what this machine can do."""
    mode = mode or os.environ.get(_VARIABLE) or None
    if mode not in {None, "native", "compose"}:
        raise Misconfigured([f"{_VARIABLE} must be native or compose"])
    if mode is None:
        mode = "compose" if COMPOSE_FILE.is_file() and compose_command() else "native"
    return ComposeStack(reporter) if mode == "compose" else NativeStack(reporter)


def running_stacks(reporter: Reporter) -> list[Stack]:
    """Return the stacks that may have something running: both, where there are both."""
    native = NativeStack(reporter)
    return [native, ComposeStack(reporter)] if COMPOSE_FILE.is_file() and compose_command() else [native]
