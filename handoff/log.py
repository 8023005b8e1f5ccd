"""One line per event that matters: an event name and fields, `log.info("node.lost", node="n1", reason="silent for 10 s")`.

Importing this configures nothing. In a program that uses Handoff as a library, events go to the standard logger "handoff", which is
silent until that program gives it a handler. Daemons call `configure`. The standard library does it alone, because a daemon's first
breath counts towards an embedded cluster's start, and structlog was measured to cost 80 ms of it.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

from handoff.errors import ConfigError

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("text", "json")

_logger = logging.getLogger("handoff")
_logger.addHandler(logging.NullHandler())   # otherwise Python prints warnings of unconfigured loggers to stderr
_PLAIN = re.compile(r"[^\s\"'=\\\x00-\x1f\x7f-\x9f]+")


class Log:
    """Says events. Fields that were bound come first in every line."""

    __slots__ = ("_bound",)

    def __init__(self, bound: dict[str, Any] | None = None) -> None:
        self._bound = bound or {}

    def bind(self, **fields: Any) -> Log:
        """A log that adds these fields to every event."""
        return Log({**self._bound, **fields})

    def debug(self, event: str, **fields: Any) -> None:
        """For someone who looks for a fault."""
        if _logger.isEnabledFor(logging.DEBUG):
            self._say(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: Any) -> None:
        """Something normal that matters: a node joined, a run ended."""
        self._say(logging.INFO, event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Something is wrong and was dealt with: a peer was refused, a node lost."""
        self._say(logging.WARNING, event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """Something is wrong that needs a person."""
        self._say(logging.ERROR, event, fields)

    def exception(self, event: str, **fields: Any) -> None:
        """An error, with the traceback of the exception that is being handled."""
        self._say(logging.ERROR, event, fields, with_traceback=True)

    def _say(self, level: int, event: str, fields: dict[str, Any], *, with_traceback: bool = False) -> None:
        if _logger.isEnabledFor(level):
            fields = {**self._bound, **fields} if self._bound else fields
            text = " ".join([event, *(f"{name}={_shown(value)}" for name, value in fields.items())])
            # Not formatted with %: a record without arguments is taken as it is, whatever peers put into their names.
            _logger.log(level, text, exc_info=with_traceback, extra={"event": event, "fields": fields})


log = Log()


def configure(format: str = "text", level: str = "info", stream: TextIO | None = None) -> None:
    """Write events to `stream` (stderr when None), one line each; for daemons only. Calling it again replaces what was set before."""
    if format not in FORMATS:
        raise ConfigError(f"log format {format!r} is not known; choose one of {', '.join(FORMATS)}")
    if level not in LEVELS:
        raise ConfigError(f"log level {level!r} is not known; choose one of {', '.join(LEVELS)}")
    handler = logging.StreamHandler(stream if stream is not None else sys.stderr)
    handler.setFormatter(_JsonLine() if format == "json" else _TextLine())
    for old in list(_logger.handlers):
        _logger.removeHandler(old)
    _logger.addHandler(handler)
    _logger.setLevel(level.upper())
    _logger.propagate = False


class _TextLine(logging.Formatter):
    """2026-01-31T12:00:00.123Z info    node.lost node=n1 reason="silent for 10 s"."""

    def format(self, record: logging.LogRecord) -> str:
        line = f"{_time(record)} {record.levelname.lower():<7} {record.getMessage()}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info and record.exc_info[0] else line


class _JsonLine(logging.Formatter):
    """The same as one JSON object, for machines."""

    def format(self, record: logging.LogRecord) -> str:
        said = {"time": _time(record), "level": record.levelname.lower(), "event": getattr(record, "event", record.getMessage())}
        for name, value in getattr(record, "fields", {}).items():
            said[f"{name}_" if name in said else name] = value   # a field never hides the time, level or name of its event
        if record.exc_info and record.exc_info[0]:
            said["traceback"] = self.formatException(record.exc_info)
        return json.dumps(said, default=str)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{int(record.msecs):03d}Z"


def _shown(value: Any) -> str:
    """The value as one word: quoted when it is not one, so that nobody's name can forge a second field or a second line."""
    if isinstance(value, float):
        return f"{value:.6g}"
    text = value if isinstance(value, str) else str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text)
