"""The command as a user runs it, in a folder of its own, on ports of its own, natively."""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import psutil

from levelgate.cli.local_settings import VARIABLES
from levelgate.local.processes import free_port

_COMMAND_WITHIN_S = 180


class Finished:
    """A command that has ended."""

    def __init__(self, code: int, output: bytes, errors: bytes) -> None:
        self.code = code
        self.output = output.decode()
        self.errors = errors.decode()

    def json(self):
        """What it printed for programs; where that is nothing, why."""
        assert self.output, f"exit {self.code}, and nothing but:\n{self.errors}"
        return json.loads(self.output)


class LocalStackFolder:
    """A folder in which `levelgate` is run."""

    first: Finished
    """How the first `run-local` of the folder ended."""

    def __init__(self, folder: Path, jars: Path) -> None:
        self.folder = folder
        jars.mkdir(parents=True, exist_ok=True)
        (folder / ".levelgate").mkdir()
        (folder / ".levelgate" / "jars").symlink_to(jars)
        self.ports: dict[str, int] = {}
        while len(self.ports) < len(VARIABLES):
            port = free_port()
            if port not in self.ports.values():
                self.ports[next(name for name in VARIABLES if name not in self.ports)] = port
        self._environment = {
            **os.environ,
            **{variable: str(self.ports[name]) for name, variable in VARIABLES.items()},
            "LEVELGATE_WORKER__SESSION_TIMEOUT_S": "6",
        }

    async def run(self, *arguments: str) -> Finished:
        """Run one command to its end."""
        process = await self.start(*arguments)
        async with asyncio.timeout(_COMMAND_WITHIN_S):
            output, errors = await process.communicate()
        return Finished(process.returncode or 0, output, errors)

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        """Start a command and leave it running."""
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *("-P", "-m", "levelgate", *arguments),
            cwd=self.folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def left_running(self) -> list[str]:
        """Return the processes that run in the folder or on its data."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if str(self.folder) in " ".join(process.cmdline()) or process.cwd() == str(self.folder):
                    found.append(" ".join(process.cmdline()))
        return found

    def open_ports(self) -> list[str]:
        """Return the names of the ports that somebody listens on."""
        return [name for name, port in self.ports.items() if _is_open(port)]


def _is_open(port: int) -> bool:
    with socket.socket() as client:
        client.settimeout(2)
        return client.connect_ex(("127.0.0.1", port)) == 0
