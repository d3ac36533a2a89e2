"""Watchdog, deep sleep and reboot. Ports without them (unix) end the process instead: whoever started it
wakes it."""

import sys
import time

try:
    import machine
except ImportError:
    machine = None


def watchdog(seconds):
    """A function to call at least every `seconds`; the board restarts when it is not. Does nothing where
    unsupported."""
    if seconds and hasattr(machine, "WDT"):
        return machine.WDT(timeout=int(seconds * 1000)).feed
    return lambda: None


def deep_sleep(seconds):
    """Sleep and start again from boot.py; never returns."""
    if hasattr(machine, "deepsleep"):
        time.sleep_ms(200)  # what was written last leaves the radio first
        machine.deepsleep(int(seconds * 1000))
    sys.exit(0)


def reboot():
    """Restart; never returns."""
    if hasattr(machine, "reset"):
        machine.reset()
    sys.exit(0)


def recover(error):
    """After a fault nobody foresaw: show it; a board starts again in ten seconds, a process ends with code
    1."""
    sys.print_exception(error)
    if hasattr(machine, "reset"):
        time.sleep(10)
        machine.reset()
    sys.exit(1)
