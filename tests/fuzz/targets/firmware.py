"""The boards' firmware under CPython: what its broker sends it."""

from __future__ import annotations

import importlib
import struct
import sys
import time
import types
from typing import Any

from .register import DEVICE, IMAGE, ROOT, Finding, target
from .wire import result_messages

sys.path.insert(0, str(ROOT / "device_fw" / "app"))


def board(name: str) -> Any:
    """The firmware's module bsdev.NAME, what only MicroPython has stood in for."""
    if "bsdev.kernels" not in sys.modules:
        kernels = types.ModuleType("bsdev.kernels")

        def chacha(out: Any, state: Any, blocks: int) -> None:
            from blindsight import _device as core

            out[: 64 * blocks] = core.stream(bytes(31) + b"\x01", 1, 0, 64 * blocks)

        vars(kernels).update(chacha=chacha, rounds=lambda x: None, xor=lambda a, b, n: None)
        sys.modules["bsdev.kernels"] = kernels
        import bsdev

        bsdev.kernels = kernels
        ticks = {"ticks_ms": lambda: 0, "ticks_add": lambda a, b: a + b, "ticks_diff": lambda a, b: a - b}
        vars(time).update(ticks)
    return importlib.import_module(f"bsdev.{name}")


class _Broker:
    """A socket that delivers the input and then is closed."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)

    def readinto(self, view: memoryview) -> int:
        n = min(len(view), len(self._data))
        view[:n] = self._data[:n]
        self._data = self._data[n:]
        return n

    @staticmethod
    def write(data: bytes) -> int:
        return len(data)


def _unsealed(key: bytes, sealed: bytes, aad: bytes) -> bytes | None:
    """In place of the seal, which no fuzzer opens: its contents, nonce and tag cut off."""
    return bytes(sealed[24:-16]) if len(sealed) >= 40 else None


class _Kept:
    """What the inbox asks of the store, in memory."""

    def __init__(self, picture: Any) -> None:
        self.pictures = {picture.id: picture}

    def accept(self, picture: Any) -> None:
        picture.accepted = True

    def drop(self, picture: Any) -> None:
        self.pictures.pop(picture.id, None)

    def renew(self, picture: Any, image: str, seed: bytes) -> Any:
        self.drop(picture)
        picture.id, picture.tries = image, picture.tries + 1
        self.pictures[image] = picture
        return picture

    def set_interval(self, seconds: int) -> None:
        if not 0 <= seconds <= 432000:
            raise Finding(f"an interval of {seconds} s")


def _packets() -> list[bytes]:
    head = f"bs1/0/{DEVICE}/".encode()
    down, cmd = head + b"down/" + IMAGE.hex().encode(), head + b"cmd/interval"

    def publish(topic: bytes, body: bytes, qos: int = 1) -> bytes:
        told = struct.pack("!H", len(topic)) + topic + (b"\0\7" if qos else b"") + body
        size = bytes([len(told) & 127 | 128, len(told) >> 7]) if len(told) > 127 else bytes([len(told)])
        return bytes([0x30 | qos << 1]) + size + told

    answers = [publish(down, message) for message in result_messages()]
    return [
        *answers, b"".join(answers), publish(cmd, b"60", 0), publish(head + b"cmd/capture", b""),
        b"\x40\x02\0\1" + b"\x90\x03\0\2\1" + b"\xd0\0", publish(b"elsewhere", bytes(100)),
    ]  # fmt: skip


@target(_packets, OSError)
def broker_packets(data: bytes) -> None:
    """The broker's bytes as the board's MQTT link reads them, and the messages in them as the board acts on them."""
    mqtt, inbox, clock, answer = map(board, ("mqtt", "inbox", "clock", "answer"))
    answer.open_sealed = _unsealed
    clock.event = inbox.event = lambda *_, **__: None
    picture = types.SimpleNamespace(
        id=IMAGE.hex(),
        frame=0,
        hash=bytes(32),
        key=bytes(32),
        seed=bytes(32),
        accepted=False,
        tries=0,
        sends=0,
        due=0,
    )
    settings = types.SimpleNamespace(
        device=DEVICE, plan_hash=bytes(32), reveal="logits", labels=["a", "b"], output_scale_bits=4,
        retry_s=2, retry_max_s=600, timeout_s=5, keepalive_s=60, broker={},
    )  # fmt: skip
    box = inbox.Inbox(settings, f"bs1/0/{DEVICE}", _Kept(picture), lambda: ("ab" * 16, bytes(32)), None)
    link = mqtt.Link(settings, f"bs1/0/{DEVICE}", box.handle, lambda: None, 1024)
    link._sock = _Broker(data)
    while True:
        link._packet(link._deadline())
