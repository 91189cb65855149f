"""What must not be logged, known by the name of its field or by its shape in a text. Pure.

The result is plain JSON of bounded size, whatever was logged.
"""

import re
from collections.abc import Mapping
from datetime import date
from typing import Any

REDACTED = "[redacted]"

MAX_TEXT_LENGTH = 8192
"""Longer texts are cut: a log line tells of a body, it does not repeat it."""

_MAX_DEPTH = 12
_MAX_INTEGER = 2**63

_SECRET_FIELD = re.compile(
    r"token|secret|password|passwd|authorization|authentication|cookie|signature_value|api_?key|private|credential"
    r"|^code$|^state$|^body$|^payload$|^value$|^raw$",
    re.IGNORECASE,
)

_VALUE = r"""(?:(?:bearer|basic)\s+)?(?:"(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?|[^\s"'&,;})\]]+)"""
_SECRET_TEXT = re.compile(
    # A secret's name, and what it is set to: in a query, a header, JSON or a repr.
    r"((?:token|secret|password|passwd|api_?key|authorization|authenticationvalue)\\{0,8}[\"']?\s{0,4}[=:]\s{0,4}\\{0,8})"
    + _VALUE
    + r"|([?&\s\"'](?:code|state)=)[^\s\"'&,;]+"
    + r"|([\"'](?:code|state)\\{0,8}[\"']\s{0,4}:\s{0,4}\\{0,8}[\"'])[^\s\"']+"
    + r"|((?:bearer|basic)\s{1,4})[^\s\"',;]+"
    # The password of a URL may itself hold an @ or a slash.
    + r"|(://[^\s:/@]{0,256}:)[^\s\"'<>]{1,512}(?=@)"
    + r"|(\b)eyJ[\w-]+\.[\w-]+\.[\w-]*",
    re.IGNORECASE,
)


def redact_text(text: str) -> str:
    """Return `text`, cut to a bounded length, with tokens, JWTs, passwords of URLs and secret parameters blanked."""
    if len(text) > MAX_TEXT_LENGTH:
        text = f"{text[:MAX_TEXT_LENGTH]}… ({len(text)} characters)"
    # Lone surrogates (names of files, headers) can't be written as UTF-8.
    text = text.encode("utf-8", "backslashreplace").decode()
    return _SECRET_TEXT.sub(lambda found: next(filter(None, found.groups()), "") + REDACTED, text)


def redacted(value: Any, depth: int = 0) -> Any:  # noqa: ANN401 -- a log field is anything
    """Return `value` as plain JSON values, secrets blanked; of what is no such value, the redacted `str`."""
    if not isinstance(value, (Mapping, list, tuple, set, frozenset)):
        return _scalar(value)
    if depth >= _MAX_DEPTH:
        return "…"
    if isinstance(value, Mapping):
        return {redact_text(str(name)): _field(str(name), each, depth) for name, each in value.items()}
    return [redacted(each, depth + 1) for each in value]


def _field(name: str, value: Any, depth: int) -> Any:  # noqa: ANN401 -- as above
    return REDACTED if _SECRET_FIELD.search(name) else redacted(value, depth + 1)


def _scalar(value: object) -> str | float | None:
    if value is None or isinstance(value, (bool, float)):
        return value
    if isinstance(value, int):
        return int(value) if abs(value) < _MAX_INTEGER else f"an integer of {value.bit_length()} bits"
    if isinstance(value, (bytes, bytearray, memoryview)):
        return REDACTED
    return redact_text(value.isoformat() if isinstance(value, date) else str(value))
