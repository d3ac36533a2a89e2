"""Known answers of the number-theoretic transform, from its definition alone, in plain Python integers.

Shares no line with the kernels. `python tests/vectors/make_ntt.py` rewrites every `ntt_*.json` beside it: the input is
the first N words of the ChaCha20 keystream with key `seed`, nonce `u32 purpose || u32 0 || u32 0` and counter 0, each
masked to the bits of q and kept when below q; `sha256` is over all outputs as little-endian u64.
"""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

RINGS = [(1024, 67104769), (2048, 1125844072267777), (4096, 1125899906826241), (4096, 1125852930654209)]
SEED = bytes(range(32))
PURPOSE = 32


def uniform(q: int, n: int) -> list[int]:
    """The input of a vector."""
    cipher = Cipher(algorithms.ChaCha20(SEED, struct.pack("<IIII", 0, PURPOSE, 0, 0)), mode=None)
    words = struct.unpack(f"<{2 * n}Q", cipher.encryptor().update(bytes(16 * n)))
    mask = (1 << q.bit_length()) - 1
    return [w & mask for w in words if w & mask < q][:n]


def smallest_root(n: int, q: int) -> int:
    """The least psi with psi^n = -1."""
    g = next(x for x in (pow(g, (q - 1) // (2 * n), q) for g in range(2, 1000)) if pow(x, n, q) == q - 1)
    return min(pow(g, k, q) for k in range(1, 2 * n, 2))


def reverse(i: int, bits: int) -> int:
    return int(format(i, f"0{bits}b")[::-1], 2)


def evaluate(f: list[int], points: list[int], q: int) -> list[int]:
    """f at points x with the property that the second half of them is minus the first (Cooley and Tukey)."""
    if len(f) == 1:
        return [f[0]] * len(points)
    half = len(points) // 2
    squares = [x * x % q for x in points[:half]]
    even, odd = evaluate(f[0::2], squares, q), evaluate(f[1::2], squares, q)
    low = [(e + x * o) % q for e, o, x in zip(even, odd, points, strict=False)]
    high = [(e - x * o) % q for e, o, x in zip(even, odd, points, strict=False)]
    return low + high


def transform(f: list[int], psi: int, q: int) -> list[int]:
    """Entry i is f(psi^(2 brv(i) + 1))."""
    n = len(f)
    values = evaluate(f, [pow(psi, 2 * i + 1, q) for i in range(n)], q)
    return [values[reverse(i, n.bit_length() - 1)] for i in range(n)]


def main() -> None:
    for n, q in RINGS:
        psi = smallest_root(n, q)
        out = transform(uniform(q, n), psi, q)
        vector = {
            "n": n,
            "q": q,
            "psi": psi,
            "seed": SEED.hex(),
            "purpose": PURPOSE,
            "every": n // 16,
            "outputs": out[:: n // 16],
            "sha256": hashlib.sha256(struct.pack(f"<{n}Q", *out)).hexdigest(),
        }
        Path(__file__).with_name(f"ntt_{n}_{q}.json").write_text(json.dumps(vector, indent=1) + "\n")


if __name__ == "__main__":
    main()
