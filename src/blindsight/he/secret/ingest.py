"""The helper's side of ingest: device keys, and decryption of what the cloud has masked (DESIGN section 2).

Holds RLWE secrets. Adversary: the cloud, semi-honest, with any set of devices; it sees ciphertexts under keys it does
not have (IND-CPA under ring-LWE, N = 1024, log q = 26, ternary secrets; Lyubashevsky, Peikert, Regev, Eurocrypt 2013).
The helper itself sees only c1 and c0 + R: exactly uniform pixels. Each device has its own key pair, expanded from the
random root of its epoch (`helper.keys`); `b` is made once under its public `a` and never again, so a key is created
once and stored or recreated from the same seed to the same bytes.

Constant time: sampling and transform are the C core's; numpy's adds and remainders do not branch on values. What runs
on the helper alone is not observable by the adversary above except in time.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from blindsight import _device
from blindsight.he.ingest import DELTA, MASKED_BITS, Q, Shares, Words, share, unpack
from blindsight.wire.blocks import C1_BITS, DEGREE, KEY_COEFFICIENTS, Layout, Mode
from blindsight.wire.errors import WireError

_SECRET, _SECRET_ERROR, _PUBLIC_SEED = 16, 17, 19  # purposes of docs/wire.md section 2
_C1_DROPPED = 8


def _small_ntt(values: npt.NDArray[np.int32]) -> Words:
    """NTT of small secret integers, which are overwritten; no copy of them stays behind."""
    lift = values >> 31
    lift &= Q
    values += lift
    out: Words = _device.ntt(values.view(np.uint32))
    values.fill(0)
    lift.fill(0)
    return out


class SecretKey:
    """A ternary secret s of the device ring, held as its NTT.

    `seed`: the device RLWE secret seed (`rlwe`) or the shared RLWE secret seed (`rlwe-sk`), 32 bytes.
    """

    def __init__(self, seed: bytes) -> None:
        self._ntt = _small_ntt(_device.sample_ternary(seed, _SECRET, 0))

    def phase(self, c0: Words, c1_ntt: Words) -> Words:
        """c0 + c1*s mod q for the first c0.size coefficients; c1 in the NTT domain."""
        out: Words = _device.multiply(c1_ntt, self._ntt)[: c0.size]
        out += c0  # in place: c1*s gives s away to who knows c1
        out %= np.uint32(Q)
        return out

    def wipe(self) -> None:
        """Overwrites s."""
        self._ntt[:] = 0


def public_key(seed: bytes) -> bytes:
    """pk.bin (3,360 bytes) of a device RLWE secret seed: public seed of a || NTT(b) at 26 bits, b = -(a*s + e).

    The same seed always gives the same bytes: there is never a second b under one a.
    """
    s = _small_ntt(_device.sample_ternary(seed, _SECRET, 0))
    e = _small_ntt(_device.sample_error(seed, _SECRET_ERROR, 0))
    a_seed = _device.stream(seed, _PUBLIC_SEED, 0, 32)
    sums = _device.sample_uniform(a_seed).astype(np.uint64)
    sums *= s  # in place: a*s without e gives s away
    sums += e
    sums %= np.uint64(Q)  # -b, public
    for secret in (s, e):
        secret.fill(0)
    b = (np.uint64(Q) - sums) % np.uint64(Q)
    return a_seed + _device.pack(b.astype(np.uint32), MASKED_BITS)


def _c1_ntt(mode: Mode, head: bytes) -> Words:
    """The c1 of one polynomial, NTT domain: expanded from its seed, or unpacked with half a step added back."""
    if mode is Mode.RLWE_SK:
        return _device.sample_uniform(head)
    c1 = (unpack(head, DEGREE, C1_BITS) << np.uint32(_C1_DROPPED)) + np.uint32(1 << (_C1_DROPPED - 1))
    return _device.ntt(c1 % np.uint32(Q))


def open_masked(layout: Layout, data: bytes, key: SecretKey) -> tuple[Shares, bytes | None]:
    """(the helper's shares a, the result-key bytes or None) of the masked polynomials the cloud sent.

    a is uint16 (pixels,), below 1,024; the rest as `decrypt_masked`.
    """
    values, key_bytes = decrypt_masked(layout, data, key)
    return share(values), key_bytes


def decrypt_masked(layout: Layout, data: bytes, key: SecretKey) -> tuple[Words, bytes | None]:
    """(v, the result-key bytes or None): v = delta*x + e + floor(delta/2) + R mod q, uint32 (pixels,), uniform in Z_q.

    `data`: docs/wire.md section 7, exactly layout's length. The 32 key bytes exist in `rlwe` mode only; they are the
    device's, unmasked, and known to the helper alone. Check manifest HMAC and c1 hashes before calling this. Raises
    `WireError` for wrong lengths, fill, or a coefficient not below q.
    """
    if layout.mode is Mode.AES:
        raise ValueError("`aes` pictures have no polynomials; use keystream_share")
    values = np.empty(layout.pixels, np.uint32)
    key_bytes: bytes | None = None
    span = layout.key_span
    for i, poly in enumerate(layout.split_masked(data)):
        c0 = unpack(poly[layout.head_bytes :], layout.used(i), MASKED_BITS)
        if (c0 >= Q).any():
            raise WireError(f"polynomial {i}: a coefficient is not below q")
        v = key.phase(c0, _c1_ntt(layout.mode, poly[: layout.head_bytes]))
        values[i * DEGREE : (i + 1) * DEGREE] = v[: layout.pixels_in(i)]
        if span is not None and span.poly == i:
            raw = v[span.start : span.start + KEY_COEFFICIENTS]
            key_bytes = ((raw + np.uint32(DELTA // 2)) // np.uint32(DELTA)).astype(np.uint8).tobytes()
    return values, key_bytes


def keystream_share(layout: Layout, key: bytes, nonce: bytes) -> npt.NDArray[np.uint8]:
    """`aes`: the helper's boolean share of the pixels, uint8 (pixels,): AES-128-CTR keystream of the picture.

    `key`: 16 bytes of `wire.keys.aes_key`; `nonce`: 12 bytes of the manifest.
    """
    if layout.mode is not Mode.AES:
        raise ValueError("only `aes` pictures have a keystream; use open_masked")
    return np.frombuffer(_device.aes_ctr(key, nonce, 0, bytes(layout.pixels)), np.uint8)
