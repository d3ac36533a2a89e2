"""Follows a board over its serial line: its events as they come, after a restart where asked."""

from __future__ import annotations

import json
import time
from collections.abc import Generator
from typing import Any

from blindsight.hw.link import LinkError
from blindsight.hw.probe import missing, open_line


def events(
    port: str, restart: bool = True, seconds: float | None = None, silence: float | None = None
) -> Generator[dict[str, Any] | str, None, None]:
    """Events (objects of one JSON line each) and other lines of the board, until `seconds` are over.

    `silence` ends it after so many seconds without a byte. A board that goes away raises LinkError.
    """
    name = port.removeprefix("serial:")
    gone = f"{name}: the board went away: plug it in again and run the same command; it keeps pictures not yet sent"
    try:
        line = open_line(name)
    except (OSError, ValueError):
        raise LinkError(missing(name)) from None
    with line:
        end = time.monotonic() + seconds if seconds is not None else None
        last, pending = time.monotonic(), b""
        try:
            if restart:
                for keys in (b"\r\x03", b"\x03", b"\x02", b"\x04"):  # stop, stop, friendly prompt, soft reset
                    line.write(keys)
                    time.sleep(0.2)
            while end is None or time.monotonic() < end:
                data = line.read(line.in_waiting or 1)
                if data:
                    last = time.monotonic()
                elif silence is not None and time.monotonic() - last > silence:
                    return
                *lines, pending = (pending + data).split(b"\n")
                for raw in lines:
                    yield _parsed(raw.decode("utf-8", "replace").strip())
        except OSError:
            raise LinkError(gone) from None


def _parsed(text: str) -> dict[str, Any] | str:
    if text.startswith("{"):
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            return text
        if isinstance(found, dict) and "event" in found:
            return found
    return text
