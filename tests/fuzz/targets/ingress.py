"""The cloud's ingress, message after message."""

from __future__ import annotations

import logging
import struct
import types
from pathlib import Path
from typing import Any

from blindsight.cloud.assemble import Assembler
from blindsight.cloud.config import Limits
from blindsight.cloud.store import Pictures
from blindsight.service.logs import Log
from blindsight.service.metrics import Metrics
from blindsight.wire import manifest, topics
from blindsight.wire.blocks import Layout, Mode, PixelFormat, commitment

from .register import DEVICE, FOLDER, IMAGE, NESTED, target


class _Cloud:
    """The store in memory's file system, and what applies messages to it; every input's transaction is undone."""

    made: Any = None

    class Undo(Exception):
        pass

    @classmethod
    def get(cls) -> tuple[Pictures, Assembler]:
        if cls.made is None:
            logging.getLogger("blindsight").setLevel(logging.CRITICAL)
            pictures = Pictures(Path(FOLDER.name) / "cloud.db")
            served = types.SimpleNamespace(height=16, width=16, channels=1)
            cls.made = (
                pictures,
                Assembler(pictures, lambda *_: served, Limits(), Metrics("fuzz"), Log("fuzz")),  # type: ignore[arg-type,return-value]
            )
        return cls.made


def _sent(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + struct.pack("<H", len(body)) + body


def _arrivals() -> list[bytes]:
    out = []
    for mode in Mode:
        layout = Layout(mode, 256, 1)
        block = bytes(layout.block_bytes(0))
        c1 = () if mode is Mode.AES else (layout.c1_hash(layout.split(0, block)),)
        m = manifest.Manifest(
            DEVICE, IMAGE, mode, PixelFormat.GRAY8, "toy", bytes(32), bytes(8), 16, 16, 1, 1, bytes(12),
            (commitment(bytes(32), 0, block),), c1,
        )  # fmt: skip
        told = m.encode(bytes(32)) + bytes(32)
        out += [_sent(0, block) + _sent(16, told), _sent(16, told) + _sent(0, block)]
    statuses = [b'{"state": "online", "pending": 2}', *NESTED[:1]]
    out += [_sent(17, status) for status in statuses]
    return [*out, _sent(18, topics.block(DEVICE, IMAGE, 0).encode() + b"\0" + bytes(9))]


@target(_arrivals)
def arrivals(data: bytes) -> None:
    """What the broker brings to the cloud, message after message: blocks (kinds below 16), manifest, status, and any
    topic; whatever they are, they are counted and refused, never raised."""
    pictures, assembler = _Cloud.get()
    try:
        with pictures.database.transaction() as db:
            while len(data) >= 3:
                kind, (size,) = data[0] % 19, struct.unpack_from("<H", data, 1)
                body, data = data[3 : 3 + size], data[3 + size :]
                topic = topics.block(DEVICE, IMAGE, kind) if kind < 16 else topics.manifest(DEVICE, IMAGE)
                if kind == 17:
                    topic = topics.status(DEVICE)
                elif kind == 18:
                    raw, _, body = body.partition(b"\0")
                    topic = raw.decode("utf-8", "replace")
                assembler.apply(db, topic, body)
            assembler.failures.clear()
            raise _Cloud.Undo
    except _Cloud.Undo:
        pass
