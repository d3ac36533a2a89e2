"""The three ingest modes on the C core, for MicroPython: from the user module `bsrlwe` or the native `_bsnative.mpy`.

Same interface, formats and security as bsdev's own (viper) modes: `pixels` is filled, then first(k) gives the head of
polynomial k (packed c1, seed, nothing) and second(k) its packed c0 or ciphertext, both valid until the next first().
Importing this raises ImportError where neither binding is there or its interface is another version: use viper then.
"""

from array import array

try:
    from bsrlwe import call
except ImportError:
    try:
        from _bsnative import call
    except ValueError as e:  # a .mpy of another architecture or version
        raise ImportError("_bsnative: " + str(e))

OP_VERSION, OP_RLWE, OP_SK_EXPAND, OP_SK, OP_AES = range(5)
RLWE, RLWE_SK, AES = range(3)
N = 1024
OUT = 32 + N
RESULT, NONCE = 4, 6
PK_BYTES = 3360

_job = array("I", (OP_VERSION, 0, 0, 0))
call(_job, bytearray(4), bytearray(OUT + 3840), bytearray(4))
if _job[0] != 1:
    raise ImportError("the native core speaks another version of its interface")


class Mode:
    """What the three share: one data buffer (seed, pixels, output) and the job words."""

    head = 0

    def __init__(self, layout, stream, memory):
        self.layout = layout
        self.stream = stream
        self._data = bytearray(OUT + 3840)
        self._view = memoryview(self._data)
        self._memory = bytearray(memory)
        self._job = array("I", (0, 0, 0, 0))
        self.pixels = self._view[32:OUT]
        self.nonce = bytes(12)
        self.base = None

    def begin(self, seed):
        self._data[:32] = seed

    def result_base(self, seed):
        return self.base

    def _call(self, operation, key, index, count, with_key):
        job = self._job
        job[0], job[1], job[2], job[3] = operation, index, count, with_key
        call(job, key, self._data, self._memory)
        if job[0]:
            raise ValueError("the native core refused: status " + str(job[0] - (1 << 32)))

    def first(self, k):
        """Encrypts polynomial k, whose pixels lie in `pixels`; returns its head."""
        self._encrypt(k)
        return self._view[OUT : OUT + self.head]

    def second(self, k):
        return self._view[OUT + self.head : OUT + self.layout.poly_bytes(k)]


class Rlwe(Mode):
    """Public-key mode; `key`: the 3,360 bytes of pk.bin."""

    head = 2304

    def __init__(self, layout, stream, key):
        if len(key) != PK_BYTES:
            raise ValueError("pk.bin was cut short: provision the device again")
        super().__init__(layout, stream, 8192)
        self._key = key

    def result_base(self, seed):
        return self.stream.reset(seed, RESULT).take(32)

    def _encrypt(self, k):
        layout = self.layout
        self._call(OP_RLWE, self._key, k, layout.pixels_in(k), layout.used(k) != layout.pixels_in(k))


class RlweSk(Mode):
    """Secret-key mode; the shared seed is expanded once."""

    head = 32

    def __init__(self, layout, stream, shared_seed, result_base):
        super().__init__(layout, stream, 4096)
        self.base = result_base
        self._secret = bytearray(4096)
        self._data[:32] = shared_seed
        self._call(OP_SK_EXPAND, self._secret, 0, 0, 0)
        self._data[:32] = bytes(32)

    def _encrypt(self, k):
        self._call(OP_SK, self._secret, k, self.layout.used(k), 0)


class AesCtr(Mode):
    """AES-128-CTR, bitsliced: for boards whose firmware has neither CTR nor hardware."""

    def __init__(self, layout, stream, key, result_base):
        super().__init__(layout, stream, 4)
        self.base = result_base
        self._key = bytes(key)

    def begin(self, seed):
        self.nonce = self.stream.reset(seed, NONCE).take(12)
        self._data[:12] = self.nonce

    def _encrypt(self, k):
        self._call(OP_AES, self._key, k * (N // 16), self.layout.used(k), 0)
