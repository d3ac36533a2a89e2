"""Signed updates of the application: made here, checked on the board, rolled back when not healthy.

A package is one file: magic, signature, manifest (JSON: version, counter, arch, files and their SHA-256), then the files.
The signature is Ed25519 (RFC 8032) over `"blindsight/1 update" || manifest`. The board checks it against the key that
provisioning pinned (board/bsupdate.py), runs the version on trial and returns to the one before unless the cloud accepts
a picture of it (board/launcher.py). The serial line carries it; MQTT and the cloud never do. Why Ed25519 and no shared
key: a board's flash can be read out, and what is read there must not sign for other boards.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from blindsight.errors import OneLine
from blindsight.hw.deploy import APP, ARCHES, STATE_FILES, arch_of, build, fill, state_of, version_of
from blindsight.hw.link import Link, LinkError

MAGIC = b"BSU\x01"
CONTEXT = b"blindsight/1 update"
LIMIT = 1 << 20


class UpdateError(OneLine):
    """A package or key that may not be used; one line that names the fix."""


@dataclass(frozen=True)
class Package:
    """A signed version: the manifest's bytes as signed, its fields, and the files."""

    raw: bytes
    signature: bytes
    manifest: dict[str, Any]
    files: dict[str, bytes]


def new_key(secret: Path, public: Path) -> None:
    """Makes the pair; the secret (32 bytes, mode 0600) signs, the public one is provisioned. Refuses to overwrite."""
    for path in (secret, public):
        if path.exists():
            raise UpdateError(f"{path} exists: choose another name, boards may hold that key")
    key = Ed25519PrivateKey.generate()
    descriptor = os.open(secret, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as f:
        f.write(key.private_bytes_raw())
    public.write_bytes(key.public_key().public_bytes_raw())


def sign(secret: Path, counter: int, arch: str, app: Path = APP) -> bytes:
    """A package of this checkout's application for boards of `arch`; `counter` above every one signed before."""
    if arch not in ARCHES[1:]:
        raise UpdateError(f"arch is one of {', '.join(ARCHES[1:])}")
    if not 0 < counter < 1 << 31:
        raise UpdateError("counter is a number from 1 on, higher for each version")
    key = secret.read_bytes()
    if len(key) != 32:
        raise UpdateError(f"{secret} is not a signing key: make one with `blindsight hw update-key`")
    files = build(arch, app)
    manifest = {
        "version": version_of(app), "counter": counter, "arch": arch,
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
    }  # fmt: skip
    raw = json.dumps(manifest, sort_keys=True).encode()
    signature = Ed25519PrivateKey.from_private_bytes(key).sign(CONTEXT + raw)
    out = MAGIC + signature + struct.pack("<I", len(raw)) + raw
    for name in sorted(files):  # the order of the manifest
        out += struct.pack("<I", len(files[name])) + files[name]
    return out


def read_package(path: Path, public: bytes | None = None) -> Package:
    """The package in a file, lengths and digests checked; the signature too where `public` is given."""
    data = path.read_bytes()
    if len(data) > LIMIT or data[:4] != MAGIC or len(data) < 72:
        raise UpdateError(f"{path} is not an update package: make one with `blindsight hw sign`")
    (size,) = struct.unpack_from("<I", data, 68)
    raw, at = data[72 : 72 + size], 72 + size
    files: dict[str, bytes] = {}
    try:
        manifest = json.loads(raw)
        for name, expected in manifest["files"].items():
            (length,) = struct.unpack_from("<I", data, at)
            files[name] = data[at + 4 : at + 4 + length]
            at += 4 + length
            plain = all(part and part.strip(".") for part in name.split("/"))
            if not plain or hashlib.sha256(files[name]).hexdigest() != expected:
                raise ValueError(name)
        if (
            at != len(data)
            or not isinstance(manifest["counter"], int)
            or not isinstance(manifest["version"], str)
        ):
            raise ValueError("fields")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, struct.error):
        raise UpdateError(f"{path} is damaged: fetch it again") from None
    if public is not None:
        try:
            Ed25519PublicKey.from_public_bytes(public).verify(data[4:68], CONTEXT + raw)
        except (InvalidSignature, ValueError):
            raise UpdateError(f"{path} is not signed with that key") from None
    return Package(raw, data[4:68], manifest, files)


def update(link: Link, package: Package) -> dict[str, Any]:
    """Brings a package to the board, which checks and puts it on trial; its manifest. Restart the board to begin."""
    board = link.inspect("/a", "/b", read=STATE_FILES)
    state = state_of(board)
    if state.get("active", "none") == "none":
        raise LinkError(f"{link.port}: no application on this board: run `blindsight hw deploy {link.port}`")
    if package.manifest.get("arch") != arch_of(board):
        raise UpdateError(
            f"the package is for {package.manifest.get('arch')}, this board is {arch_of(board)}: sign one for it"
        )
    slot = "a" if state["active"] == "b" else "b"
    trial = state.get("trial")
    if trial and trial["counter"] == package.manifest["counter"]:
        return package.manifest
    if trial:
        raise UpdateError(
            f"version {trial['version']} is on trial: wait for its first picture, or run `blindsight hw deploy`"
        )
    files = package.files | {"update.json": package.raw, "update.sig": package.signature}
    fill(link, board, slot, state["active"], files)
    done = link.call("accept", "checking the signature", seconds=300, slot=slot)
    if done["refused"]:
        raise UpdateError(f"{link.port}: the board refuses this update: {done['refused']}")
    return package.manifest
