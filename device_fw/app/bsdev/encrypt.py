"""The three ingest modes: one polynomial (or 1,024-byte slot) of a picture at a time, in RAM for one.

Adversary: whoever records the network, and the cloud. Assumption: ring-LWE for ternary secrets, N = 1024, 26-bit q
(HomomorphicEncryption.org guideline of 2024, 128 bits) for `rlwe` and `rlwe-sk`, AES-128 for `aes`; ChaCha20 expands
the per-image seed. The encryption is BFV's (Fan and Vercauteren, eprint 2012/144, section 3) with coefficient
encoding; rounding the ciphertext is post-processing. A seed is used for one picture: encrypting other pixels under
the same seed leaks both, so the store keeps seed and pixels together.
"""

import struct
from array import array

from bsdev import kernels
from bsdev.keys import E0, E1, NONCE, PUBLIC, RESULT, SECRET, U, UNIFORM

N = 1024
Q = 67104769
PSI = 195478  # smallest primitive 2048-th root of unity mod q
RLWE, RLWE_SK, AES = 0, 1, 2
MODES = {"rlwe": RLWE, "rlwe-sk": RLWE_SK, "aes": AES}
KEY_BYTES = 32


class Layout:
    """How a picture of `pixels` bytes becomes polynomials and blocks (docs/wire.md, section 3)."""

    def __init__(self, mode, pixels, per_block):
        self.mode = mode
        self.pixels = pixels
        self.per_block = per_block
        self.polys = (pixels + N - 1) // N
        if mode == RLWE and self.polys * N - pixels < KEY_BYTES:
            self.polys += 1
        self.blocks = (self.polys + per_block - 1) // per_block

    def pixels_in(self, k):
        """Pixel bytes in polynomial k (0 in one that only carries the result key)."""
        return max(0, min(N, self.pixels - k * N))

    def used(self, k):
        """Coefficients of polynomial k that travel: pixels and, in `rlwe`, the result key in the last one."""
        return self.pixels_in(k) + (KEY_BYTES if self.mode == RLWE and k == self.polys - 1 else 0)

    def poly_bytes(self, k):
        if self.mode == RLWE:
            return 2304 + (self.used(k) * 12 + 7) // 8
        if self.mode == RLWE_SK:
            return 32 + (self.used(k) * 11 + 7) // 8
        return self.used(k)

    def block_polys(self, j):
        """The polynomial numbers of block j."""
        return range(j * self.per_block, min((j + 1) * self.per_block, self.polys))

    def block_bytes(self, j):
        return sum(self.poly_bytes(k) for k in self.block_polys(j))


class _Ring:
    """Tables, two polynomials and the stream buffer: everything the lattice modes work in, allocated once."""

    def __init__(self, stream):
        self.stream = stream
        self.u = array("I", bytes(4 * N))
        self.x = array("I", bytes(4 * N))
        self.w = array("I", bytes(4 * N))
        self.ws = array("I", bytes(4 * N))
        self.noise = bytearray(21 * 64)  # key stream of 256 error coefficients
        self.out = bytearray(2304)
        self.view = memoryview(self.out)
        p = 1
        for i in range(N):
            j, r = i, 0
            for _ in range(10):
                r = r << 1 | j & 1
                j >>= 1
            self.w[r] = p
            self.ws[r] = (p << 32) // Q
            p = p * PSI % Q

    def ternary(self, seed, purpose, index):
        """NTT of a ternary polynomial into u."""
        self.stream.reset(seed, purpose, index)
        self.stream.fill(self.noise, 16)
        kernels.ternary(self.u, self.noise, 128)
        kernels.ntt(self.u, self.w, self.ws)

    def uniform(self, seed):
        """The NTT-domain polynomial of a public seed into x."""
        self.stream.reset(seed, UNIFORM)
        done = 0
        while done < N:
            self.stream.fill(self.noise, 16)
            done = kernels.take_uniform(self.x, done, self.noise, 256)

    def times_u(self):
        """x = inverse NTT of x * u."""
        kernels.pmul(self.x, self.u)
        kernels.intt(self.x, self.w, self.ws)

    def error(self, seed, purpose, index):
        """x += a centred-binomial error."""
        self.stream.reset(seed, purpose, index)
        view = memoryview(self.x)
        for i in range(0, N, 256):
            self.stream.fill(self.noise, 21)
            kernels.add_error(view[i : i + 256], self.noise, 8)

    def packed(self, n, drop):
        return self.view[: kernels.pack(self.out, self.x, n, drop)]


