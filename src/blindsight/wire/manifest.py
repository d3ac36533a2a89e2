"""The manifest of a picture (docs/wire.md section 4): encode, parse, verify.

Adversary: the cloud and anybody on the network, who may forge, alter, splice or replay manifests and blocks.
Assumption: HMAC-SHA256 is a PRF and SHA-256 collision resistant; the manifest key is known to the device and
the helper alone. The cloud can parse a manifest but not verify it; the helper verifies before it decrypts
anything. The salt of the commitments travels beside the manifest to the cloud and no further.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from functools import cached_property

from blindsight.wire import keys
from blindsight.wire.blocks import Layout, Mode, PixelFormat
from blindsight.wire.errors import WireError
from blindsight.wire.fields import Reader, str8

MAGIC = b"BSM\x01"
HASH_BYTES = 32
SALT_BYTES = 32
NONCE_BYTES = 12
MAX_BLOCKS = 65535


@dataclass(frozen=True)
class Manifest:
    """What a device says of one picture. Fields as in the table of docs/wire.md; hashes are raw bytes."""

    device: str
    image: bytes
    mode: Mode
    pixel_format: PixelFormat
    model: str
    plan_hash: bytes
    key_id: bytes
    height: int
    width: int
    channels: int
    polys_per_block: int
    nonce: bytes
    commitments: tuple[bytes, ...]
    c1_hashes: tuple[bytes, ...]

    def __post_init__(self) -> None:
        keys.check_device(self.device)
        keys.check_model(self.model)
        for what, value, size in (
            ("image id", self.image, keys.IMAGE_BYTES),
            ("plan hash", self.plan_hash, HASH_BYTES),
            ("key id", self.key_id, keys.KEY_ID_BYTES),
            ("nonce", self.nonce, NONCE_BYTES),
        ):
            if len(value) != size:
                raise WireError(f"manifest: {what} of {len(value)} bytes, not {size}")
        for what, side in (("height", self.height), ("width", self.width)):
            if not 1 <= side <= 65535:
                raise WireError(f"manifest: {what} {side} is outside 1 .. 65535")
        if self.channels != self.pixel_format.channels:
            raise WireError(f"manifest: {self.channels} channels in {self.pixel_format.name.lower()}")
        if self.mode is not Mode.AES and any(self.nonce):
            raise WireError(f"manifest: a nonce in {self.mode.label} mode")
        if self.layout.blocks > MAX_BLOCKS or len(self.commitments) != self.layout.blocks:
            raise WireError(
                f"manifest: {len(self.commitments)} blocks where its shape needs {self.layout.blocks}"
            )
        if len(self.c1_hashes) != (0 if self.mode is Mode.AES else self.layout.blocks):
            raise WireError(f"manifest: {len(self.c1_hashes)} c1 hashes for {self.layout.blocks} blocks")
        if any(len(h) != HASH_BYTES for h in (*self.commitments, *self.c1_hashes)):
            raise WireError(f"manifest: a hash is not {HASH_BYTES} bytes")

    @cached_property
    def layout(self) -> Layout:
        """The cut of the picture."""
        return Layout(self.mode, self.height * self.width * self.channels, self.polys_per_block)

    def body(self) -> bytes:
        """Everything but the HMAC."""
        return b"".join(
            (
                MAGIC,
                bytes([self.mode, self.pixel_format]),
                str8(self.device),
                self.image,
                str8(self.model),
                self.plan_hash,
                self.key_id,
                self.height.to_bytes(2, "little"),
                self.width.to_bytes(2, "little"),
                bytes([self.channels, self.polys_per_block]),
                len(self.commitments).to_bytes(2, "little"),
                self.nonce,
                *self.commitments,
                *self.c1_hashes,
            )
        )

    def encode(self, key: bytes) -> bytes:
        """The manifest under `key` (the manifest key, 32 bytes)."""
        body = self.body()
        return body + hmac.digest(key, body, "sha256")


def parse(data: bytes) -> Manifest:
    """The manifest in `data`, every field checked, its HMAC not: for the cloud, which cannot. Raises
    `WireError`.
    """
    r = Reader(data, "manifest")
    magic = r.take(4, "magic")
    if magic[:3] != MAGIC[:3]:
        raise WireError("not a manifest: it does not begin with BSM")
    if magic[3] != MAGIC[3]:
        raise WireError(f"manifest version {magic[3]}; this side speaks version {MAGIC[3]}")
    mode, pixel_format = r.uint(1, "mode"), r.uint(1, "pixel format")
    if mode not in list(Mode):
        raise WireError(f"manifest: mode {mode} is unknown")
    if pixel_format not in list(PixelFormat):
        raise WireError(f"manifest: pixel format {pixel_format} is unknown")
    device = r.str8("device id")
    image = r.take(keys.IMAGE_BYTES, "image id")
    model = r.str8("model name")
    plan_hash = r.take(HASH_BYTES, "plan hash")
    key_id = r.take(keys.KEY_ID_BYTES, "key id")
    height, width = r.uint(2, "height"), r.uint(2, "width")
    channels, polys_per_block = r.uint(1, "channels"), r.uint(1, "polys_per_block")
    count = r.uint(2, "block count")
    nonce = r.take(NONCE_BYTES, "nonce")
    columns = 1 if mode == Mode.AES else 2
    if r.left != columns * count * HASH_BYTES + HASH_BYTES:
        raise WireError(f"manifest of {len(data)} bytes does not fit {count} blocks")
    commitments = tuple(r.take(HASH_BYTES, "commitments") for _ in range(count))
    c1_hashes = tuple(r.take(HASH_BYTES, "c1 hashes") for _ in range(count * (columns - 1)))
    return Manifest(
        device, image, Mode(mode), PixelFormat(pixel_format), model, plan_hash, key_id,
        height, width, channels, polys_per_block, nonce, commitments, c1_hashes,
    )  # fmt: skip


def verify(data: bytes, key: bytes) -> bool:
    """Whether the HMAC at the end of `data` is right under the manifest key; in constant time."""
    if len(data) <= HASH_BYTES:
        return False
    return hmac.compare_digest(hmac.digest(key, data[:-HASH_BYTES], "sha256"), data[-HASH_BYTES:])


def manifest_hash(data: bytes) -> bytes:
    """SHA-256 of the whole manifest, HMAC included."""
    return hashlib.sha256(data).digest()


def split_salt(payload: bytes) -> tuple[bytes, bytes]:
    """(manifest, salt) of the MQTT payload; `WireError` where it is too short to hold both."""
    if len(payload) <= SALT_BYTES + HASH_BYTES:
        raise WireError(f"manifest message of {len(payload)} bytes is too short")
    return payload[:-SALT_BYTES], payload[-SALT_BYTES:]
