"""Ideal functionalities: what each protocol computes, by a party trusted with both shares. INSECURE: for tests and
simulation alone.

Every class has the constructor of its protocol and `run(share of party 0, share of party 1)`. Given the same
shares as the protocol, the sum of the two results is the same, bit for bit, truncation included. Results are
dealt as (value, 0), so a twin is deterministic. Inputs are not checked against the protocols' ranges: outside
them twin and protocol may differ.
"""

from __future__ import annotations

import numpy as np

from blindsight.mpc import smooth
from blindsight.mpc.session import ring_vector
from blindsight.mpc.trunc import check_widths

Shares = tuple[np.ndarray, np.ndarray]


def _signed(x: np.ndarray, m: int) -> np.ndarray:
    """Two's complement of m bits as int64."""
    x = x.astype(np.int64) & ((1 << m) - 1)
    return np.where(x >> (m - 1) == 1, x - (1 << m), x)


def _dealt(value: np.ndarray) -> Shares:
    out = value.astype(np.int64).astype(np.uint32)
    return out, np.zeros_like(out)


def _ring(x0: np.ndarray, x1: np.ndarray) -> np.ndarray:
    if x0.dtype != np.uint32 or x1.dtype != np.uint32 or x0.shape != x1.shape:
        raise ValueError("two uint32 shares of one shape are needed")
    return x0 + x1


def _truncated(x0: np.ndarray, x1: np.ndarray, f: int, m: int) -> np.ndarray:
    """F_TR(f) to m bits, as signed int64."""
    ring_vector(x0), ring_vector(x1)
    lifted = x0 + np.uint32(1 << f) if f else x0
    return _signed((lifted >> np.uint32(f)) + (x1 >> np.uint32(f)), m)


class Truncate:
    """F_TR(f); the result is a number mod 2^m."""

    def __init__(self, f: int, m: int) -> None:
        check_widths(f, m)
        self.f, self.m = f, m

    def run(self, x0: np.ndarray, x1: np.ndarray) -> Shares:
        return _dealt(_truncated(x0, x1, self.f, self.m) & ((1 << self.m) - 1))


class ReLU(Truncate):
    """F_ReLU(f, m)."""

    def run(self, x0: np.ndarray, x1: np.ndarray) -> Shares:
        return _dealt(np.maximum(_truncated(x0, x1, self.f, self.m), 0))


class TruncateExtend:
    """F_TR(f), then F_EXT(m)."""

    def __init__(self, f: int, m: int, signed: bool = True) -> None:
        check_widths(f, m)
        self.f, self.m, self.signed = f, m, signed

    def run(self, x0: np.ndarray, x1: np.ndarray) -> Shares:
        return _dealt(_truncated(x0, x1, self.f, self.m))


class MaxPool:
    """F_MaxPool(f, m)."""

    def __init__(self, f: int, m: int, relu: bool, windows: np.ndarray) -> None:
        check_widths(f, m + 1)
        self.f, self.m, self.relu, self.windows = f, m, relu, np.asarray(windows)

    def run(self, x0: np.ndarray, x1: np.ndarray) -> Shares:
        lowest = 0 if self.relu else -(1 << (self.m - 1))
        z = np.append(_truncated(x0, x1, self.f, self.m + 1), lowest)
        best = z[self.windows].max(axis=1)
        return _dealt(np.maximum(best, 0) if self.relu else best)


class ArgMax:
    """The first index of the largest logit."""

    def __init__(self, count: int) -> None:
        self.count = count

    def run(self, x0: np.ndarray, x1: np.ndarray) -> Shares:
        return _dealt(np.argmax(_ring(x0, x1).view(np.int32), axis=1))


class TopK:
    """The indices of the k largest logits, largest first, lower index first among equals."""

    def __init__(self, count: int, k: int) -> None:
        if not 1 <= k <= count:
            raise ValueError(f"top-{k} of {count} classes: k is from 1 to the number of classes")
        self.count, self.k = count, k

    def run(self, x0: np.ndarray, x1: np.ndarray) -> Shares:
        order = np.argsort(-_ring(x0, x1).view(np.int32).astype(np.int64), axis=1, kind="stable")
        return _dealt(order[:, : self.k])


class PixelsFromMask:
    """x from b (cloud) and a (helper)."""

    def run(self, b: np.ndarray, a: np.ndarray) -> Shares:
        ring_vector(a, np.uint16), ring_vector(b, np.uint16)
        ia, ib = a.astype(np.int64), b.astype(np.int64)
        return _dealt((ia >> 2) - (ib >> 2) - (ia % 4 < ib % 4) + 256 * (ia < ib))


