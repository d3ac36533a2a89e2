"""What each party saw of one picture, for the figure of the demonstration.

The demo owns everything, so it may look over every shoulder: it records the ciphertexts that pass the broker,
and from one of them, with the helper's own key and code, what the helper decrypts. Nothing here runs in a
deployment.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import numpy as np
import paho.mqtt.client as mqtt

from blindsight.app.site import BrokerAddress, Site
from blindsight.he.ingest import mask
from blindsight.he.secret.ingest import keystream_share, open_masked
from blindsight.nn.plan import Plan
from blindsight.wire import WireError, manifest, topics
from blindsight.wire.blocks import Mode


class Listener:
    """While open, calls `heard(topic, payload)` with every upload that passes the broker, and, unless `up_only`, with
    what goes down too.
    """

    def __init__(
        self, broker: BrokerAddress, heard: Callable[[str, bytes], None], up_only: bool = True
    ) -> None:
        self._ready = threading.Event()
        self._client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2, client_id=f"blindsight-listener-{secrets.token_hex(6)}"
        )
        if broker.ca is not None:
            self._client.tls_set(str(broker.ca))
        wanted = [f"{topics.ROOT}/+/+/up/+/+"] + ([] if up_only else [f"{topics.ROOT}/+/+/down/+"])
        self._client.on_connect = lambda client, *_: client.subscribe([(name, 0) for name in wanted])
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = lambda _client, _data, message: heard(message.topic, message.payload)
        self._client.connect(broker.host, broker.port)

    def __enter__(self) -> Self:
        self._client.loop_start()
        self._ready.wait(5)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()


class Tap(Listener):
    """Records uploads while open; `look` then fills the views.

    Attributes:
        picture: uint8 (H, W, C), what the device saw.
        broker: uint8 (H, W, C), the first bytes of the ciphertext, what broker and cloud saw.
        helper: uint8 (H, W, C), the top bits of what the helper decrypted (or its keystream).
        label: the device's answer for this picture; None where nothing was recorded.
        captured: the picture's manifest and blocks as they passed the broker, and its number.
    """

    def __init__(self, broker: BrokerAddress, site: Site, plan: Plan) -> None:
        self._site, self._plan = site, plan
        self._seen: dict[tuple[str, str], dict[str, bytes]] = {}
        self.picture = self.broker = self.helper = None  # type: np.ndarray | None
        self.label: int | None = None
        self.captured: tuple[int, manifest.Manifest, list[bytes]] | None = None
        super().__init__(broker, self._record)

    def _record(self, topic: str, payload: bytes) -> None:
        try:
            what = topics.parse(topic)
        except WireError:
            return
        if isinstance(what, topics.Status):
            return
        part = str(what.block) if isinstance(what, topics.Block) else "manifest"
        if len(self._seen) < 64 or (what.device, what.image.hex()) in self._seen:
            self._seen.setdefault((what.device, what.image.hex()), {})[part] = payload

    def look(self, x: np.ndarray, pictures: list[Any]) -> None:
        """Fills the views from the first answered picture that was recorded whole; x: uint8 (N, H, W, C)."""
        for p in pictures:
            parts = self._seen.get((p.device, p.image), {})
            if p.got is None or "manifest" not in parts:
                continue
            parsed = manifest.parse(manifest.split_salt(parts["manifest"])[0])
            if len(parts) != parsed.layout.blocks + 1:
                continue
            blocks = [parts[str(i)] for i in range(parsed.layout.blocks)]
            self.picture, self.label, self.captured = x[p.number], p.got, (p.number, parsed, blocks)
            self.broker = self._as_picture(np.frombuffer(b"".join(blocks), np.uint8))
            self.helper = self._as_picture(self._decrypted(parsed, blocks))
            return

    def _decrypted(self, parsed: manifest.Manifest, blocks: list[bytes]) -> np.ndarray:
        register = self._site.register()
        try:
            keys = register.find(parsed.device, parsed.mode, parsed.key_id)[0]  # enrolled a moment ago
        finally:
            register.close()
        if parsed.mode is Mode.AES:
            return keystream_share(parsed.layout, keys.aes_key, parsed.nonce)
        polys, _ = mask(parsed.layout, blocks)
        shares, _ = open_masked(parsed.layout, polys, keys.secret_key(parsed.mode))
        return (shares >> 2).astype(np.uint8)

    def _as_picture(self, data: np.ndarray) -> np.ndarray:
        plan = self._plan
        shape = (plan.height, plan.width, plan.channels)
        return np.resize(data, int(np.prod(shape))).reshape(shape)
