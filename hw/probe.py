"""Who answers at a port, asked before mpremote is: it waits for ever on a pseudo-terminal and names no reason."""

from __future__ import annotations

import sys
import time
import warnings
from typing import Any

PROMPT = b"raw REPL"
LOADER = (b"invalid header", b"waiting for download", b"ets Jun", b"ESP-ROM:", b"flash read err")


class NoSerialError(Exception):
    """pyserial is not there; one line that names the fix."""


def pyserial() -> Any:
    """The package `serial`, imported when a line is wanted: `hw list` or `hw energy` work without it."""
    try:
        import serial  # type: ignore[import-untyped]
    except ImportError:
        raise NoSerialError("pyserial is not installed: pip install 'blindsight[boards]'") from None
    return serial


def missing(port: str) -> str:
    """What to do about a port that cannot be opened."""
    return (
        f"{port}: no such port or it is in use: plug the board in, close other terminals (`blindsight hw doctor`), run the "
        "same command"
    )


def open_line(port: str) -> Any:
    """The port, opened for this program alone; OSError (pyserial's errors are such) or ValueError when it cannot be."""
    serial = pyserial()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # pyserial 3.5's own, in its rfc2217 client
        line = serial.serial_for_url(
            port, 115200, timeout=0.1, do_not_open=True, exclusive=not port.startswith("rfc2217://") or None
        )
        if sys.platform == "win32":  # raised together once open: one after the other resets an ESP32
            line.dtr = line.rts = False
        line.open()
        if sys.platform == "win32":
            line.dtr = True
            line.rts = True
        return line


def probe(port: str, seconds: float = 15) -> str:
    """Empty when MicroPython's raw prompt answers, else what to do. Stops what runs there, as mpremote does."""
    try:
        line = open_line(port)
    except (OSError, ValueError):
        return missing(port)
    seen, end, asked = b"", time.monotonic() + seconds, 0.0
    try:
        with line:
            while time.monotonic() < end:
                if time.monotonic() - asked > 0.7:
                    line.write(b"\r\x03\x03\r\x01")
                    asked = time.monotonic()
                seen = (seen + line.read(line.in_waiting or 1))[-4096:]
                if PROMPT in seen:
                    return ""
                if seen.count(b"invalid header") > 1:
                    break
    except OSError:
        return f"{port}: the board went away: plug it in again, run the same command"
    if any(word in seen for word in LOADER):
        return (
            f"{port}: no firmware runs on this board: `blindsight hw flash {port} --board B --firmware F`, or press RESET if it "
            "has one"
        )
    return f"{port}: no answer: press RESET (it may be asleep), close other terminals, run the same command"
