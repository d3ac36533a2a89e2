"""What a sender must not forget: the boot counter, half of every image id, and the pictures that wait for an answer.

Files of the device directory, each written beside its name, synced and renamed. The counter's two slots are the
firmware's (`boot.0`, `boot.1`), so a directory may move between a board and a computer; a lock keeps it to one process
of this computer at a time. A picture's file holds ciphertext and the key that opens its answer, never pixels or a seed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import struct
from dataclasses import replace
from pathlib import Path

from blindsight.client.encrypt import Parcel
from blindsight.client.errors import ClientError
from blindsight.offline.cursor import write_durably
from blindsight.wire import topics
from blindsight.wire.result import Reveal

SUFFIX = ".parcel"
MAX_HEADER = 1 << 20


class State:
    """Locks the directory and counts this boot, durably, before it returns."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._sent = folder, folder / "sent"
        self._sent.mkdir(mode=0o700, exist_ok=True)
        self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise ClientError(f"{folder} is in use by another process: one at a time") from None
        try:
            self.boot = self._count_boot()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Lets go of the lock."""
        os.close(self._lock)

    def _count_boot(self) -> int:
        slots = [self._folder / "boot.0", self._folder / "boot.1"]
        seen = [_boot(path) for path in slots]
        if not any(seen) and (any(path.exists() for path in slots) or any(self._sent.iterdir())):
            raise ClientError(
                f"{self._folder}: the boot counter is damaged; begin a new epoch (`blindsight keys device`)"
            )
        boot = 1 + max(seen)
        write_durably(slots[boot & 1], json.dumps({"boot": boot}).encode())
        return boot

    def _path(self, image: bytes) -> Path:
        return self._sent / (image.hex() + SUFFIX)

    def save(self, parcel: Parcel, accepted: bool = False) -> None:
        """Keeps a picture until `forget`; of an accepted one only the manifest, which asks for its answer."""
        messages = parcel.messages[-1:] if accepted else parcel.messages
        header = {
            "device": parcel.device, "image": parcel.image.hex(), "digest": parcel.digest.hex(),
            "key": parcel.key.hex(), "plan_hash": parcel.plan_hash.hex(), "reveal": parcel.reveal.name,
            "accepted": accepted, "sizes": [len(payload) for _, payload in messages],
        }  # fmt: skip
        text = json.dumps(header).encode()
        body = b"".join(payload for _, payload in messages)
        write_durably(self._path(parcel.image), struct.pack("<I", len(text)) + text + body)

    def forget(self, image: bytes) -> None:
        """Nothing of the picture stays."""
        with contextlib.suppress(FileNotFoundError):
            self._path(image).unlink()

    def images(self) -> list[bytes]:
        """The pictures kept, oldest first."""
        names = (path.name.removesuffix(SUFFIX) for path in self._sent.glob("*" + SUFFIX))
        return sorted(bytes.fromhex(n) for n in names if len(n) == 32 and set(n) <= set("0123456789abcdef"))

    def load(self, image: bytes) -> tuple[Parcel, bool]:
        """(the picture, whether it was accepted); `ClientError` where there is none of that id."""
        try:
            parcel, accepted = parse(self._path(image).read_bytes())
        except OSError:
            raise ClientError(
                f"picture {image.hex()} is not waiting here: answered, given up, or of elsewhere"
            ) from None
        return replace(parcel, image=image), accepted


def _boot(path: Path) -> int:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return 0
    boot = value.get("boot") if isinstance(value, dict) else None
    return boot if type(boot) is int and 0 < boot < 1 << 63 else 0


def parse(data: bytes) -> tuple[Parcel, bool]:
    """The contents of a picture's file; `ClientError` where it is not one."""
    try:
        (size,) = struct.unpack_from("<I", data)
        header = json.loads(data[4 : 4 + min(size, MAX_HEADER)])
        image, sizes = bytes.fromhex(header["image"]), header["sizes"]
        device, accepted = str(header["device"]), bool(header["accepted"])
        fields = [bytes.fromhex(header[name]) for name in ("digest", "key", "plan_hash")]
        reveal = Reveal[header["reveal"]]
        if any(type(n) is not int or n < 0 for n in sizes) or 4 + size + sum(sizes) != len(data) or not sizes:
            raise ValueError
        if [len(image), *map(len, fields)] != [16, 32, 32, 32]:
            raise ValueError
    except (struct.error, ValueError, KeyError, TypeError, RecursionError, AttributeError):
        raise ClientError("a kept picture's file is damaged: remove it") from None
    messages, at = [], 4 + size
    for number, length in enumerate(sizes):
        last = number == len(sizes) - 1
        topic = topics.manifest(device, image) if last else topics.block(device, image, number)
        messages.append((topic, data[at : at + length]))
        at += length
    digest, key, plan_hash = fields
    return Parcel(device, image, tuple(messages), digest, key, plan_hash, reveal), accepted
