"""The three ingest modes: one polynomial (or 1,024-byte slot) of a picture at a time, in RAM for one.

Adversary: whoever records the network, and the cloud. Assumption: ring-LWE for ternary secrets, N = 1024,
26-bit q (HomomorphicEncryption.org guideline of 2024, 128 bits) for `rlwe` and `rlwe-sk`, AES-128 for `aes`;
ChaCha20 expands the per-image seed. The encryption is BFV's (Fan and Vercauteren, eprint 2012/144, section 3)
with coefficient encoding; rounding the ciphertext is post-processing. A seed is used for one picture:
encrypting other pixels under the same seed leaks both, so the store keeps seed and pixels together.
"""

from bsdev.settings import RLWE, RLWE_SK

N = 1024
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


def cipher(layout, stream, cfg, keys):
    """(cipher of the layout's mode, name of the code behind it); only what is used is loaded.

    Where the C core is installed (`bsnative` of device_fw/natmod or usermod) the lattice modes run on it:
    same bytes.
    """
    if layout.mode not in (RLWE, RLWE_SK):
        from bsdev.aes import AesCtr

        return AesCtr(layout, stream, keys.shared, keys.base), "cryptolib"
    try:
        import bsnative
    except ImportError:
        bsnative = None
    if layout.mode == RLWE:
        if bsnative:
            return bsnative.Rlwe(layout, stream, cfg.read("pk.bin", 3360)), "native"
        from bsdev.rlwe import Rlwe

        return Rlwe(layout, stream, cfg.path("pk.bin")), "viper"
    if bsnative:
        return bsnative.RlweSk(layout, stream, keys.shared, keys.base), "native"
    from bsdev.rlwe_sk import RlweSk

    return RlweSk(layout, stream, keys.shared, keys.base), "viper"
