"""Blindsight's device: takes a picture, encrypts it, publishes it, opens the answer. Imports nothing of the
servers."""

VERSION = "1.0.0"
# UTC (year, month, day) of this firmware: the clock is never set to before it (see net.py).
BUILT = (2026, 11, 22)
