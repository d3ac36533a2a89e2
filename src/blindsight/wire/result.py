"""What comes back to the device (docs/wire.md section 5): receipt, result, failure; the sealed share of the
helper.

Adversary: the cloud, which carries the sealed share, and anybody on the network. Assumption:
XChaCha20-Poly1305 is an AEAD (draft-irtf-cfrg-xchacha; libsodium), nonces are 192 random bits, one seal a
result key (the helper's answered-once transaction), and the result key is known to device and helper alone.
The AAD binds the share to one picture, plan, reveal mode and attempt, so a share can neither be moved nor
mixed with another attempt's.
"""

from __future__ import annotations

import enum
import os
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from nacl import bindings, exceptions

from blindsight.wire import keys
from blindsight.wire.errors import WireError
from blindsight.wire.fields import Reader, str8

VERSION = 1
NONCE_BYTES = 24
TAG_BYTES = 16
MAX_COUNT = 65535

Share = npt.NDArray[np.uint32]


class Reveal(enum.IntEnum):
    """What the model's owner lets the device see."""

    TOP1 = 0
    TOPK = 1
    LOGITS = 2
    PROBABILITIES = 3

    @classmethod
    def named(cls, label: str) -> Reveal:
        """The mode called `label`, else `WireError`."""
        try:
            return cls[label.upper()]
        except KeyError:
            raise WireError(
                f"reveal mode {label[:20]!r}: one of {', '.join(m.name.lower() for m in cls)}"
            ) from None


class FailureCode(enum.IntEnum):
    """Why there is no result."""

    MANIFEST = 1
    BLOCK = 2
    MODEL = 3
    QUOTA = 4
    GAVE_UP = 5
    KEY = 6


@dataclass(frozen=True)
class Receipt:
    """The cloud has the whole picture durably."""

    manifest_hash: bytes

    def encode(self) -> bytes:
        return bytes([1, VERSION]) + self.manifest_hash


@dataclass(frozen=True)
class Result:
    """Both shares of one attempt; `share` is uint32 [count], `sealed` is nonce || ciphertext || tag."""

    attempt: int
    reveal: Reveal
    share: Share
    sealed: bytes

    def encode(self) -> bytes:
        if not 1 <= len(self.share) <= MAX_COUNT or len(self.sealed) != sealed_bytes(len(self.share)):
            raise WireError(
                f"{len(self.share)} values and {len(self.sealed)} sealed bytes do not belong together"
            )
        head = bytes([2, VERSION]) + self.attempt.to_bytes(4, "little") + bytes([self.reveal])
        return head + len(self.share).to_bytes(2, "little") + share_bytes(self.share) + self.sealed


@dataclass(frozen=True)
class Failure:
    """No result will come for this picture."""

    code: FailureCode
    reason: str

    def encode(self) -> bytes:
        reason = self.reason.encode()[:200].decode(errors="ignore")
        return bytes([3, VERSION, self.code]) + str8(reason)


@dataclass(frozen=True)
class Context:
    """What a sealed share is bound to. `plan_hash` and `manifest_hash` are 32 bytes, `image` 16."""

    device: str
    image: bytes
    manifest_hash: bytes
    plan_hash: bytes
    reveal: Reveal
    attempt: int

    def aad(self) -> bytes:
        """The associated data of the seal."""
        if len(self.image) != keys.IMAGE_BYTES or len(self.manifest_hash) != 32 or len(self.plan_hash) != 32:
            raise WireError("a sealed share needs a 16-byte image id and 32-byte hashes")
        tail = bytes([self.reveal]) + self.attempt.to_bytes(4, "little")
        head = b"blindsight/1 result" + str8(self.device) + self.image
        return head + self.manifest_hash + self.plan_hash + tail


def parse(data: bytes) -> Receipt | Result | Failure:
    """The message in `data`; raises `WireError`."""
    r = Reader(data, "result message")
    kind, version = r.uint(1, "type"), r.uint(1, "version")
    if version != VERSION:
        raise WireError(f"result message version {version}; this side speaks version {VERSION}")
    out: Receipt | Result | Failure
    if kind == 1:
        out = Receipt(r.take(32, "manifest hash"))
    elif kind == 2:
        attempt, reveal, count = r.uint(4, "attempt"), r.uint(1, "reveal mode"), r.uint(2, "count")
        if reveal not in list(Reveal) or count == 0:
            raise WireError(f"result message: reveal mode {reveal} with {count} values")
        share = share_from(r.take(4 * count, "cloud share"))
        out = Result(attempt, Reveal(reveal), share, r.take(sealed_bytes(count), "sealed share"))
    elif kind == 3:
        code = r.uint(1, "code")
        if code not in list(FailureCode):
            raise WireError(f"result message: failure code {code} is unknown")
        out = Failure(FailureCode(code), r.str8("reason"))
    else:
        raise WireError(f"result message: type {kind} is unknown")
    r.end()
    return out


def sealed_bytes(count: int) -> int:
    """Length of a sealed share of `count` values."""
    return NONCE_BYTES + 4 * count + TAG_BYTES


def share_bytes(share: Share) -> bytes:
    """uint32 [count] as little-endian bytes."""
    return np.ascontiguousarray(share, dtype="<u4").tobytes()


def share_from(data: bytes) -> Share:
    """The inverse of `share_bytes`; `WireError` unless whole words."""
    if len(data) % 4:
        raise WireError(f"a share of {len(data)} bytes is no whole number of words")
    return np.frombuffer(data, "<u4").astype(np.uint32)


def seal(key: bytes, context: Context, share: Share) -> bytes:
    """nonce || XChaCha20-Poly1305(share) under the result key, with a fresh random nonce. Call once a
    picture.
    """
    nonce = os.urandom(NONCE_BYTES)
    box = bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(share_bytes(share), context.aad(), nonce, key)
    return nonce + bytes(box)


def open_sealed(key: bytes, context: Context, sealed: bytes) -> Share:
    """The helper's share; `WireError` where key, context or bytes do not fit."""
    if len(sealed) < sealed_bytes(1):
        raise WireError(f"a sealed share of {len(sealed)} bytes is too short")
    try:
        plain = bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
            sealed[NONCE_BYTES:], context.aad(), sealed[:NONCE_BYTES], key
        )
    except exceptions.CryptoError:
        raise WireError(
            "the helper's share does not open: wrong key, picture, plan, reveal mode or attempt"
        ) from None
    return share_from(bytes(plain))


def combine(cloud: Share, helper: Share) -> Share:
    """The revealed numbers: the sum mod 2^32."""
    if cloud.shape != helper.shape:
        raise WireError(f"shares of {cloud.shape} and {helper.shape} values")
    return (cloud + helper).astype(np.uint32)
