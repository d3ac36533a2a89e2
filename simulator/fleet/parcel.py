"""One encrypted picture as a device sends it (docs/wire.md, sections 2 to 5), and its answer opened.

Holds device secrets, of simulated devices alone. Seeds and image ids come from the operating system and are used once:
a simulation with repeated seeds would be refused by the helper, and rightly.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from blindsight import _device
from blindsight.wire import keys, manifest, result, topics
from blindsight.wire.blocks import Layout, Mode, PixelFormat, commitment

RESULT_KEY, SALT, NONCE = 4, 5, 6  # purposes of a picture's stream


@dataclass(frozen=True)
class Identity:
    """What provisioning gave a device, and the shape of its model's picture."""

    device: str
    secret: bytes
    public_key: bytes
    epoch: int
    mode: Mode
    model: str
    plan_hash: bytes
    shape: tuple[int, int, int]
    per_block: int = 4


@dataclass(frozen=True)
class Parcel:
    """The messages of a picture, (topic, payload), and what opens its answer."""

    who: Identity
    image: bytes
    messages: list[tuple[str, bytes]]
    digest: bytes
    key: bytes

    def open(self, message: bytes) -> int:
        """The label of a `top1` result; WireError where it is not one of ours."""
        got = result.parse(message)
        if not isinstance(got, result.Result):
            raise ValueError("not a result")
        who = self.who
        context = result.Context(who.device, self.image, self.digest, who.plan_hash, got.reveal, got.attempt)
        return int(result.combine(got.share, result.open_sealed(self.key, context, got.sealed))[0])


def encrypt(who: Identity, counter: int, pixels: bytes) -> Parcel:
    """A new picture of `who`; `counter` is its boot counter, never used twice."""
    image, seed = counter.to_bytes(8, "big") + os.urandom(8), os.urandom(32)
    layout = Layout(who.mode, len(pixels), who.per_block)
    nonce = _device.stream(seed, NONCE, 0, 12) if who.mode is Mode.AES else bytes(12)
    shared = _device.Secret(keys.shared_rlwe_seed(who.secret)) if who.mode is Mode.RLWE_SK else None

    def poly(p: int) -> bytes:
        part = pixels[1024 * p : 1024 * (p + 1)]
        if who.mode is Mode.AES:
            return _device.aes_ctr(keys.aes_key(who.secret), nonce, 64 * p, part)
        if shared is not None:
            return _device.sk_encrypt(shared, seed, p, part)
        with_key = layout.key_span is not None and layout.key_span.poly == p
        return _device.rlwe_encrypt(who.public_key, seed, p, part, with_key)

    groups = [[poly(p) for p in layout.polys_of(b)] for b in range(layout.blocks)]
    blocks = [b"".join(g) for g in groups]
    salt = _device.stream(seed, SALT, 0, 32)
    height, width, channels = who.shape
    rlwe = who.mode is Mode.RLWE
    signed = manifest.Manifest(
        device=who.device, image=image, mode=who.mode,
        pixel_format=PixelFormat.GRAY8 if channels == 1 else PixelFormat.RGB888, model=who.model,
        plan_hash=who.plan_hash,
        key_id=keys.key_id_public(who.public_key) if rlwe else keys.key_id_epoch(who.device, who.epoch),
        height=height, width=width, channels=channels, polys_per_block=who.per_block, nonce=nonce,
        commitments=tuple(commitment(salt, i, b) for i, b in enumerate(blocks)),
        c1_hashes=() if who.mode is Mode.AES else tuple(layout.c1_hash(g) for g in groups),
    ).encode(keys.manifest_key(who.secret))  # fmt: skip
    digest = manifest.manifest_hash(signed)
    base = _device.stream(seed, RESULT_KEY, 0, 32) if rlwe else keys.result_base(who.secret)
    messages = [(topics.block(who.device, image, i), b) for i, b in enumerate(blocks)]
    messages.append((topics.manifest(who.device, image), signed + salt))
    return Parcel(who, image, messages, digest, keys.result_key(base, who.device, image, digest))
