"""Send pictures from any computer and await their answers.

    async with Client("devices/laptop") as client:
        answer = await client.classify(picture)

The duties are a device's (docs/wire.md, DESIGN section 2): an image id is used once, a picture is sent again with the
same bytes until the receipt names it, an answer counts once however often it comes. Adversary: the network and the
broker, who can delay and drop but neither read a picture nor forge an answer (the helper's share is sealed).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from blindsight.client import answer as answers
from blindsight.client.answer import Answer
from blindsight.client.encrypt import Parcel, encrypt
from blindsight.client.errors import ClientError, NoAnswer, Refused
from blindsight.client.identity import Broker, load
from blindsight.client.link import Link, Will
from blindsight.client.state import State
from blindsight.wire import WireError, result, topics

RETRIABLE = (1, 2, 4, 5)  # failure codes worth a new id; 3 (model, plan) and 6 (key) need a person
Picture = np.ndarray | bytes


@dataclass
class _Waiting:
    """A picture on its way; `due`: when it is sent or asked for again."""

    parcel: Parcel
    future: asyncio.Future[result.Result]
    accepted: bool = False
    due: float = 0.0
    sends: int = 0
    bytes_up: int = 0
    last: Any = None  # paho's word on the message sent last
    started: float = field(default_factory=time.monotonic)


class Client:
    """One sender. `folder`: its device directory; `broker`: where it is not the directory's.

    A message of a picture is sent again `retry_s` after the last (doubling up to `retry_max_s`, jittered); a picture
    that failed for a passing reason is sent anew, up to `tries` times. At most `at_once` pictures are on their way;
    further calls wait for their turn. `on_event(kind, image)` hears `sent`, `receipt`, `answer`, `renewed`.
    """

    def __init__(
        self, folder: Path | str, broker: Broker | None = None, *, retry_s: float = 5.0, retry_max_s: float = 60.0,
        tries: int = 3, at_once: int = 16, connect_s: float = 15.0, on_event: Callable[[str, str], None] | None = None,
    ) -> None:  # fmt: skip
        self.folder = Path(folder)
        self.identity, own = load(self.folder)
        self.broker = broker or own
        self._retry_s, self._retry_max_s, self._tries = retry_s, retry_max_s, tries
        self._connect_s = connect_s
        self._turn = asyncio.Semaphore(at_once)
        self._open: dict[bytes, _Waiting] = {}
        self._wake = asyncio.Event()
        self._event = on_event or (lambda _kind, _image: None)
        self._state: State | None = None

    async def __aenter__(self) -> Self:
        self._state = State(self.folder)
        try:
            self.link = Link(
                self.broker, self.identity.device, self._message, self._connected,
                Will(topics.status(self.identity.device), b'{"state": "offline"}'),
            )  # fmt: skip
            await self.link.open(self._connect_s)
        except BaseException:
            self._state.close()
            raise
        self._pump = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pump.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._pump
        for waiting in self._open.values():
            if not waiting.future.done():
                waiting.future.set_exception(ClientError("the client was closed before the answer came"))
                waiting.future.exception()  # somebody may have stopped waiting: not an error of its own
        if self.link.up.is_set():
            info = self._status("offline")
            with contextlib.suppress(ValueError, RuntimeError):
                await asyncio.to_thread(info.wait_for_publish, 2)
        await self.link.close()
        assert self._state
        self._state.close()

    @property
    def waiting(self) -> int:
        """Pictures on their way now."""
        return len(self._open)

    @property
    def pending(self) -> list[str]:
        """Image ids of earlier runs (or of calls that timed out) that still wait for their answer."""
        assert self._state
        return [image.hex() for image in self._state.images() if image not in self._open]

    async def classify(self, picture: Picture, timeout: float | None = None) -> Answer:
        """Encrypts, sends, awaits. `picture`: uint8 (H, W, C), or (H, W) for one channel, of the model's own shape, or
        its bytes.

        Raises `Refused`, `NoAnswer` after `timeout` seconds, `ClientError` on a picture of another shape. Cancelling
        gives the picture up.
        """
        pixels = self._pixels(picture)
        started = time.monotonic()
        sent: list[bytes] = []
        try:
            async with asyncio.timeout(timeout), self._turn:
                return await self._classify(pixels, started, sent)
        except TimeoutError:
            asked = f"; ask for {sent[-1].hex()} again with resume()" if sent else ""
            raise NoAnswer(f"no answer within {timeout:g} s{asked}") from None
        except asyncio.CancelledError:
            if self._state and sent:
                self._state.forget(sent[-1])
            raise

    async def resume(self, image: str, timeout: float | None = None) -> Answer:
        """The answer of a picture in `pending`; its messages are sent again as they were."""
        assert self._state
        parcel, accepted = self._state.load(bytes.fromhex(image))
        if parcel.image in self._open:
            raise ClientError(f"picture {image} is being awaited already")
        started = time.monotonic()
        try:
            async with asyncio.timeout(timeout), self._turn:
                return await self._await(parcel, accepted, started)
        except TimeoutError:
            raise NoAnswer(f"no answer within {timeout:g} s") from None

    def _pixels(self, picture: Picture) -> bytes:
        height, width, channels = shape = self.identity.shape
        if isinstance(picture, np.ndarray):
            fits = picture.shape == shape or (channels == 1 and picture.shape == (height, width))
            if picture.dtype != np.uint8 or not fits:
                raise ClientError(
                    f"a picture of {picture.dtype} {picture.shape}; {self.identity.model} takes uint8 {shape}"
                )
            return picture.tobytes()
        if len(picture) != self.identity.pixels:
            raise ClientError(
                f"a picture of {len(picture)} bytes; {self.identity.model} takes {self.identity.pixels}"
            )
        return bytes(picture)

    async def _classify(self, pixels: bytes, started: float, sent: list[bytes]) -> Answer:
        assert self._state
        for left in range(self._tries - 1, -1, -1):
            parcel = await asyncio.to_thread(encrypt, self.identity, self._state.boot, pixels)
            self._state.save(parcel)
            sent.append(parcel.image)
            try:
                return await self._await(parcel, False, started)
            except Refused as refusal:
                if refusal.code not in RETRIABLE or not left:
                    raise
                self._event("renewed", parcel.image.hex())
                await asyncio.sleep(self._patience(self._tries - left))
        raise AssertionError  # the loop returns or raises

    async def _await(self, parcel: Parcel, accepted: bool, started: float) -> Answer:
        assert self._state
        future: asyncio.Future[result.Result] = asyncio.get_running_loop().create_future()
        waiting = self._open[parcel.image] = _Waiting(parcel, future, accepted)
        self._wake.set()
        try:
            got = await future
            words = parcel.values(got)
            took = time.monotonic() - started
            out = answers.read(self.identity, parcel.image, words, got.attempt, took, waiting.bytes_up)
        except Refused:
            self._state.forget(parcel.image)
            raise
        except WireError as error:
            self._state.forget(parcel.image)
            raise ClientError(str(error)) from None
        finally:
            del self._open[parcel.image]
        self._state.forget(parcel.image)
        return out

    # --- the connection

    def _connected(self, kept: bool) -> None:
        self.link.subscribe(f"{topics.base(self.identity.device)}/down/+")
        self._status("online")
        if not kept:  # what waited in the broker is lost
            for waiting in self._open.values():
                waiting.due, waiting.last = 0.0, None
        self._wake.set()

    def _status(self, state: str) -> Any:
        body = {"state": state, "pending": len(self._open), "version": 1}
        return self.link.publish(topics.status(self.identity.device), json.dumps(body).encode(), retain=True)

    def _message(self, topic: str, payload: bytes, _retained: bool) -> None:
        waiting = next(
            (w for w in self._open.values() if topic == topics.down(w.parcel.device, w.parcel.image)), None
        )
        if waiting is None or waiting.future.done():
            return  # answered before, or given up
        image = waiting.parcel.image
        try:
            got = result.parse(payload)
            if isinstance(got, result.Result):
                waiting.parcel.values(got)  # one that does not open changes nothing
        except WireError:
            return
        if isinstance(got, result.Receipt):
            if got.manifest_hash == waiting.parcel.digest and not waiting.accepted:
                waiting.accepted, waiting.sends = True, 0
                waiting.due = time.monotonic() + self._patience(1)
                assert self._state
                self._state.save(waiting.parcel, accepted=True)
                self._event("receipt", image.hex())
        elif isinstance(got, result.Result):
            self._event("answer", image.hex())
            waiting.future.set_result(got)
        else:
            waiting.future.set_exception(Refused(int(got.code), got.reason))

    async def _run(self) -> None:
        """Sends what is due, until cancelled."""
        while True:
            self._wake.clear()
            now = time.monotonic()
            if self.link.up.is_set():
                for waiting in list(self._open.values()):
                    if waiting.due <= now and (waiting.last is None or waiting.last.is_published()):
                        self._send(waiting)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), 0.2)

    def _send(self, waiting: _Waiting) -> None:
        """All of it, or of an accepted picture the manifest, which asks for the answer."""
        for topic, payload in waiting.parcel.messages[-1 if waiting.accepted else 0 :]:
            waiting.last = self.link.publish(topic, payload)
            waiting.bytes_up += len(payload)
        waiting.sends += 1
        waiting.due = time.monotonic() + self._patience(waiting.sends)
        self._event("sent", waiting.parcel.image.hex())

    def _patience(self, sends: int) -> float:
        """Doubling, between half and the whole of it, so that senders do not come back in step."""
        most = min(self._retry_s * 2.0 ** (min(sends, 16) - 1), self._retry_max_s)
        return most * (0.5 + random.random() / 2)
