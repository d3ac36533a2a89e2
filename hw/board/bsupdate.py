# MicroPython: no contextlib, no zip(strict)
# mypy: ignore-errors
# ruff: noqa: UP031
"""Accepts a new version of the application on the board: signature, counter and every file, then puts it on trial.

Adversary: whoever carries or stores the package on its way (a download, a technician's laptop). Assumption: Ed25519
(RFC 8032) under the key in /bs/update.pub, which provisioning writes and nothing else. The counter must grow, so an old
signed version is not brought back. Who holds the serial line has the whole board anyway and is not kept out by this.
"""

import binascii
import hashlib
import json
import os

STATE = "/app.json"


def _read(path: str) -> bytes:
    with open(path, "rb") as f:
        return f.read()


def _files(folder: str, inside: str = "") -> list:
    out = []
    for name in os.listdir(folder + "/" + inside if inside else folder):
        path = inside + "/" + name if inside else name
        if os.stat(folder + "/" + path)[0] & 0x4000:
            out += _files(folder, path)
        else:
            out.append(path)
    return out


def _digest(path: str) -> str:
    h = hashlib.sha256()
    buf = bytearray(512)
    with open(path, "rb") as f:
        while True:
            n = f.readinto(buf)
            if not n:
                return binascii.hexlify(h.digest()).decode()
            h.update(memoryview(buf)[:n])


def check(slot: str, state: dict) -> dict:
    """The manifest of /slot; ValueError says why it is refused."""
    import bsed25519

    folder = "/" + slot
    try:
        key, raw, signature = (
            _read("/bs/update.pub"),
            _read(folder + "/update.json"),
            _read(folder + "/update.sig"),
        )
    except OSError:
        raise ValueError(
            "no update key, manifest or signature: provision the board with --update-key"
        ) from None
    if not bsed25519.verify(key, b"blindsight/1 update" + raw, signature):
        raise ValueError("the signature is not of this board's update key")
    manifest = json.loads(raw)
    if manifest["counter"] <= state.get("counter", 0):
        raise ValueError(
            "counter %d is not above %d: sign with a higher one"
            % (manifest["counter"], state.get("counter", 0))
        )
    if set(_files(folder)) != set(manifest["files"]) | {"update.json", "update.sig"}:
        raise ValueError("the slot holds other files than the manifest lists")
    for name, expected in manifest["files"].items():
        if _digest(folder + "/" + name) != expected:
            raise ValueError(name + " is not the file that was signed")
    return manifest


def apply(slot: str) -> dict:
    """Put the version in /slot on trial; the launcher makes it the active one once it is healthy."""
    with open(STATE) as f:
        state = json.load(f)
    if slot == state["active"]:
        raise ValueError("slot " + slot + " is in use")
    manifest = check(slot, state)
    state["trial"] = {
        "slot": slot,
        "version": manifest["version"],
        "counter": manifest["counter"],
        "tries": 0,
    }
    with open(STATE + ".part", "w") as f:
        json.dump(state, f)
    os.remove(STATE)
    os.rename(STATE + ".part", STATE)
    return manifest
