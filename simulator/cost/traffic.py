"""Bytes on the air for one picture: payload, MQTT, TLS, TCP/IP, as the firmware sends them (bsdev/picture.py, mqtt.py).

Every piece the firmware writes (a publish's head, each half of a polynomial, 512-byte pieces of the manifest) is a TLS
record and, as Nagle's algorithm is off, at least one TCP segment.
"""

from __future__ import annotations

from dataclasses import dataclass

from blindsight.simulator.cost.band import Band, total
from blindsight.simulator.cost.data import Board
from blindsight.wire.blocks import Layout, Mode

MSS, HEADER = 1460, 40
DEVICE, SALT = 12, 32  # letters of a device id; bytes sent beside the manifest
RECORD = 22  # TLS 1.3: 5 header, 1 type, 16 tag
PREFIX = len("bs1/0/") + DEVICE + len("/up/") + 32 + 1  # a device id of 12 characters
RESULT = 2 + 7 + 4 + 24 + 20  # down/: result with one share of a top1 answer


@dataclass(frozen=True)
class Shape:
    """The picture's message sizes in one mode."""

    blocks: tuple[tuple[int, ...], ...]  # the pieces written of each block
    manifest: int
    polys: int
    pixels: int

    @property
    def payload(self) -> int:
        """Bytes that the MQTT messages carry."""
        return sum(map(sum, self.blocks)) + self.manifest


def shape(
    mode: Mode,
    height: int,
    width: int,
    channels: int,
    per_block: int = 4,
    model: int = 8,
    device: int = DEVICE,
) -> Shape:
    """Sizes by docs/wire.md, sections 3 and 4; `model`, `device`: letters of their names."""
    layout = Layout(mode, height * width * channels, per_block)
    blocks = []
    for j in range(layout.blocks):
        halves = [(layout.head_bytes, layout.poly_bytes(p) - layout.head_bytes) for p in layout.polys_of(j)]
        blocks.append(tuple(n for pair in halves for n in pair if n))
    hashes = 32 * layout.blocks * (1 if mode is Mode.AES else 2)
    head = 4 + 2 + (1 + device) + 16 + (1 + model) + 32 + 8 + 5 + 3 + 12
    return Shape(tuple(blocks), head + hashes + 32 + SALT, layout.polys, layout.pixels)


@dataclass(frozen=True)
class Traffic:
    """Bytes of one picture by layer, both directions; `session` is what a fresh connection adds to them."""

    up: dict[str, Band]
    down: dict[str, Band]
    round_trips: int

    def sum(self, way: str) -> Band:
        """All layers of `up` or `down`."""
        return total(getattr(self, way).values())


def traffic(board: Board, s: Shape, tls: bool, fresh: bool) -> Traffic:
    """One picture: blocks, manifest, receipt, result; `fresh`: with a new connection before and its end after."""
    writes: list[int] = []
    mqtt = 0
    for j, pieces in enumerate(s.blocks):
        head = 1 + 3 + 2 + PREFIX + len(str(j)) + 2
        writes += [head, *pieces]
        mqtt += head
    head = 1 + 2 + 2 + PREFIX + len("manifest") + 2
    writes += [head] + [min(512, s.manifest - i) for i in range(0, s.manifest, 512)]
    mqtt += head
    down_writes = [4] * (len(s.blocks) + 1)  # PUBACKs
    for body in (2 + 32, RESULT):  # receipt and result, each acknowledged
        down_writes.append(1 + 2 + 2 + PREFIX + 2 + body)
        writes.append(4)
        mqtt += 4
    down_mqtt = sum(down_writes) - 34 - RESULT
    trips = len(s.blocks) + 1
    extra_up = extra_down = Band.exact(0)
    if fresh:
        # CONNECT with will and account, SUBSCRIBE, two status messages, DISCONNECT
        session = [2 + 10 + 14 + PREFIX + 40, 2 + 2 + 2 * (PREFIX + 3), 150, 150, 2]
        writes += session
        mqtt += sum(session)
        down_writes += [4, 6, 4, 4]
        down_mqtt += 18
        trips += 1 + 1 + 2 + (2 if tls else 0) + 1
        if tls:
            extra_up, extra_down = board.assume("net.handshake_up"), board.assume("net.handshake_down")
    record = RECORD if tls else 0
    segments = sum(-(-(w + record) // MSS) for w in writes)
    back = sum(-(-(w + record) // MSS) for w in down_writes)
    acks_down, acks_up = -(-segments // 2), -(-back // 2)
    opening = 5 if fresh else 0
    up = {
        "payload": Band.exact(s.payload),
        "mqtt": Band.exact(mqtt),
        "tls": Band.exact(record * len(writes)) + extra_up,
        "tcp": Band(HEADER * (segments + opening), HEADER * (segments + acks_up + opening), HEADER * (segments + back + opening)),
    }  # fmt: skip
    down = {
        "payload": Band.exact(34 + RESULT),
        "mqtt": Band.exact(down_mqtt),
        "tls": Band.exact(record * len(down_writes)) + extra_down,
        "tcp": Band(HEADER * (back + opening), HEADER * (back + acks_down + opening), HEADER * (back + segments + opening)),
    }  # fmt: skip
    return Traffic(up, down, trips)
