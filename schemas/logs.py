"""Structured logs on standard error: one line an outcome, fields not prose, secrets and bodies never.

JSON unless a terminal. The event name is a constant past participle, so that it can be counted.
What can be known by its name or its shape is blanked here; a body in free text can't be, so the callers
keep bodies out of messages and exception texts.
"""

import logging
import sys

import orjson
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from schemas.redaction import REDACTED, redact_text, redacted
from schemas.settings import Log

__all__ = ["REDACTED", "configure_logs", "get_logger", "redact_text"]

_CONTROL = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) != "\t"}


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Blank what must not be logged: by field name at any depth, and by shape in texts."""
    safe: EventDict = redacted(event)
    return safe


def configure_logs(settings: Log) -> None:
    """Set up structlog and the standard library's logging for this process."""
    json = settings.format == "json" or (settings.format == "auto" and not sys.stderr.isatty())
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=False,
    )
    handler = _StandardError(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *(_json_lines() if json else _terminal_lines()),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # aiokafka logs each retry while a broker is away; aiohttp.access would repeat what we log ourselves.
    logging.getLogger("aiokafka").setLevel(max(level, logging.WARNING))
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)


def get_logger(name: str) -> FilteringBoundLogger:
    """Return the logger of a module."""
    logger: FilteringBoundLogger = structlog.get_logger(name)
    return logger


class _StandardError(logging.StreamHandler):  # type: ignore[type-arg]  # generic in the stubs only
    """Standard error; a record that can't be written is counted by one line, without the record."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 -- the standard library's name
        # The library's own version prints the message and its arguments, unredacted.
        self.stream.write(f'{{"event": "log_record_lost", "logger": "{record.name}"}}\n')


def _json_lines() -> list[Processor]:
    # show_locals would write every frame's variables: tokens and bodies (tried: both leaked).
    tracebacks = structlog.processors.ExceptionRenderer(
        structlog.tracebacks.ExceptionDictTransformer(show_locals=False, max_frames=20)
    )
    return [tracebacks, redact, structlog.processors.JSONRenderer(serializer=_dumps)]


def _terminal_lines() -> list[Processor]:
    # rich's tracebacks show locals too: plain ones, made text before redaction sees them.
    return [
        structlog.processors.format_exc_info,
        redact,
        _without_control_characters,
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
        ),
    ]


def _without_control_characters(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    # What the vendor sent must not move an operator's cursor or forge a line.
    return {
        name: value.translate(_CONTROL) if isinstance(value, str) and name != "exception" else value
        for name, value in event.items()
    }


def _dumps(event: EventDict, **_: object) -> str:
    return orjson.dumps(event).decode()
