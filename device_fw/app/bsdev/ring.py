"""Tables, two polynomials and the stream buffer: everything the lattice modes work in, allocated once."""

from array import array

from bsdev import kernels
from bsdev.keys import UNIFORM

N = 1024
Q = 67104769
PSI = 195478  # smallest primitive 2048-th root of unity mod q


class Ring:
    """u and x: 1,024 words each; noise: 1,344 bytes of key stream; out: one packed half of a polynomial."""

    def __init__(self, stream):
        self.stream = stream
        self.u = array("I", bytes(4 * N))
        self.x = array("I", bytes(4 * N))
        self.w = array("I", bytes(4 * N))
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
            p = p * PSI % Q

    def ternary(self, seed, purpose, index):
        """NTT of a ternary polynomial into u."""
        self.stream.reset(seed, purpose, index)
        self.stream.fill(self.noise, 16)
        kernels.ternary(self.u, self.noise, 128)
        kernels.ntt(self.u, 0, 0, self.w)

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
        kernels.intt(self.x, 0, 0, self.w)

    def error(self, seed, purpose, index):
        """x += a centred-binomial error."""
        self.stream.reset(seed, purpose, index)
        view = memoryview(self.x)
        for i in range(0, N, 256):
            self.stream.fill(self.noise, 21)
            kernels.add_error(view[i : i + 256], self.noise, 8)

    def packed(self, n, drop):
        return self.view[: kernels.pack(self.out, self.x, n, drop)]
