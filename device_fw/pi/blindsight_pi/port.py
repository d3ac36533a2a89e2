"""CPython as a port of the firmware: what MicroPython's modules have and CPython's lack.

`install()` runs once, before any bsdev module but this package's; the process is the firmware's alone. It adds the tick
functions to `time`, two figures to `gc`, the modules `cryptolib` and `bsdev.kernels` (on the C core), and gives the
MQTT link sockets that answer to MicroPython's names, the store a rename that reaches the disk. The firmware's files stay
as they are.
"""

from __future__ import annotations

import gc
import json
import os
import select
import socket
import ssl
import sys
import time
import types
from array import array
from pathlib import Path
from typing import Any

import bsrlwe

_PERIOD = 1 << 30  # MicroPython's ticks wrap; so do these, lest a bug hide here


def _ticks_ms() -> int:
    return time.monotonic_ns() // 1_000_000 % _PERIOD


def _ticks_add(ticks: int, delta: int) -> int:
    return (ticks + delta) % _PERIOD


def _ticks_diff(end: int, start: int) -> int:
    return (end - start + _PERIOD // 2) % _PERIOD - _PERIOD // 2


def _resident() -> int:
    """Bytes of this process in RAM."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


class _Aes:
    """cryptolib.aes in ECB mode."""

    def __init__(self, key: bytes, mode: int) -> None:
        if mode != 1:
            raise ValueError("only ECB")
        self._key = bytes(key)

    def encrypt(self, data: bytes, out: bytearray) -> None:
        view = memoryview(data)
        for i in range(0, len(view), 16):
            out[i : i + 16] = bsrlwe.aes_block(self._key, bytes(view[i : i + 16]))


def _rounds(x: array[int]) -> None:
    """The bare permutation: a key-stream block less the state it started from."""
    block, start = array("I", bytes(64)), array("I", x)
    bsrlwe.chacha(block, array("I", x), 1)
    for i in range(16):
        x[i] = (block[i] - start[i]) & 0xFFFFFFFF


def _xor(a: Any, b: Any, n: int) -> None:
    a[:n] = bytes(x ^ y for x, y in zip(memoryview(a)[:n], memoryview(b)[:n], strict=True))


class Socket:
    """A socket with MicroPython's stream methods: None where it would block."""

    def __init__(self, inner: socket.socket | None = None) -> None:
        self.inner = inner or socket.socket()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def write(self, data: Any) -> int | None:
        try:
            return self.inner.send(data)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None

    def readinto(self, view: Any) -> int | None:
        try:
            return self.inner.recv_into(view)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None


class Poll:
    """select.poll that also sees bytes already decrypted."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._sock: Any = None

    def register(self, sock: Socket, event: int) -> None:
        self._sock = sock
        self._poll.register(sock.inner, event)

    def modify(self, sock: Socket, event: int) -> None:
        self._poll.modify(sock.inner, event)

    def poll(self, ms: int) -> list[Any]:
        inner = self._sock.inner
        if isinstance(inner, ssl.SSLSocket) and inner.pending():
            return [(inner, select.POLLIN)]
        return self._poll.poll(ms)


def _sync(path: str) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _rename(source: str, target: str) -> None:
    """os.rename that survives a power cut: Linux keeps contents and name in memory until told otherwise."""
    _sync(source)
    os.rename(source, target)
    _sync(os.path.dirname(target))


def _write_atomic(path: str, data: Any) -> None:
    with open(path + ".new", "wb") as f:
        f.write(data.encode() if isinstance(data, str) else data)
    _rename(path + ".new", path)


def _load_config(path: str) -> Any:
    with open(path) as f:
        return json.load(f)


def _module(name: str, **members: Any) -> None:
    module = types.ModuleType(name)
    module.__dict__.update(members)
    sys.modules[name] = module


def install() -> None:
    """Make this interpreter a port (see above)."""
    ticks = {"ticks_ms": _ticks_ms, "ticks_add": _ticks_add, "ticks_diff": _ticks_diff}
    for name, value in ticks.items():
        setattr(time, name, value)
    setattr(time, "sleep_ms", lambda ms: time.sleep(ms / 1000))  # noqa: B010 - mypy knows no such name
    setattr(gc, "mem_alloc", _resident)  # noqa: B010
    setattr(gc, "mem_free", lambda: 0)  # noqa: B010
    _module("cryptolib", aes=_Aes)
    import bsdev

    _module("bsdev.kernels", chacha=bsrlwe.chacha, rounds=_rounds, xor=_xor)
    bsdev.kernels = sys.modules["bsdev.kernels"]
    from bsdev import camera, hold, labels, mqtt, store

    from blindsight_pi import cameras

    labels.load = _load_config
    store.write_atomic = _write_atomic
    store.os = types.SimpleNamespace(
        stat=os.stat, remove=os.remove, mkdir=os.mkdir, rmdir=os.rmdir, listdir=os.listdir, rename=_rename,
        statvfs=os.statvfs,
    )  # fmt: skip
    hold.os = store.os
    mqtt.socket = types.SimpleNamespace(
        socket=Socket, getaddrinfo=socket.getaddrinfo, SOCK_STREAM=socket.SOCK_STREAM
    )
    mqtt.select = types.SimpleNamespace(poll=Poll, POLLIN=select.POLLIN, POLLOUT=select.POLLOUT)
    mqtt.Link._tls = _tls
    camera.make = cameras.maker(camera.make)


def _tls(link: Any, sock: Socket, name: str) -> Socket:
    context = ssl.create_default_context(cafile=link.cfg.path(link.broker["ca"]))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if link.broker.get("certificate"):
        context.load_cert_chain(link.cfg.path(link.broker["certificate"]), link.cfg.path(link.broker["key"]))
    return Socket(context.wrap_socket(sock.inner, server_hostname=name))
