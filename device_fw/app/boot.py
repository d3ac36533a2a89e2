"""Runs before main.py on a board: nothing may fail here, or the board cannot be repaired over the serial
line."""

import gc

gc.collect()