class Rlwe:
    """Public-key mode: c1 = a*u + e1 (18 bits a coefficient), c0 = b*u + e0 + delta*x (12 bits)."""

    nonce = bytes(12)

    def __init__(self, layout, stream, public_key):
        """public_key: the 3,360 bytes of pk.bin (seed of a || NTT(b) at 26 bits)."""
        if len(public_key) != 3360:
            raise ValueError("pk.bin holds %d bytes, not 3360: provision the device again" % len(public_key))
        self.layout = layout
        self.pixels = bytearray(N)
        self._ring = _Ring(stream)
        self._a_seed = bytes(public_key[:32])
        self._b = memoryview(public_key)[32:]
        self._seed = self._base = None

    def begin(self, seed):
        self._seed = seed
        self._base = self.result_base(seed)

    def result_base(self, seed):
        """The 32 bytes that ride in the last polynomial."""
        return self._ring.stream.reset(seed, RESULT).take(KEY_BYTES)

    def first(self, k):
        """Packed c1 of polynomial k: 2,304 bytes, valid until the next call."""
        ring = self._ring
        ring.ternary(self._seed, U, k)
        ring.uniform(self._a_seed)
        ring.times_u()
        ring.error(self._seed, E1, k)
        return ring.packed(N, 8)

    def second(self, k):
        """Packed c0 of polynomial k, whose pixels lie in `self.pixels`; call after first(k)."""
        ring = self._ring
        used = self.layout.used(k)
        at = self.layout.pixels_in(k)
        if used > at:
            self.pixels[at:used] = self._base
        kernels.unpack26(ring.x, self._b)
        ring.times_u()
        ring.error(self._seed, E0, k)
        kernels.add_pixels(ring.x, self.pixels, used)
        return ring.packed(used, 14)


class RlweSk:
    """Secret-key mode: c1 is a fresh 32-byte seed, c0 = -a*s + e + delta*x (11 bits a coefficient)."""

    nonce = bytes(12)

    def __init__(self, layout, stream, shared_seed, result_base):
        self.layout = layout
        self.pixels = bytearray(N)
        self._ring = _Ring(stream)
        self._ring.ternary(shared_seed, SECRET, 0)  # u holds NTT(s) for good
        self._base = result_base
        self._seed = self._public = None

    def begin(self, seed):
        self._seed = seed

    def result_base(self, seed):
        return self._base

    def first(self, k):
        """The public seed of polynomial k: 32 bytes."""
        self._public = self._ring.stream.reset(self._seed, PUBLIC, k).take(32)
        return self._public

    def second(self, k):
        ring = self._ring
        used = self.layout.used(k)
        ring.uniform(self._public)
        ring.times_u()
        kernels.negate(ring.x)
        ring.error(self._seed, E0, k)
        kernels.add_pixels(ring.x, self.pixels, used)
        return ring.packed(used, 15)


class AesCtr:
    """AES-128-CTR built from ECB, which every port has (boards run it in hardware); no expansion."""

    def __init__(self, layout, stream, key, result_base):
        import cryptolib

        self.layout = layout
        self.pixels = bytearray(N)
        self._out = bytearray(N)
        self._counters = bytearray(N)
        self._ecb = cryptolib.aes(key, 1)
        self._stream = stream
        self._base = result_base
        self.nonce = bytes(12)

    def begin(self, seed):
        self.nonce = self._stream.reset(seed, NONCE).take(12)

    def result_base(self, seed):
        return self._base

    def first(self, k):
        return b""

    def second(self, k):
        """Ciphertext of slot k: as many bytes as it has pixels."""
        used = self.layout.used(k)
        counters, nonce = self._counters, self.nonce
        for i in range(N // 16):
            counters[16 * i : 16 * i + 12] = nonce
            struct.pack_into(">I", counters, 16 * i + 12, k * (N // 16) + i)
        self._ecb.encrypt(counters, self._out)
        kernels.xor(self._out, self.pixels, used)
        return memoryview(self._out)[:used]
