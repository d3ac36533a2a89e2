"""Set-up of Ferret, the silent OT extension, in both directions.

Yang, Weng, Lan, Zhang, Wang, "Ferret" (CCS 2020), semi-honest, regular noise, on the correlated trees of "Half-tree" (EUROCRYPT 2023);
the iteration itself is native: native/include/blindsight/ferret.hpp.  The first base comes from SoftSpokenOT with k = 8; every
iteration sets aside the base of the next.

Adversary: semi-honest.  Assumption: LPN over F_2 with regular noise for `STANDARD` (10-local code), whose cost to the attacks known
`estimate` gives: at least 2^140.  The attacks and where their costs come from:

- Gauss: the t block sums are parity checks, so k - t noise-free positions are guessed and one system of k - t unknowns is
  solved for each guess (exponent 2.8): Liu, Wang, Yang, Yu, "The hardness of LPN over any integer ring and field for PCG
  applications" (EUROCRYPT 2024).
- Stern for regular noise: p noisy positions are admitted among the guessed and found by matching two lists on l more positions:
  Esser and Santini, "Not just regular decoding" (CRYPTO 2024), the enumeration attack, at the price of Gauss above a guess
  and l bit operations a list entry (theirs is higher).
- Statistical decoding with low-weight parity checks: Liu et al., the bound for ideal checks.
- The algebraic attack on regular noise of Briaud and Oygarden (EUROCRYPT 2023): e_a e_b = 0 within a block.  Counted in favour of
  the attacker: linear equations eliminated first (k - t unknowns), u positions of every block guessed zero, the system
  taken as semi-regular over F_2, solved at the first degree D whose Macaulay matrix has full rank by sparse linear algebra,
  300 C(k - t - u t, D)^2 operations (rows of the local code make about 100 terms, three operations each).

By this count the parameters (n, k, t) = (10485760, 452000, 1280) often shipped are worth 2^108, (10180608, 124000, 4971) 2^74.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np

from blindsight import _native
from blindsight.channel import Channel
from blindsight.fixed.rng import Rng
from blindsight.ot import softspoken


@dataclass(frozen=True)
class Parameters:
    """LPN with n = trees * 2^depth samples, one noisy in each block of 2^depth, and a secret of k bits."""

    trees: int
    depth: int
    k: int

    @property
    def n(self) -> int:
        return self.trees << self.depth


STANDARD = Parameters(trees=1024, depth=11, k=163840)
_BASE_K = 8


def estimate(p: Parameters) -> dict[str, float]:
    """log2 of the operations of each attack known (module docstring)."""
    return estimate_lpn(p.n, p.k, p.trees)


def estimate_lpn(n: int, k: int, t: int) -> dict[str, float]:
    """The same for n samples, k unknowns and t noisy positions, one in each block of n / t."""
    k -= t
    stern = min(_stern(n, k, t, p) for p in range(0, 20, 2))
    statistical = math.log2(k + 1) + 2 * t * math.log2((n - 2 * t + 1) / (n - k - 2 * t))
    return {
        "gauss": _stern(n, k, t, 0),
        "stern": stern,
        "statistical": statistical,
        "algebraic": _algebraic(n, k, t),
    }


def _stern(n: int, k: int, t: int, p: int) -> float:
    """p = 0 is Gauss; else the best l."""
    half = math.log2(math.comb(t // 2, p // 2))
    best, solve = math.inf, k**2.8
    for l in range(1 if p else 0, 140 if p else 1):
        known = (k + l) / t  # guessed positions of a block
        if known >= n / t:
            break
        entries = half + p / 2 * math.log2(known)
        luck = 2 * half + p * math.log2(known * t / n) + (t - p) * math.log2(1 - known * t / n)
        best = min(best, math.log2(solve + l * (2 * 2**entries + 2 ** (2 * entries - l))) - min(luck, 0))
    return best


def _algebraic(n: int, k: int, t: int, steps: int = 400) -> float:
    block, best = n // t, math.inf
    for step in range(steps + 1):
        guessed = block * (step / steps) ** 2 / 5  # positions of a block taken to be free of noise
        unknowns, rest = int(k - guessed * t), block - 1 - guessed
        if unknowns < 2:
            break
        equations = int(t * rest * (rest - 1) / 2)
        luck = -t * math.log2(1 - guessed / block)
        for degree in range(2, 6):
            if _hilbert(unknowns, equations, degree) <= 0:
                columns = math.log2(math.comb(unknowns, degree))
                best = min(best, 2 * columns + math.log2(300) + luck)
                break
    return best


def _hilbert(unknowns: int, equations: int, degree: int) -> int:
    """Coefficient of z^degree in (1 + z)^unknowns / (1 + z^2)^equations: what a semi-regular system over F_2 leaves free."""
    terms = (
        (-1) ** j * math.comb(unknowns, degree - 2 * j) * math.comb(equations + j - 1, j)
        for j in range(degree // 2 + 1)
    )
    return sum(terms)


@dataclass
class Ends:
    """This party's two ends, as `softspoken.Ends`."""

    send: _native.FerretSender
    receive: _native.FerretReceiver
    sender_speaks = True


def _keys(session: bytes, sender: int) -> np.ndarray:
    """Public AES keys of the pads' hash, the trees and the code: others for every session and direction."""
    digests = [
        hashlib.sha256(b"blindsight/1 ferret " + name + session + bytes([sender])).digest()
        for name in (b"pad", b"tree", b"code")
    ]
    return np.frombuffer(b"".join(d[:16] for d in digests), np.uint8)


def set_up(channel: Channel, p: Parameters, rng: Rng) -> Ends:
    """Base OT, SoftSpoken, and from it the first base of both directions: three rounds, about 0.35 MB each way.

    Raises:
        ProtocolError: the peer does not follow the protocol.
    """
    me, peer = channel.party, 1 - channel.party
    base = softspoken.set_up(channel, _BASE_K, rng, odd_delta=True)
    size, secret = (p.trees, p.depth, p.k), np.frombuffer(rng.bytes(16), np.uint8)
    send = _native.FerretSender(*size, _keys(channel.session, me), base.delta, secret)
    receive = _native.FerretReceiver(*size, _keys(channel.session, peer))
    message = np.empty(base.receive.message_bytes(receive.base_columns, 1), np.uint8)
    receive.base(base.receive, message)
    send.base(base.send, channel.exchange(message, message.nbytes))
    return Ends(send, receive)
