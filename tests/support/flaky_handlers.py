"""Handlers that fail at random, yet always the same way, and note the start and the end of each run.

A note is one `write` to a file of the process's own: cheap, and whole even if the process is killed right after it.
What a run ends with depends on its delivery, handler and attempt alone, so that what must become of each pair is known.
The one that coalesces always ends well: what becomes of a pair of it depends on what waits behind it.
"""

import asyncio
import hashlib
import os
import struct
import time
from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from pathlib import Path

import msgspec

from levelgate import Permanent, Retry, on

FOLDER = "FLAKY_HANDLERS_FOLDER"
"""The environment variable that names the folder of the notes."""

HANDLERS = ("flaky", "strict", "relaxed", "folding")
IN_ORDER = frozenset({0, 1, 3})
FOLDING = 3
MAX_ATTEMPTS = 3

BEGUN, DONE, FAILED, GIVEN_UP, PUT_OFF, CANCELLED = range(6)

_NOTE = struct.Struct("<dIiBBB")
NOTE_BYTES = _NOTE.size

_FAILED = {0: 0.1, 1: 0.02, 2: 0.1, 3: 0.0}
_GIVEN_UP = {0: 0.0, 1: 0.01, 2: 0.0, 3: 0.0}
_PUT_OFF = {0: 0.0, 1: 0.0, 2: 0.002, 3: 0.0}
_LONGEST_RUN_S = 0.02


class Note(msgspec.Struct, frozen=True):
    """The start (`BEGUN`) or the end of one run; `at` in seconds since 1970."""

    at: float
    delivery: int
    process: int
    handler: int
    attempt: int
    what: int


def _chance(*key: object) -> float:
    return int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=4).digest()) / 2**32


def ends_with(delivery: int, handler: int, attempt: int) -> int:
    """Return what a run ends with, if nobody cuts it off."""
    chance = _chance(delivery, handler, attempt)
    for what, share in ((FAILED, _FAILED), (GIVEN_UP, _GIVEN_UP), (PUT_OFF, _PUT_OFF)):
        chance -= share[handler]
        if chance < 0:
            return what
    return DONE


def becomes(delivery: int, handler: int) -> tuple[str, int]:
    """Return what must become of a pair, and after how many attempts."""
    for attempt in range(1, MAX_ATTEMPTS + 1):
        what = ends_with(delivery, handler, attempt)
        if what != FAILED:
            return {DONE: "done", GIVEN_UP: "dead", PUT_OFF: "parked"}[what], attempt
    return "dead", MAX_ATTEMPTS


def notes(folder: Path) -> Iterator[Note]:
    """Return the notes of all processes, each process's in their order."""
    for file in folder.iterdir():
        yield from (Note(*fields) for fields in _NOTE.iter_unpack(file.read_bytes()))


@cache
def _file() -> int:
    path = Path(os.environ[FOLDER]) / str(os.getpid())
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def _note(delivery: int, handler: int, attempt: int, what: int) -> None:
    os.write(_file(), _NOTE.pack(time.time(), delivery, os.getpid(), handler, attempt, what))


async def _run(ctx, handler: int) -> None:
    key = int(ctx.delivery.id.rpartition("-")[2]), handler, ctx.delivery.attempt
    _note(*key, BEGUN)
    try:
        await asyncio.sleep(_LONGEST_RUN_S * _chance("pause", *key))
    except asyncio.CancelledError:
        _note(*key, CANCELLED)
        raise
    what = ends_with(*key)
    _note(*key, what)
    if what == FAILED:
        raise RuntimeError("by chance")
    if what == GIVEN_UP:
        raise Permanent("by chance")
    if what == PUT_OFF:
        raise Retry(after=timedelta(hours=1))


@on("ContactCreate", name=HANDLERS[0])
async def flaky(event, ctx):
    await _run(ctx, 0)


@on("ContactCreate", name=HANDLERS[1])
async def strict(event, ctx):
    await _run(ctx, 1)


@on("ContactCreate", name=HANDLERS[2], ordering="relaxed")
async def relaxed(event, ctx):
    await _run(ctx, 2)


@on("ContactCreate", name=HANDLERS[FOLDING], coalesce=True)
async def folding(event, ctx):
    await _run(ctx, FOLDING)
