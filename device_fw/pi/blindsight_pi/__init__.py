"""Blindsight on a Raspberry Pi: the board firmware (bsdev) under CPython, on the C core, with a Pi's cameras."""
