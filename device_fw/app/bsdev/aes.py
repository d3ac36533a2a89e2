"""Mode `aes`: the cloud holds pixels XOR key stream, the helper the key (encrypt.py says against whom)."""

import cryptolib
import struct

from bsdev import kernels
from bsdev.encrypt import N
from bsdev.keys import NONCE


class AesCtr:
    """AES-128-CTR built from ECB, which every port has (boards run it in hardware); no expansion."""

    def __init__(self, layout, stream, key, result_base):
        self.layout = layout
        self.pixels = bytearray(N)
        self._out = bytearray(N)
        self._counters = bytearray(N)
        self._ecb = cryptolib.aes(key, 1)
        self.stream = stream
        self.base = result_base
        self.nonce = bytes(12)

    def begin(self, seed):
        self.nonce = self.stream.reset(seed, NONCE).take(12)

    def result_base(self, seed):
        return self.base

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
