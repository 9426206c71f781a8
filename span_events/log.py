"""
Structured logging: a snake-case name, then fields (``log.info("listener_started", port=5683)``).

Levels: INFO for operators (one line when a session or listener opens, one with totals when it
closes), WARNING for faults that an operator must mend, DEBUG per packet. No tokens, keys or payloads;
no IMSIs above DEBUG.
"""

from __future__ import annotations

import io
import logging
import os
import sys
from contextlib import suppress
from functools import partial
from typing import Literal, TextIO, cast

import structlog

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["console", "json"]


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of a part (``listeners.coap``)."""
    return cast(structlog.stdlib.BoundLogger, structlog.get_logger(part=name))


def configure(level: Level, style: Format, *, process: str = "") -> None:
    """
    Send log lines to standard error, as text for people or as JSON for collectors.

    Args:
        process: Written into each line, if there is one: several processes share standard error.
    """
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if style == "json"
        else structlog.dev.ConsoleRenderer(colors=_may_colour(), pad_event_to=28)
    )
    numeric = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            *((partial(_name_process, process),) if process else ()),
            structlog.processors.TimeStamper(fmt="%Y-%m-%dT%H:%M:%S.%fZ", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(numeric),
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, _Unfailing(sys.stderr))),
        cache_logger_on_first_use=False,
    )
    # Libraries log through the standard module; aiohttp repeats what our events say.
    logging.basicConfig(handlers=[_Forwarding()], level=max(numeric, logging.WARNING), force=True)
    logging.captureWarnings(True)
    logging.getLogger("aiohttp.access").setLevel(logging.CRITICAL)
    logging.getLogger("aiohttp.server").addFilter(is_defect)


def _name_process(
    name: str, _logger: object, _method: str, fields: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    fields["process"] = name
    return fields


class _Forwarding(logging.Handler):
    """Logs records of libraries as `library_message`, in the style of this server's log."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        get_logger(record.name).log(
            record.levelno, "library_message", text=record.getMessage(), exc_info=record.exc_info
        )


class _Unfailing(io.TextIOBase):
    """
    A stream whose lines are lost if they cannot be written: the terminal was closed, or the disk is full.

    A part that logs must not fail by that.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, or forget."""
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, or forget."""
        try:  # noqa: SIM105  # the interpreter's end calls this, when names such as suppress are gone (Python 3.13)
            self._stream.flush()
        except OSError:
            pass


def _may_colour() -> bool:
    """Colour is for terminals, unless their user declined it (no-color.org)."""
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def is_defect(record: logging.LogRecord) -> bool:
    """Leave out requests that are no HTTP: they are answered with 400, and a scanner must not fill the log."""
    error = record.exc_info[1] if record.exc_info else None
    return type(error).__module__ != "aiohttp.http_exceptions"
