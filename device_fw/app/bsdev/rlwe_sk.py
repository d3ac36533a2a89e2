"""Mode `rlwe-sk`: lattice encryption under a secret shared with the helper (encrypt.py says against whom)."""

from bsdev import kernels
from bsdev.encrypt import N
from bsdev.keys import E0, PUBLIC, SECRET
from bsdev.ring import Ring


class RlweSk:
    """Secret-key mode: c1 is a fresh 32-byte seed, c0 = -a*s + e + delta*x (11 bits a coefficient)."""

    nonce = bytes(12)

    def __init__(self, layout, stream, shared_seed, result_base):
        self.layout = layout
        self.pixels = bytearray(N)
        self.ring = Ring(stream)
        self.ring.ternary(shared_seed, SECRET, 0)  # u holds NTT(s) for good
        self.base = result_base
        self.seed = self.public = None

    def begin(self, seed):
        self.seed = seed

    def result_base(self, seed):
        return self.base

    def first(self, k):
        """The public seed of polynomial k: 32 bytes."""
        self.public = self.ring.stream.reset(self.seed, PUBLIC, k).take(32)
        return self.public

    def second(self, k):
        ring = self.ring
        used = self.layout.used(k)
        ring.uniform(self.public)
        ring.times_u()
        kernels.negate(ring.x)
        ring.error(self.seed, E0, k)
        kernels.add_pixels(ring.x, self.pixels, used)
        return ring.packed(used, 15)
