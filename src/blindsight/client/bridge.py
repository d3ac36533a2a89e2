"""Between the owner's broker and the cloud's: pictures go one way, encrypted; answers come back to the owner alone.

Takes pictures from `blindsight/<device>/picture` on the owner's broker (PNG, JPEG or the raw bytes of the model's shape),
has the servers classify them, and publishes `blindsight/<device>/result` there. Runs on a machine of the owner's: it
sees pictures and answers. Pictures and answers never go to a broker that might be the cloud's (`separate`): the check
runs before the first connection, after each one, and whenever the cloud's topics are heard on the second broker.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from blindsight.client import home, picture, separate
from blindsight.client.client import Client
from blindsight.client.errors import ClientError
from blindsight.client.identity import Broker
from blindsight.client.link import Link, Peer, Will
from blindsight.wire import topics

MAX_PICTURE = 1 << 24


@dataclass(frozen=True)
class Options:
    """`discovery`: announce the entities to Home Assistant under `prefix`; `quiet_s`: how long the second broker is
    listened to for the cloud's topics before anything is published.
    """

    discovery: bool = True
    prefix: str = "homeassistant"
    timeout_s: float = 120.0
    waiting: int = 16
    quiet_s: float = 1.0


class Bridge:
    """One device's bridge. `run` works until cancelled, or until the rule of the second broker is broken."""

    def __init__(self, client: Client, second: Broker, options: Options | None = None) -> None:
        separate.refuse_same(client.broker, second)
        self._client, self._second, self._options = client, second, options or Options()
        self.who = client.identity
        self._topic = home.base(self.who.device)
        self._pictures: asyncio.Queue[bytes] = asyncio.Queue(self._options.waiting)
        self._broken = asyncio.Event()
        self._fault: ClientError | None = None
        self._opened = False
        self._latency: float | None = None
        self.answered = self.failed = self.dropped = 0

    async def run(self, ready: asyncio.Event | None = None) -> None:
        """Serves. `ready` is set once pictures are taken. Raises `SameBroker`, `ClientError`."""
        will = Will(f"{self._topic}/availability", b"offline")
        async with self._client:
            self._link = Link(
                self._second, f"blindsight-{self.who.device}", self._message, self._connected, will, self._compare
            )  # fmt: skip
            await self._link.open(15)
            try:
                await self._check()
                self._opened = True
                self._announce()
                if ready is not None:
                    ready.set()
                await self._serve()
            except BaseExceptionGroup as group:
                raise group.exceptions[0] from None
            finally:
                if self._opened:
                    info = self._link.publish(will.topic, will.payload, retain=True)
                    with contextlib.suppress(ValueError, RuntimeError):
                        await asyncio.to_thread(info.wait_for_publish, 2)
                await self._link.close()

    async def _check(self) -> None:
        """Nothing is published before this returns."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._broken.wait(), self._options.quiet_s)
        self._still_separate()

    def _compare(self, peer: Peer, certificate: bytes | None) -> None:
        """A new connection to the second broker against the cloud's (called in paho's thread)."""
        cloud = self._client.link
        separate.refuse_same(cloud.broker, self._second)
        separate.refuse_same_connection(cloud.peer(), cloud.certificate(), peer, certificate)

    def _still_separate(self) -> None:
        if self._fault is None and self._link.fault is None:
            try:
                cloud, own = self._client.link, self._link
                separate.refuse_same_connection(
                    cloud.peer(), cloud.certificate(), own.peer(), own.certificate()
                )
            except separate.SameBroker as error:
                self._fault = error
        if fault := self._fault or self._link.fault:
            self._broken.set()
            raise fault

    # --- the owner's broker

    def _connected(self, _kept: bool) -> None:
        self._link.subscribe(topics.status(self.who.device), f"{self._topic}/picture")
        if self._opened:
            self._quietly(self._announce)

    def _quietly(self, call: Callable[[], None]) -> None:
        """From a callback: a broken rule ends the bridge, by `_watch`."""
        with contextlib.suppress(ClientError):
            call()

    def _message(self, topic: str, payload: bytes, retained: bool) -> None:
        if topic.startswith(topics.ROOT + "/"):
            self._fault = separate.SameBroker("the cloud's topics are heard on it")
            self._broken.set()
        elif not retained and 0 < len(payload) <= MAX_PICTURE:
            try:
                self._pictures.put_nowait(payload)
            except asyncio.QueueFull:
                self.dropped += 1
                if self._opened:
                    full = home.failure_message(self.who, "too many pictures wait")
                    self._quietly(lambda: self._say("result", full))

    def _say(self, what: str, message: dict[str, Any]) -> None:
        self._still_separate()
        self._link.publish(f"{self._topic}/{what}", json.dumps(message).encode(), retain=True)

    def _announce(self) -> None:
        self._still_separate()
        if self._options.discovery:
            message = home.discovery(self.who, "1")
            topic = home.discovery_topic(self.who.device, self._options.prefix)
            self._link.publish(topic, json.dumps(message).encode(), retain=True)
        self._link.publish(f"{self._topic}/availability", b"online", retain=True)
        self._state()

    def _state(self) -> None:
        pending = self._pictures.qsize() + self._client.waiting
        state = {"pending": pending, "answered": self.answered, "failed": self.failed}
        self._say("state", state | {"latency_s": self._latency})

    # --- pictures

    async def _serve(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(self._worker())
            group.create_task(self._watch())

    async def _watch(self) -> None:
        """Ends the bridge when the rule is broken."""
        while not self._broken.is_set() and self._link.fault is None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._broken.wait(), 1)
        self._still_separate()

    async def _worker(self) -> None:
        while True:
            payload = await self._pictures.get()
            try:
                pixels = await asyncio.to_thread(self._read, payload)
                answer = await self._client.classify(pixels, self._options.timeout_s)
            except separate.SameBroker:  # a ClientError too, and the end
                raise
            except ClientError as error:
                self.failed += 1
                self._say("result", home.failure_message(self.who, str(error)))
            else:
                self.answered += 1
                self._latency = answer.latency_s
                self._say("result", home.result_message(self.who, answer))
            self._state()

    def _read(self, payload: bytes) -> np.ndarray:
        if len(payload) == self.who.pixels:
            return np.frombuffer(payload, np.uint8).reshape(self.who.shape)
        return picture.load(io.BytesIO(payload), self.who.shape)
