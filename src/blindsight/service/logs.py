"""Structured logs: one JSON object a line on standard error.

Secrets never get here by construction: an event carries only numbers, short text and identifiers that are
public to both servers; byte strings and arrays are replaced by their length.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        body = {
            "t": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "service": record.name.removeprefix("blindsight."),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[0] is not None:
            body["error"] = self.formatException(record.exc_info)
        return json.dumps(body)


class Log:
    """Events of one service. `log.info("picture-accepted", device=..., image=...)`."""

    def __init__(self, service: str) -> None:
        self._logger = logging.getLogger(f"blindsight.{service}")

    def debug(self, event: str, **fields: Any) -> None:
        """For a person who looks for a fault."""
        self._write(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: Any) -> None:
        """What normally happens."""
        self._write(logging.INFO, event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Refusals and retries."""
        self._write(logging.WARNING, event, fields)

    def error(self, event: str, exc_info: bool = False, **fields: Any) -> None:
        """What needs somebody."""
        self._write(logging.ERROR, event, fields, exc_info)

    def _write(self, level: int, event: str, fields: dict[str, Any], exc_info: bool = False) -> None:
        shown = {k: _plain(v) for k, v in fields.items()}
        self._logger.log(level, event, extra={"fields": shown}, exc_info=exc_info)


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return value[:300]
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    return f"<{type(value).__name__}>"


def setup(level: str = "info") -> None:
    """Sends the events of this process to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json())
    root = logging.getLogger("blindsight")
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    root.propagate = False
