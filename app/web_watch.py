"""A server of the live page: the real service, and a file of what it saw of each run.

`python -m blindsight.app.web_watch cloud|helper --config F.toml --record F.jsonl` is `blindsight cloud|helper` whose engine
also writes down, for the page of the person who owns both: the operations as they end (time, bytes, rounds) and,
once the run is over, this party's own view (its ingest shares, its shares of every tensor, the bytes the peer sent).
Adversary: none; whoever holds both records has the picture. It exists for one machine with one owner, where the
demonstration already holds every key, and no deployment starts it.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, cast

import numpy as np

from blindsight.channel import Channel, Recorder
from blindsight.nn.ops import Op
from blindsight.service import main
from blindsight.service.engine import Engine, Program
from blindsight.wire.blocks import Mode

PARTIES = ("cloud", "helper")
SIDE, CHANNELS = 32, 8  # what is kept of a tensor's share: so many pixels a side, so many channels
HEAD = 24  # bytes kept of what the peer sent in an operation


class Heard(Recorder):
    """A channel that keeps the first bytes received since `clear`."""

    head = b""

    def clear(self) -> None:
        """Begin a new operation."""
        self.head = b""

    def recv(self, nbytes: int) -> np.ndarray:
        got = super().recv(nbytes)
        if len(self.head) < HEAD:
            self.head += got[: HEAD - len(self.head)].tobytes()
        return got


def thumbnail(op: Op, share: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """At most CHANNELS x SIDE x SIDE elements of a share and their shape; the same choice at both parties."""
    # a vector is a row; an output holds what is revealed, not its shape
    picture = len(op.shape) == 3 and share.size == op.size > op.shape[0]
    full = share.reshape(op.shape if picture else (1, 1, -1))
    down, across = (-(-n // (SIDE if picture else SIDE * SIDE)) for n in full.shape[1:])
    small = np.ascontiguousarray(full[:CHANNELS, ::down, ::across], np.uint32)
    return small, list(small.shape)


def text(data: bytes) -> str:
    """Base 64."""
    return base64.b64encode(data).decode("ascii")


class WatchedEngine(Engine):
    """The engine, with a record of each run in `out`."""

    def __init__(self, channel: Channel, folder: Path, link: str, out: TextIO) -> None:
        self._heard, self._out = Heard(channel), out
        self._views: list[dict[str, Any]] = []
        super().__init__(cast(Channel, self._heard), folder, link, trace=self._around, watch=self._after)

    def _say(self, **event: Any) -> None:
        self._out.write(json.dumps({"t": time.time(), **event}) + "\n")
        self._out.flush()

    @contextmanager
    def _around(self, op: Op) -> Iterator[None]:
        self._heard.clear()
        before, begun = self._heard.stats.copy(), time.time()
        yield
        new, ended = self._heard.stats.minus(before), time.time()
        self._say(
            event="layer", layer=op.out, kind=op.kind, shape=list(op.shape), scale=op.scale, begun=begun, ended=ended,
            sent=new.sent, received=new.received, rounds=new.rounds,
        )  # fmt: skip

    def _after(self, op: Op, share: np.ndarray) -> None:
        if op.kind == "input":  # pixels are shared in capture order
            channels, height, width = op.shape
            share = share.reshape(height, width, channels).transpose(2, 0, 1)
        small, shape = thumbnail(op, share)
        if op.kind == "input":  # once, before the first layer
            self._say(event="pixels", share=text((small >> 24).astype(np.uint8).tobytes()), shape=shape)
        self._views.append(
            {
                "layer": op.out,
                "share": text(small.astype("<u4").tobytes()),
                "shape": shape,
                "head": self._heard.head.hex(),
            }
        )

    def run(self, program: Program, mode: Mode, slot: int, pixels: np.ndarray) -> np.ndarray:
        """As the engine's; shares are written when the result is there, so that writing them delays no layer."""
        self._views = []
        ingest = np.ascontiguousarray(pixels)
        self._say(
            event="run", model=program.name, slot=slot, mode=mode.label, ingest=text(ingest.tobytes()),
            ingest_bits=8 * ingest.itemsize,
        )  # fmt: skip
        share = super().run(program, mode, slot, pixels)
        self._say(event="view", layers=self._views, result=share.tolist())
        self._views = []
        return share


def serve(party: str, config: Path, out: TextIO) -> int:
    """Runs the service until SIGTERM or SIGINT; returns the exit code."""
    if party == "cloud":
        from blindsight.cloud.config import CloudConfig
        from blindsight.cloud.models import ModelError
        from blindsight.cloud.service import CloudService

        def cloud(settings: CloudConfig) -> CloudService:
            material, link = Path(settings.data) / "material", settings.helper.network
            return CloudService(
                settings, lambda channel, pair: WatchedEngine(channel, material / pair, link, out)
            )

        return main.run("cloud", CloudConfig, cloud, config, (), ModelError)
    from blindsight.helper.config import HelperConfig
    from blindsight.helper.keys import KeyFault
    from blindsight.helper.service import HelperService

    def helper(settings: HelperConfig) -> HelperService:
        material, link = Path(settings.data) / "material", settings.listen.network
        return HelperService(
            settings, lambda channel, pair: WatchedEngine(channel, material / pair, link, out)
        )

    return main.run("helper", HelperConfig, helper, config, (), KeyFault)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="web_watch")
    parser.add_argument("party", choices=PARTIES)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--record", type=Path, required=True)
    asked = parser.parse_args()
    with open(asked.record, "a", encoding="ascii") as record:
        sys.exit(serve(asked.party, asked.config, record))
