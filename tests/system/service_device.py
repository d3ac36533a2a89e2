"""A device in CPython for the tests of the services: encryption on the C core, and its side of MQTT."""

from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as mqtt

from blindsight import _device
from blindsight.helper.keys import Provision
from blindsight.nn.plan import Plan
from blindsight.wire import keys, manifest, result, topics
from blindsight.wire.blocks import Layout, Mode, PixelFormat, commitment


@dataclass
class Parcel:
    """One encrypted picture as it leaves a device."""

    device: str
    image: bytes
    blocks: list[bytes]
    manifest: bytes
    salt: bytes
    result_key: bytes
    plan_hash: bytes
    pixels: bytes

    def messages(self) -> list[tuple[str, bytes]]:
        """(topic, payload), manifest last."""
        out = [(topics.block(self.device, self.image, i), b) for i, b in enumerate(self.blocks)]
        return [*out, (topics.manifest(self.device, self.image), self.manifest + self.salt)]

    def open(self, message: bytes) -> int:
        """The label in a result message."""
        got = result.parse(message)
        assert isinstance(got, result.Result), got
        digest = manifest.manifest_hash(self.manifest)
        context = result.Context(self.device, self.image, digest, self.plan_hash, got.reveal, got.attempt)
        return int(result.combine(got.share, result.open_sealed(self.result_key, context, got.sealed))[0])


class Device:
    """A device's encryption, in CPython on the C core."""

    def __init__(self, provision: Provision, plan: Plan, mode: str = "rlwe", per_block: int = 2) -> None:
        self.provision, self.plan, self.mode, self.per_block = provision, plan, Mode.named(mode), per_block
        self._images = 0

    @property
    def name(self) -> str:
        return self.provision.device

    def picture(
        self,
        pixels: bytes | None = None,
        seed: bytes | None = None,
        image: bytes | None = None,
        **change: Any,
    ) -> Parcel:
        """Encrypts a picture (random pixels by default); `change` replaces fields of the manifest."""
        self._images += 1
        image = image or self._images.to_bytes(8, "big") + os.urandom(8)
        seed = seed or os.urandom(32)
        plan, secret = self.plan, self.provision.secret
        size = plan.height * plan.width * plan.channels
        pixels = os.urandom(size) if pixels is None else pixels
        layout = Layout(self.mode, size, self.per_block)
        nonce = _device.stream(seed, 6, 0, 12) if self.mode is Mode.AES else bytes(12)
        polys = [
            self._poly(layout, i, pixels[i * 1024 : (i + 1) * 1024], seed, nonce) for i in range(layout.polys)
        ]
        groups = [[polys[p] for p in layout.polys_of(b)] for b in range(layout.blocks)]
        salt = _device.stream(seed, 5, 0, 32)
        blocks = [b"".join(g) for g in groups]
        rlwe = self.mode is Mode.RLWE
        fields = {
            "device": self.name,
            "image": image,
            "mode": self.mode,
            "pixel_format": PixelFormat.GRAY8 if plan.channels == 1 else PixelFormat.RGB888,
            "model": plan.name,
            "plan_hash": plan.hash,
            "key_id": keys.key_id_public(self.provision.public_key)
            if rlwe
            else keys.key_id_epoch(self.name, self.provision.epoch),
            "height": plan.height,
            "width": plan.width,
            "channels": plan.channels,
            "polys_per_block": self.per_block,
            "nonce": nonce,
            "commitments": tuple(commitment(salt, i, b) for i, b in enumerate(blocks)),
            "c1_hashes": () if self.mode is Mode.AES else tuple(layout.c1_hash(g) for g in groups),
        }
        key = change.pop("key", keys.manifest_key(secret))
        signed = manifest.Manifest(**{**fields, **change}).encode(key)  # type: ignore[arg-type]
        base = _device.stream(seed, 4, 0, 32) if rlwe else keys.result_base(secret)
        result_key = keys.result_key(base, self.name, image, manifest.manifest_hash(signed))
        return Parcel(self.name, image, blocks, signed, salt, result_key, plan.hash, pixels)

    def _poly(self, layout: Layout, i: int, pixels: bytes, seed: bytes, nonce: bytes) -> bytes:
        secret = self.provision.secret
        if self.mode is Mode.AES:
            return _device.aes_ctr(keys.aes_key(secret), nonce, 64 * i, pixels)
        if self.mode is Mode.RLWE_SK:
            return _device.sk_encrypt(_device.Secret(keys.shared_rlwe_seed(secret)), seed, i, pixels)
        with_key = layout.key_span is not None and layout.key_span.poly == i
        return _device.rlwe_encrypt(self.provision.public_key, seed, i, pixels, with_key)


class Client:
    """A device's MQTT side: sends, waits for the receipt, sends again, deduplicates answers."""

    def __init__(
        self,
        device: str,
        port: int,
        host: str = "127.0.0.1",
        account: tuple[str, str] | None = None,
        **tls: Any,
    ) -> None:
        self.device = device
        self.receipts: dict[bytes, int] = {}
        self.answers: dict[bytes, list[bytes]] = {}
        self._changed = threading.Condition()
        self._ready = threading.Event()
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=device, clean_session=False)
        self.client.max_inflight_messages_set(1000)
        self.client.reconnect_delay_set(1, 1)
        self.client.on_connect = self._connect
        self.client.on_subscribe = lambda *_: self._ready.set()
        self.client.on_message = self._message
        if account:
            self.client.username_pw_set(*account)
        if tls:
            self.client.tls_set(**tls)
        self.client.connect(host, port, 30)
        self.client.loop_start()
        assert self._ready.wait(10)

    def _connect(self, client: mqtt.Client, _data: Any, _flags: Any, code: Any, *_: Any) -> None:
        assert not code.is_failure, code
        client.subscribe(f"{topics.base(self.device)}/down/+", 1)
        client.publish(
            topics.status(self.device), json.dumps({"state": "online", "pending": 1}), 1, retain=True
        )

    def _message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        image = bytes.fromhex(message.topic.rsplit("/", 1)[1])
        with self._changed:
            if isinstance(result.parse(message.payload), result.Receipt):
                self.receipts[image] = self.receipts.get(image, 0) + 1
            else:
                self.answers.setdefault(image, []).append(message.payload)
            self._changed.notify_all()

    def send(self, parcel: Parcel, order: list[int] | None = None) -> None:
        """Publishes everything once."""
        messages = parcel.messages()
        for i in order if order is not None else range(len(messages)):
            self.client.publish(*messages[i], qos=1)

    def wait(
        self, parcel: Parcel, what: str = "answer", seconds: float = 30, resend_s: float = 2.0
    ) -> bytes | None:
        """The answer's bytes (or None for a receipt), sending again until the receipt is there."""
        deadline, resend = time.monotonic() + seconds, time.monotonic() + resend_s
        while True:
            with self._changed:
                if what == "answer" and parcel.image in self.answers:
                    return self.answers[parcel.image][0]
                if what == "receipt" and (parcel.image in self.receipts or parcel.image in self.answers):
                    return None
                assert time.monotonic() < deadline, f"no {what} for {parcel.image.hex()}"
                self._changed.wait(0.1)
            if time.monotonic() > resend:
                resend = time.monotonic() + resend_s
                if parcel.image in self.receipts:  # only the result key is left: the manifest asks
                    self.client.publish(
                        topics.manifest(parcel.device, parcel.image), parcel.manifest + parcel.salt, 1
                    )
                else:
                    self.send(parcel)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()
