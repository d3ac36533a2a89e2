"""Mode `rlwe`: public-key lattice encryption (encrypt.py says against whom)."""

from bsdev import kernels
from bsdev.encrypt import KEY_BYTES, N
from bsdev.keys import E0, E1, RESULT, U
from bsdev.ring import Ring


class Rlwe:
    """Public-key mode: c1 = a*u + e1 (18 bits a coefficient), c0 = b*u + e0 + delta*x (12 bits)."""

    nonce = bytes(12)

    def __init__(self, layout, stream, path):
        """path: pk.bin (seed of a || NTT(b) at 26 bits), checked to hold 3,360 bytes; it is read piece by
        piece."""
        self.layout = layout
        self.pixels = bytearray(N)
        self.ring = Ring(stream)
        self._file = open(path, "rb")
        self._a_seed = self._file.read(32)
        self.seed = self.base = None

    def begin(self, seed):
        self.seed = seed
        self.base = self.result_base(seed)

    def result_base(self, seed):
        """The 32 bytes that ride in the last polynomial."""
        return self.ring.stream.reset(seed, RESULT).take(KEY_BYTES)

    def first(self, k):
        """Packed c1 of polynomial k: 2,304 bytes, valid until the next call."""
        ring = self.ring
        ring.ternary(self.seed, U, k)
        ring.uniform(self._a_seed)
        ring.times_u()
        ring.error(self.seed, E1, k)
        return ring.packed(N, 8)

    def _load_b(self):
        """NTT(b) into x, 256 coefficients (832 bytes) at a time."""
        ring = self.ring
        words, chunk = memoryview(ring.x), memoryview(ring.noise)[:832]
        self._file.seek(32)
        for i in range(0, N, 256):
            if self._file.readinto(chunk) != 832:
                raise ValueError("pk.bin was cut short: provision the device again")
            kernels.unpack26(words[i : i + 256], chunk, 256)

    def second(self, k):
        """Packed c0 of polynomial k, whose pixels lie in `self.pixels`; call after first(k)."""
        ring = self.ring
        used = self.layout.used(k)
        at = self.layout.pixels_in(k)
        if used > at:
            self.pixels[at:used] = self.base
        self._load_b()
        ring.times_u()
        ring.error(self.seed, E0, k)
        kernels.add_pixels(ring.x, self.pixels, used)
        return ring.packed(used, 14)
