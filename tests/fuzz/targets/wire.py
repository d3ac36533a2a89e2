"""Messages: blocks, manifests, results, requests, topics, and the frames of the server link."""

from __future__ import annotations

import json
import struct

import numpy as np

from blindsight.channel import ChannelError
from blindsight.channel.base import PeerClosed
from blindsight.channel.framing import HEADER, FramedChannel
from blindsight.wire import WireError, jobs, manifest, result, topics
from blindsight.wire.blocks import Layout, Mode, PixelFormat, commitment

from .register import DEVICE, IMAGE, NESTED, Finding, one_line, target


def _layouts() -> list[bytes]:
    out = []
    for mode in Mode:
        layout = Layout(mode, 256, 2)
        masked = 0 if mode is Mode.AES else sum(layout.masked_bytes(p) for p in range(layout.polys))
        head = bytes([mode, 2]) + struct.pack("<I", 256)
        out += [head + bytes(layout.block_bytes(0)), head + bytes(masked)]
    return out


@target(_layouts, WireError)
def blocks(data: bytes) -> None:
    """Blocks and masked polynomials, of a layout that is the input's choice too."""
    if len(data) < 6:
        return
    layout = Layout(Mode(data[0] % 3), int.from_bytes(data[2:6], "little"), data[1])
    body = data[6:]
    if layout.blocks < 1 << 12:
        for cut in (lambda: layout.split(0, body), lambda: layout.split_masked(body)):
            try:
                layout.c1_hash(cut())
            except WireError as error:
                one_line(error)


def _manifests() -> list[bytes]:
    out = []
    for mode in Mode:
        n = Layout(mode, 3072, 2).blocks
        m = manifest.Manifest(
            DEVICE, IMAGE, mode, PixelFormat.RGB888, "toy", bytes(32), bytes(8), 32, 32, 3, 2,
            bytes(12), (bytes(32),) * n, () if mode is Mode.AES else (bytes(32),) * n,
        )  # fmt: skip
        out.append(m.encode(bytes(32)) + bytes(32))
    return out


@target(_manifests, WireError)
def manifests(data: bytes) -> None:
    """Manifest || salt; what parses is encoded to the same bytes."""
    body, salt = manifest.split_salt(data)
    manifest.verify(body, bytes(32))
    parsed = manifest.parse(body)
    if parsed.body() != body[:-32]:
        raise Finding("a manifest that parses is not the one that was sent")
    commitment(salt, 0, body)


def result_messages() -> list[bytes]:
    share = np.arange(10, dtype=np.uint32)
    context = result.Context(DEVICE, IMAGE, bytes(32), bytes(32), result.Reveal.LOGITS, 1)
    full = result.Result(1, result.Reveal.LOGITS, share, result.seal(bytes(32), context, share))
    failure = result.Failure(result.FailureCode.QUOTA, "too many")
    return [full.encode(), result.Receipt(bytes(32)).encode(), failure.encode()]


@target(result_messages, WireError)
def results(data: bytes) -> None:
    """Receipt, result, failure; a result that parses is opened under a key."""
    got = result.parse(data)
    if got.encode() != data and not isinstance(got, result.Failure):
        raise Finding("a message that parses is not the one that was sent")
    if isinstance(got, result.Result):
        context = result.Context(DEVICE, IMAGE, bytes(32), bytes(32), got.reveal, got.attempt)
        result.combine(got.share, result.open_sealed(bytes(32), context, got.sealed))


def _requests() -> list[bytes]:
    batch = (("ab" * 16, 0, 4),)
    messages = [
        jobs.Infer("cam-1", IMAGE, 1, "toy", bytes(32), bytes(32), 5, 300, 4000).to_json(),
        jobs.Seal("cam-1", IMAGE, 1).to_json(),
        jobs.MakeMaterial("toy", bytes(32), bytes(32), "mask", bytes(16), 0, 4).to_json(),
        jobs.Pool("toy", bytes(32), bytes(32), "xor", 3, batch).to_json(),
        jobs.PING, {"op": "refuse", "code": 17, "reason": "x"}, {"op": "sealed", "bytes": 44},
        jobs.hello({"toy": [bytes(32)]}, "w0"),
    ]  # fmt: skip
    return [json.dumps(m).encode() for m in messages] + NESTED[:2]


@target(_requests, WireError, jobs.Refused)
def requests(data: bytes) -> None:
    """CONTROL messages of the server link, read as both servers read them."""
    try:
        message = json.loads(data)
    except (ValueError, RecursionError):
        return
    if not isinstance(message, dict):
        return
    for read in (
        jobs.parse_request, jobs.models_of, jobs.pair_of, jobs.sealed_length, lambda m: jobs.expect(m, "accept"),
    ):  # fmt: skip
        try:
            got = read(message)
        except (WireError, jobs.Refused) as error:
            one_line(error)
            continue
        if read is jobs.parse_request and got is not None:
            again = jobs.parse_request(got.to_json())
            if again != got:
                raise Finding("a request that parses is another one when sent on")


def _topics() -> list[bytes]:
    texts = [topics.block(DEVICE, IMAGE, 3), topics.manifest(DEVICE, IMAGE), topics.status(DEVICE)]
    return [text.encode() for text in texts]


@target(_topics, WireError)
def mqtt_topics(data: bytes) -> None:
    """MQTT topics; what parses is built to the same text."""
    text = data.decode("utf-8", "surrogateescape")
    got = topics.parse(text)
    built = {
        topics.Block: lambda: topics.block(got.device, got.image, got.block),  # type: ignore[union-attr]
        topics.ManifestTopic: lambda: topics.manifest(got.device, got.image),  # type: ignore[union-attr]
        topics.Status: lambda: topics.status(got.device),
    }[type(got)]()
    if built != text:
        raise Finding(f"{text!r} parses as {built!r}")


class _Wire:
    """A transport that delivers the input and then is closed; frames beyond it may not cost their announced size."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)

    def send(self, parts: list[memoryview]) -> None:
        pass

    def recv_into(self, view: memoryview) -> None:
        if len(self._data) < view.nbytes:
            raise PeerClosed("the peer closed the connection")
        view[:] = self._data[: view.nbytes]
        self._data = self._data[view.nbytes :]

    def close(self) -> None:
        pass


def _frames() -> list[bytes]:
    hello = json.dumps({"versions": [1], "party": 1, "session": "11" * 16, "pair": "w0"}).encode()
    bodies = [(1, hello), (4, b'{"op":"ping"}'), (3, bytes(16)), (5, b"")]
    nested = [HEADER.pack(len(b), 1) + b for b in NESTED[:2]]
    return [b"".join(HEADER.pack(len(b), k) + b for k, b in bodies), HEADER.pack(5, 2) + b"sorry", *nested]


@target(_frames, ChannelError)
def framing(data: bytes) -> None:
    """HELLO, then frames in the order of a job."""
    channel = FramedChannel(_Wire(data), 0)
    channel.handshake({"pair": "w0"})
    channel.recv_control()
    channel.recv(16)
    channel.recv(16)
