"""Frames over any byte transport, and the HELLO that opens a connection (docs/wire.md section 6)."""

import contextlib
import hashlib
import json
import os
import struct
from typing import Any, NoReturn, Protocol

import numpy as np

from blindsight.channel.base import Buffer, ChannelError, PeerClosed, ProtocolError, Stats, VersionError

VERSIONS = (1,)

HELLO, ERROR, DATA, CONTROL, BYE = 1, 2, 3, 4, 5
NAMES = {HELLO: "HELLO", ERROR: "ERROR", DATA: "DATA", CONTROL: "CONTROL", BYE: "BYE"}
LIMITS = {HELLO: 1 << 16, ERROR: 1 << 10, DATA: 1 << 30, CONTROL: 1 << 20, BYE: 0}
HEADER = struct.Struct("<IB")


class Transport(Protocol):
    """A reliable byte stream with time limits. `send` must make progress while the peer is sending too."""

    def send(self, parts: list[memoryview]) -> None: ...
    def recv_into(self, view: memoryview) -> None: ...
    def close(self) -> None: ...


def aligned(nbytes: int) -> np.ndarray:
    """A fresh `uint8` array whose data starts at a multiple of 64, for the vector kernels."""
    raw = np.empty(nbytes + 64, dtype=np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + nbytes]


def _view(part: Buffer) -> memoryview:
    if isinstance(part, np.ndarray):
        return np.ascontiguousarray(part).reshape(-1).view(np.uint8).data
    return memoryview(part).cast("B")


class FramedChannel:
    """The `Channel` over a `Transport`. Made by `memory_pair`, `tcp_*` and `tls_*` after `handshake`."""

    def __init__(self, transport: Transport, party: int) -> None:
        self.party = party
        self.session = b""
        self.peer: dict[str, Any] = {}
        self.stats = Stats()
        self._transport = transport
        self._open = True
        self._sent_since_wait = False

    # --- frames

    def _send_frame(self, kind: int, parts: list[memoryview]) -> None:
        if not self._open:
            raise PeerClosed("the channel is closed")
        size = sum(p.nbytes for p in parts)
        if size > LIMITS[kind]:
            raise ProtocolError(
                f"a {NAMES[kind]} frame may hold {LIMITS[kind]} bytes, not {size}: send it in pieces"
            )
        try:
            self._transport.send([memoryview(HEADER.pack(size, kind)), *parts])
        except ChannelError:
            self._shut()
            raise
        self.stats.sent += size + HEADER.size
        self.stats.messages += 1
        self._sent_since_wait = True

    def _recv_frame(self, wanted: int, exact: int | None = None) -> np.ndarray:
        if not self._open:
            raise PeerClosed("the channel is closed")
        if self._sent_since_wait:
            self.stats.rounds += 1
            self._sent_since_wait = False
        try:
            head = bytearray(HEADER.size)
            self._transport.recv_into(memoryview(head))
            size, kind = HEADER.unpack(head)
            self._check(wanted, exact, size, kind)
            body = aligned(size)
            if size:
                self._transport.recv_into(body.data)
        except ChannelError:
            self._shut()
            raise
        self.stats.received += size + HEADER.size
        if kind == ERROR:
            self._shut()
            text = bytes(body).decode("utf-8", "replace").splitlines() or ["(no reason given)"]
            raise ProtocolError(f"the peer reports: {text[0]}")
        if kind == BYE:
            self._shut()
            raise PeerClosed("the peer said goodbye while a message was awaited")
        return body

    def _check(self, wanted: int, exact: int | None, size: int, kind: int) -> None:
        if kind not in NAMES:
            self.fail(f"frame of unknown type {kind}")
        if size > LIMITS[kind]:
            self.fail(f"{NAMES[kind]} frame of {size} bytes: at most {LIMITS[kind]} are allowed")
        if kind in (ERROR, BYE):
            return
        if kind != wanted:
            self.fail(f"{NAMES[kind]} frame where {NAMES[wanted]} was expected")
        if exact is not None and size != exact:
            self.fail(f"{NAMES[kind]} frame of {size} bytes where {exact} were expected")

    def fail(self, reason: str) -> NoReturn:
        """Tell the peer why in one line, close, and raise `ProtocolError`. The reason must hold nothing secret."""
        with contextlib.suppress(ChannelError):
            self._send_frame(ERROR, [memoryview(reason.encode()[:1024])])
        self._shut()
        raise ProtocolError(reason)

    def _shut(self) -> None:
        if self._open:
            self._open = False
            self._transport.close()

    # --- the interface

    def send(self, *parts: Buffer) -> None:
        self._send_frame(DATA, [_view(p) for p in parts])

    def recv(self, nbytes: int) -> np.ndarray:
        return self._recv_frame(DATA, nbytes)

    def exchange(self, out: Buffer, nbytes: int) -> np.ndarray:
        self.send(out)
        return self.recv(nbytes)

    def send_control(self, message: dict[str, Any]) -> None:
        self._send_frame(CONTROL, [memoryview(json.dumps(message, separators=(",", ":")).encode())])

    def recv_control(self) -> dict[str, Any]:
        return self._json(self._recv_frame(CONTROL))

    def close(self) -> None:
        if self._open:
            with contextlib.suppress(ChannelError):
                self._send_frame(BYE, [])
            self._shut()

    # --- the opening

    def _json(self, body: np.ndarray) -> dict[str, Any]:
        try:
            message = json.loads(bytes(body))
        except (ValueError, RecursionError):
            self.fail("a control message is not JSON")
        if not isinstance(message, dict):
            self.fail("a control message is not a JSON object")
        return message

    def handshake(self, hello: dict[str, Any]) -> None:
        """Exchange HELLOs; sets `session` and `peer`.

        Raises:
            VersionError: no common version; names both lists.
            ProtocolError: the peer is not the other party, or its HELLO is malformed.
        """
        nonce = os.urandom(16)
        mine = {**hello, "versions": list(VERSIONS), "party": self.party, "session": nonce.hex()}
        self._send_frame(HELLO, [memoryview(json.dumps(mine).encode())])
        peer = self._json(self._recv_frame(HELLO))
        versions = peer.pop("versions", None)
        if not isinstance(versions, list) or not all(type(v) is int for v in versions):
            self.fail("HELLO names no protocol versions")
        if not set(versions) & set(VERSIONS):
            text = f"no protocol version in common: this end speaks {list(VERSIONS)}, the peer {versions[:8]}"
            with contextlib.suppress(ProtocolError):
                self.fail(text)
            raise VersionError(text + "; install the same release on both servers")
        if peer.pop("party", None) != 1 - self.party:
            self.fail(f"the peer of party {self.party} must be party {1 - self.party}")
        try:
            other = bytes.fromhex(peer.pop("session"))
        except (KeyError, TypeError, ValueError):
            other = b""
        if len(other) != 16 or other == nonce:
            self.fail("HELLO carries no fresh session number")
        both = nonce + other if self.party == 0 else other + nonce
        self.session = hashlib.sha256(b"blindsight/1 session" + both).digest()[:16]
        self.peer = peer
