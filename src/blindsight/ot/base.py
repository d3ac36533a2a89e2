"""Base oblivious transfer: a few hundred random OTs of 16-byte strings, from public-key operations.

Adversary: semi-honest.  Assumption: decisional Diffie-Hellman in the prime-order subgroup of edwards25519 and SHA-512 /
SHA-256 as random oracles.  Source: Masny and Rindal, "Endemic oblivious transfer" (CCS 2019), instantiated with Diffie-Hellman
key agreement with one sender message for all instances (DDH is randomly self-reducible); one round.

The receiver of instance i with choice c takes a random point R_{1-c} of unknown logarithm, a scalar t, and sets
R_c = t G - H(1-c, R_{1-c}).  The sender adds the hash back: P_j = R_j + H(j', R_j'), j' = 1 - j, and with Y = y G sent once the
keys are KDF(y P_j); the receiver knows t Y = y P_c alone.  R_0, R_1 are uniform whatever c is: the sender learns nothing,
perfectly up to the hash's distance from uniform; y P_{1-c} is pseudorandom to the receiver by DDH.

Group elements are checked to lie in the prime-order subgroup; scalars go through libsodium's constant-time code.  Python's
own integers never hold a secret here, but bytes objects do, and Python does not wipe them: the process that holds the keys
is trusted with its memory.
"""

from __future__ import annotations

import hashlib

import numpy as np
from nacl import bindings as sodium
from nacl.exceptions import RuntimeError as SodiumError

from blindsight.channel import Channel
from blindsight.fixed.rng import Rng

POINT = 32
KEY = 16


def _point_from(label: bytes) -> bytes:
    """A point of the prime-order subgroup, indifferentiable from a random oracle: the sum of two maps to the curve."""
    digest = hashlib.sha512(label).digest()
    first = sodium.crypto_core_ed25519_from_uniform(digest[:32])
    return sodium.crypto_core_ed25519_add(first, sodium.crypto_core_ed25519_from_uniform(digest[32:]))


def _hash_point(context: bytes, instance: int, slot: int, point: bytes) -> bytes:
    return _point_from(
        b"blindsight/1 base-ot hash" + context + instance.to_bytes(4, "little") + bytes([slot]) + point
    )


def _scalar(rng: Rng) -> bytes:
    return sodium.crypto_core_ed25519_scalar_reduce(rng.bytes(64))


def _key(context: bytes, instance: int, slot: int, transcript: bytes, shared: bytes) -> bytes:
    label = b"blindsight/1 base-ot key" + context + instance.to_bytes(4, "little") + bytes([slot])
    return hashlib.sha256(label + transcript + shared).digest()[:KEY]


class BadPoint(ValueError):
    """The peer's string is no element of the group."""


def _checked(point: bytes) -> bytes:
    if not sodium.crypto_core_ed25519_is_valid_point(point):
        raise BadPoint(
            "base OT: the peer sent a string that is no point of the prime-order group; its build is broken"
        )
    return point


def _times(scalar: bytes, point: bytes) -> bytes:
    try:
        return sodium.crypto_scalarmult_ed25519_noclamp(scalar, point)
    except SodiumError as error:  # the neutral element: only from a zero scalar or a point of small order
        raise BadPoint("base OT: a product is the neutral element; start the session again") from error


class BaseSender:
    """Gets both keys of every instance.

    Usage: `hello` goes to the peer at once; `finish` takes the peer's points.
    """

    def __init__(self, count: int, context: bytes, rng: Rng) -> None:
        self.count = count
        self._context = context
        self._y = _scalar(rng)
        self.hello = sodium.crypto_scalarmult_ed25519_base_noclamp(self._y)
        self.expects = count * 2 * POINT

    def finish(self, points: bytes) -> np.ndarray:
        """uint8 [count, 2, 16]: the two keys of every instance.

        Raises:
            BadPoint: a string that is no group element.
        """
        out = np.empty((self.count, 2, KEY), np.uint8)
        for i in range(self.count):
            pair = points[2 * POINT * i : 2 * POINT * (i + 1)]
            r = (_checked(pair[:POINT]), _checked(pair[POINT:]))
            for j in (0, 1):
                hashed = _hash_point(self._context, i, 1 - j, r[1 - j])
                shared = _times(self._y, sodium.crypto_core_ed25519_add(r[j], hashed))
                out[i, j] = np.frombuffer(_key(self._context, i, j, self.hello + pair, shared), np.uint8)
        return out


class BaseReceiver:
    """Gets the key of its choice of every instance.

    choices: uint8 [count] of 0 and 1, uniform.  Usage: `hello` goes to the peer; `finish` takes the peer's 32 bytes.
    """

    expects = POINT

    def __init__(self, choices: np.ndarray, context: bytes, rng: Rng) -> None:
        self._choices = [int(c) for c in choices]
        self._context = context
        self._scalars = []
        pairs = []
        for i, c in enumerate(self._choices):
            other = _point_from(b"blindsight/1 base-ot random" + rng.bytes(64))
            t = _scalar(rng)
            hashed = _hash_point(context, i, 1 - c, other)
            own = sodium.crypto_core_ed25519_sub(sodium.crypto_scalarmult_ed25519_base_noclamp(t), hashed)
            pairs.append((own, other) if c == 0 else (other, own))
            self._scalars.append(t)
        self._pairs = [a + b for a, b in pairs]
        self.hello = b"".join(self._pairs)

    def finish(self, sender: bytes) -> np.ndarray:
        """uint8 [count, 16]: the chosen key of every instance.

        Raises:
            BadPoint: a string that is no group element.
        """
        y = _checked(sender)
        out = np.empty((len(self._choices), KEY), np.uint8)
        for i, (c, t) in enumerate(zip(self._choices, self._scalars, strict=True)):
            out[i] = np.frombuffer(_key(self._context, i, c, y + self._pairs[i], _times(t, y)), np.uint8)
        return out


def run_both(sender: BaseSender, receiver: BaseReceiver, channel: Channel) -> tuple[np.ndarray, np.ndarray]:
    """One round in which this party is sender of one batch and receiver of another of the same size.

    Returns:
        uint8 [count, 2, 16] of the batch it sends, uint8 [count, 16] of the one it receives.

    Raises:
        ProtocolError: the peer sent a string that is no group element; it is told so.
    """
    reply = channel.exchange(sender.hello + receiver.hello, POINT + sender.expects).tobytes()
    try:
        return sender.finish(reply[POINT:]), receiver.finish(reply[:POINT])
    except BadPoint as error:
        channel.fail(str(error))
