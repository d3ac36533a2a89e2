"""One encrypted picture as a device sends it (docs/wire.md, sections 2 to 5), and its answer opened.

Holds the sender's secrets in passing. Adversary: whoever records the network, and the cloud. Assumptions: those of the
firmware's core, which this runs on (`blindsight._device`). A seed is drawn from the operating system and used for one
picture; the messages made from it are kept and sent again as they are, never made a second time.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import numpy as np

from blindsight import _device
from blindsight.client.identity import Identity
from blindsight.wire import WireError, keys, manifest, result, topics
from blindsight.wire.blocks import DEGREE, Layout, Mode, PixelFormat, commitment

RESULT_KEY, SALT, NONCE = 4, 5, 6  # purposes of a picture's stream (docs/wire.md section 2)


@dataclass(frozen=True)
class Parcel:
    """A picture ready to send: `messages` (topic, payload), the manifest last; `digest` is the manifest hash, `key`
    opens the answer. No pixel and no seed is in it.
    """

    device: str
    image: bytes
    messages: tuple[tuple[str, bytes], ...] = field(repr=False)
    digest: bytes
    key: bytes = field(repr=False)
    plan_hash: bytes
    reveal: result.Reveal

    def values(self, got: result.Result) -> np.ndarray:
        """The revealed numbers, uint32 [count]; `WireError` where the message is not this picture's answer."""
        if got.reveal is not self.reveal:
            raise WireError(f"the answer reveals {got.reveal.name.lower()}, not {self.reveal.name.lower()}")
        context = result.Context(
            self.device, self.image, self.digest, self.plan_hash, got.reveal, got.attempt
        )
        return result.combine(got.share, result.open_sealed(self.key, context, got.sealed))


def encrypt(who: Identity, counter: int, pixels: bytes) -> Parcel:
    """A new picture of `who`: `pixels` are height x width x channels bytes in capture order; `counter` is the durable
    boot counter, whose number no other process had.
    """
    if len(pixels) != who.pixels:
        raise WireError(f"a picture of {len(pixels)} bytes; {who.model} takes {who.pixels}")
    image = counter.to_bytes(8, "big") + os.urandom(8)
    seed = _device.new_seed(os.urandom)
    layout = Layout(who.mode, len(pixels), who.per_block)
    nonce = _device.stream(seed, NONCE, 0, manifest.NONCE_BYTES) if who.mode is Mode.AES else bytes(12)
    shared = _device.Secret(keys.shared_rlwe_seed(who.secret)) if who.mode is Mode.RLWE_SK else None

    def poly(p: int) -> bytes:
        part = pixels[DEGREE * p : DEGREE * (p + 1)]
        if who.mode is Mode.AES:
            return _device.aes_ctr(keys.aes_key(who.secret), nonce, DEGREE // 16 * p, part)
        if shared is not None:
            return _device.sk_encrypt(shared, seed, p, part)
        with_key = layout.key_span is not None and layout.key_span.poly == p
        return _device.rlwe_encrypt(who.public_key, seed, p, part, with_key)

    groups = [[poly(p) for p in layout.polys_of(b)] for b in range(layout.blocks)]
    blocks = [b"".join(g) for g in groups]
    salt = _device.stream(seed, SALT, 0, manifest.SALT_BYTES)
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
    base = _device.stream(seed, RESULT_KEY, 0, keys.KEY_BYTES) if rlwe else keys.result_base(who.secret)
    key = keys.result_key(base, who.device, image, digest)
    messages = [(topics.block(who.device, image, i), b) for i, b in enumerate(blocks)]
    messages.append((topics.manifest(who.device, image), signed + salt))
    return Parcel(who.device, image, tuple(messages), digest, key, who.plan_hash, who.reveal)
