"""Identities and key derivations (docs/wire.md section 1).

Holds secrets in passing. Adversary: each server alone, any set of devices, anybody on the network.
Assumption: HKDF-SHA256 is a random oracle-like extractor and PRF (Krawczyk, CRYPTO 2010; RFC 5869), so keys
derived with distinct labels, devices or epochs are independent; knowing one device's secret says nothing of
another's or of a root. Every derived key has one purpose; nothing is used raw.
"""

from __future__ import annotations

import hashlib
import hmac
import re

from blindsight.wire.errors import WireError
from blindsight.wire.fields import str8

DEVICE = re.compile(r"[a-z0-9-]{1,32}")
MODEL = re.compile(r"[a-z0-9._-]{1,64}")
FLEET = "fleet"  # stands for the device in the RLWE derivations of an opt-in fleet-wide key; no device has it

KEY_BYTES = 32
IMAGE_BYTES = 16
KEY_ID_BYTES = 8


def check_device(device: str) -> str:
    """`device` itself if it is a device id, else `WireError`."""
    if not DEVICE.fullmatch(device) or device == FLEET:
        raise WireError(f"device id {device[:40]!r}: 1 to 32 characters of a-z, 0-9 and -, and not {FLEET!r}")
    return device


def check_model(name: str) -> str:
    """`name` itself if it is a model name, else `WireError`."""
    if not MODEL.fullmatch(name):
        raise WireError(f"model name {name[:70]!r}: 1 to 64 characters of a-z, 0-9, '.', '_' and '-'")
    return name


def shard(device: str) -> str:
    """The device's shard: first hex digit of SHA-256 of its id."""
    return hashlib.sha256(device.encode()).hexdigest()[0]


def hkdf(ikm: bytes, info: bytes) -> bytes:
    """HKDF-SHA256 (RFC 5869), empty salt, 32 bytes."""
    prk = hmac.digest(bytes(32), ikm, "sha256")
    return hmac.digest(prk, info + b"\x01", "sha256")


def _labelled(secret: bytes, label: bytes, tail: bytes = b"") -> bytes:
    if len(secret) != KEY_BYTES:
        raise WireError(f"a key of {len(secret)} bytes where {KEY_BYTES} are needed")
    return hkdf(secret, b"blindsight/1 " + label + tail)


def _epoch(epoch: int) -> bytes:
    if not 0 <= epoch < 1 << 32:
        raise WireError(f"epoch {epoch} is outside 0 .. 2^32 - 1")
    return epoch.to_bytes(4, "little")


def roots_key(master: bytes) -> bytes:
    """Key under which the helper stores the epochs' roots, from its master secret. Known to the helper alone."""
    return _labelled(master, b"roots")


def device_secret(root: bytes, device: str, epoch: int) -> bytes:
    """What one device shares with the helper in one epoch; 32 bytes. Known to these two."""
    return _labelled(root, b"device-secret", str8(device) + _epoch(epoch))


def rlwe_secret_seed(root: bytes, device: str, epoch: int) -> bytes:
    """Seed of the device's `rlwe` secret key (or of the fleet's, with device `fleet`). Known to the helper
    alone.
    """
    return _labelled(root, b"rlwe-secret", str8(device) + _epoch(epoch))


def manifest_key(secret: bytes) -> bytes:
    """HMAC key of manifests, from the device secret."""
    return _labelled(secret, b"manifest")


def aes_key(secret: bytes) -> bytes:
    """AES-128 key of the `aes` mode (16 bytes), from the device secret."""
    return _labelled(secret, b"aes")[:16]


def shared_rlwe_seed(secret: bytes) -> bytes:
    """Seed of the `rlwe-sk` secret key that device and helper share, from the device secret."""
    return _labelled(secret, b"rlwe-sk")


def result_base(secret: bytes) -> bytes:
    """Base of result keys in `rlwe-sk` and `aes` modes, from the device secret."""
    return _labelled(secret, b"result-base")


def result_key(base: bytes, device: str, image: bytes, manifest_hash: bytes) -> bytes:
    """Key that seals the helper's share of one picture; `base`: the 32 key coefficients (`rlwe`), else
    `result_base`.
    """
    if len(image) != IMAGE_BYTES or len(manifest_hash) != 32:
        raise WireError("a result key needs a 16-byte image id and a 32-byte manifest hash")
    return _labelled(base, b"result", str8(device) + image + manifest_hash)


def key_id_public(public_key: bytes) -> bytes:
    """Key id in `rlwe` mode: first 8 bytes of SHA-256 of the public key file."""
    return hashlib.sha256(public_key).digest()[:KEY_ID_BYTES]


def key_id_epoch(device: str, epoch: int) -> bytes:
    """Key id in `rlwe-sk` and `aes` modes."""
    return hashlib.sha256(b"blindsight/1 epoch" + str8(device) + _epoch(epoch)).digest()[:KEY_ID_BYTES]