class PixelsFromXor:
    """x0 xor x1."""

    def run(self, x0: np.ndarray, x1: np.ndarray) -> Shares:
        ring_vector(x0, np.uint8), ring_vector(x1, np.uint8)
        return _dealt(x0 ^ x1)


class Mux:
    """b * x mod 2^m, b xor-shared."""

    def __init__(self, m: int) -> None:
        self.m = m

    def run(self, bit0: np.ndarray, bit1: np.ndarray, x0: np.ndarray, x1: np.ndarray) -> Shares:
        bit = np.unpackbits((bit0 ^ bit1).view(np.uint8), bitorder="little")[: len(x0)]
        return _dealt(_ring(x0, x1) * bit & np.uint32((1 << self.m) - 1))


class B2A:
    """bit << shift, the bit xor-shared."""

    def __init__(self, w: int = 32, sender: int = 0, shift: int = 0) -> None:
        self.w, self.shift = w, shift

    def run(self, bit0: np.ndarray, bit1: np.ndarray, n: int) -> Shares:
        bit = np.unpackbits((bit0 ^ bit1).view(np.uint8), bitorder="little")[:n]
        return _dealt(bit.astype(np.uint32) << np.uint32(self.shift))


class And:
    """x & y of xor-shared bits; the shares of the result are (x & y, 0)."""

    def __init__(self, w: int = 1) -> None:
        self.w = w

    def run(self, x0: np.ndarray, x1: np.ndarray, y0: np.ndarray, y1: np.ndarray) -> Shares:
        out = (x0 ^ x1) & (y0 ^ y1)
        return out, np.zeros_like(out)


class DReLU:
    """[x >= 0] of m-bit numbers given as shares `uint32`; the shares of the bits are (bits, 0)."""

    def __init__(self, m: int, sender: int = 0) -> None:
        self.m = m

    def run(self, x0: np.ndarray, x1: np.ndarray) -> Shares:
        bit = np.packbits(_signed(_ring(x0, x1), self.m) >= 0, bitorder="little")
        out = np.zeros(8 * ((len(x0) + 63) // 64), np.uint8)
        out[: len(bit)] = bit
        return out.view(np.uint64), np.zeros(len(out) // 8, np.uint64)


class Compare:
    """[a < b]; shares (bits, 0).  Takes a and b themselves, as `uint32`."""

    def __init__(self, leaves: tuple[int, ...], sender: int) -> None:
        self.width, self.sender = sum(leaves), sender

    def run(self, x0: np.ndarray, x1: np.ndarray) -> Shares:
        a, b = (x0, x1) if self.sender == 0 else (x1, x0)
        bit = np.packbits(a < b, bitorder="little")
        out = np.zeros(8 * ((len(a) + 63) // 64), np.uint8)
        out[: len(bit)] = bit
        return out.view(np.uint64), np.zeros(len(out) // 8, np.uint64)


class Clip:
    """min(max(F_TR(f)(x), low), high)."""

    def __init__(self, f: int, m: int, low: int, high: int) -> None:
        check_widths(f, m + 1)
        self.f, self.m, self.low, self.high = f, m, low, high

    def run(self, x0: np.ndarray, x1: np.ndarray) -> Shares:
        return _dealt(np.clip(_truncated(x0, x1, self.f, self.m), self.low, self.high))


class LeakyReLU:
    """x or slope * x, at `bits` more fractional bits."""

    def __init__(self, f: int, m: int, slope: float, bits: int = 8) -> None:
        self.f, self.m, self.slope, self.bits = f, m, round(slope * (1 << bits)), bits

    def run(self, x0: np.ndarray, x1: np.ndarray) -> Shares:
        x = _truncated(x0, x1, self.f, self.m)
        return _dealt(np.where(x >= 0, x << self.bits, x * self.slope))


class Smooth(smooth.Smooth):
    """The named function, rounded once; a run is within `units` of it."""

    def run(self, x0: np.ndarray, x1: np.ndarray) -> Shares:  # type: ignore[override]
        return _dealt(self.values(_truncated(x0, x1, self.lut.f, self.lut.m)))


class Softmax:
    """Probabilities, rounded; a run is within 2^-8."""

    def __init__(self, count: int, scale_in: int, scale_out: int = 14) -> None:
        self.scale_in, self.scale_out = scale_in, scale_out

    def run(self, x0: np.ndarray, x1: np.ndarray) -> Shares:
        x = _ring(x0, x1).view(np.int32) / 2.0**self.scale_in
        e = np.exp(x - x.max(axis=1, keepdims=True))
        return _dealt(np.rint(e / e.sum(axis=1, keepdims=True) * 2.0**self.scale_out))
