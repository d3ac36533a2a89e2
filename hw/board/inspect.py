# MicroPython: no contextlib, no zip(strict)
# mypy: ignore-errors
# ruff: noqa: SIM105
"""Run on the board: what it is, and SHA-256 of the files under ARGS["folders"] and of ARGS["files"]."""

import binascii
import gc
import hashlib
import json
import os
import sys


def digest(path: str) -> str:
    h = hashlib.sha256()
    buf = bytearray(512)
    with open(path, "rb") as f:
        while True:
            n = f.readinto(buf)
            if not n:
                return binascii.hexlify(h.digest()).decode()
            h.update(memoryview(buf)[:n])


def walk(folder: str, out: dict) -> None:
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        path = folder + "/" + name
        if os.stat(path)[0] & 0x4000:
            walk(path, out)
        else:
            out[path] = digest(path)


def uid() -> str:
    try:
        import machine

        return binascii.hexlify(machine.unique_id()).decode()
    except (ImportError, AttributeError):
        return ""


def mhz() -> float:
    try:
        import machine

        return machine.freq() / 1e6
    except (ImportError, AttributeError, TypeError):
        return 0


found: dict = {}
for folder in ARGS["folders"]:  # noqa: F821
    walk(folder, found)
for path in ARGS["files"]:  # noqa: F821
    try:
        found[path] = digest(path)
    except OSError:
        pass
read = {}
for path in ARGS["read"]:  # noqa: F821
    try:
        with open(path) as f:
            read[path] = f.read()
    except OSError:
        pass
gc.collect()
print(
    "@"
    + json.dumps(
        {
            "platform": sys.platform,
            "version": sys.version,
            "mpy": getattr(sys.implementation, "_mpy", 0),
            "uid": uid(),
            "mhz": mhz(),
            "heap": gc.mem_alloc() + gc.mem_free(),
            "files": found,
            "read": read,
        }
    )
)
