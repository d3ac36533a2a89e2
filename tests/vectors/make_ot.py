"""Known answers of AES-128, SoftSpoken and Ferret OT extension, from definitions, sharing no line with the native core.

`python tests/vectors/make_ot.py` rewrites `aes.json`, `softspoken.json` and `ferret.json`.  AES comes from FIPS 197 and
NIST SP 800-38A (copied values) and from OpenSSL; the extensions follow native/include/blindsight/{prg,hash,pads,softspoken,ferret}.hpp
bit by bit with Python integers: slow and plain.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

HERE = Path(__file__).parent
FULL = (1 << 128) - 1


def aes(key: bytes, block: bytes) -> bytes:
    return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(block)


def stream(key: bytes, first: int, blocks: int) -> list[int]:
    """The leaf's stream: AES of the block number, little-endian, as integers of 128 bits (bit i = OT i of the block)."""
    counters = b"".join((first + i).to_bytes(16, "little") for i in range(blocks))
    out = aes(key, counters)
    return [int.from_bytes(out[16 * i : 16 * i + 16], "little") for i in range(blocks)]


def sigma(x: int) -> int:
    low, high = x & (2**64 - 1), x >> 64
    return high | (low ^ high) << 64


def hashed(s: bytes, x: int, index: int, domain: int) -> int:
    y = sigma(x) ^ (index | domain << 64)
    return int.from_bytes(aes(s, y.to_bytes(16, "little")), "little") ^ y


def low_bits(block: int, instance: int, w: int) -> int:
    return block >> 32 * (instance % 4) & ((1 << w) - 1)


class Reference:
    """Both ends of the extension from one set of leaves and one Delta."""

    def __init__(self, k: int, leaves: list[list[bytes]], delta: int, hash_key: bytes) -> None:
        self.k, self.leaves, self.delta, self.s = k, leaves, delta, hash_key

    def columns(self, blocks: int) -> tuple[list[list[int]], list[list[int]]]:
        """u[g][block] and v[row][block], rows g * k + b."""
        u, v = [], []
        for group in self.leaves:
            streams = [stream(key, 0, blocks) for key in group]
            u.append([0] * blocks)
            rows = [[0] * blocks for _ in range(self.k)]
            for x, r in enumerate(streams):
                for p in range(blocks):
                    u[-1][p] ^= r[p]
                    for b in range(self.k):
                        if x >> b & 1:
                            rows[b][p] ^= r[p]
            v += rows
        return u, v

    def run(self, k: int, w: int, pairs: int) -> dict[str, object]:
        """One array of 256 * pairs instances: message, choices, the receiver's pads, the sender's pads."""
        columns = pairs * k
        u, v = self.columns(2 * columns)
        message = b""
        for start in range(0, columns, 32 // k * k):  # chunk by chunk, group by group
            blocks = range(2 * start, 2 * min(columns, start + 32 // k * k))
            message += b"".join(
                (u[g][p] ^ u[0][p]).to_bytes(16, "little") for g in range(1, len(u)) for p in blocks
            )
        choices, got, pads = [], [], []
        for i in range(256 * pairs):
            pair, tile, r = i // 256, i % 256 // 128, i % 128
            keys, choice, numbers = [], 0, []
            for t in range(k):
                block = 2 * (pair * k + t) + tile
                number = 128 * 2 * (pair * k + t) + 128 * tile + r
                c = u[0][block] >> r & 1
                mine = sum((v[row][block] >> r & 1) << row for row in range(128))
                q = mine ^ (self.delta if c else 0)
                keys.append([hashed(self.s, q, number, 0), hashed(self.s, q ^ self.delta, number, 0)])
                choice |= c << t
                numbers.append(number)
            row = []
            for j in range(1 << k):
                key = 0
                for t in range(k):
                    key ^= keys[t][j >> t & 1]
                full = key if k == 1 else hashed(self.s, key, numbers[0], 1 << 32 | j)
                row.append(low_bits(full, r, w))
            choices.append(choice)
            pads.append(row)
            got.append(row[choice])
        return {
            "message": hashlib.sha256(message).hexdigest(),
            "choices": choices,
            "pads": pads,
            "received": got,
        }


class Ferret:
    """Both ends of Ferret on one direction of SoftSpoken: the receiver's strings and choices, and Delta, give everything."""

    def __init__(
        self, trees: int, depth: int, k: int, base: Reference, delta: int, keys: list[bytes], seed: bytes
    ) -> None:
        self.trees, self.depth, self.k, self.delta = trees, depth, k, delta
        self.pad_key, self.tree_key, self.code_key = keys
        self.seed, self.opened = seed, 0
        self.base_size = k + trees * depth
        u, v = base.columns(2 * ((self.base_size + 255) // 256))
        strings = []
        for i in range(self.base_size):
            block, r = i // 128, i % 128
            mine = sum((v[row][block] >> r & 1) << row for row in range(128))
            strings.append(mine & ~1 | (u[0][block] >> r & 1))  # bit 0 is the choice
        self.next_base = strings
        self.message = b""
        self.outputs = self._outputs()

    def _outputs(self) -> Iterator[int]:
        reserve = (self.base_size + (1 << self.depth) - 1) >> self.depth
        while True:
            base, following = self.next_base, []
            for tree in range(self.trees):
                strings = self._tree(base, tree)
                if tree < reserve:
                    following += strings
                    self.next_base = following
                else:
                    yield from strings

    def _hash(self, x: int) -> int:
        y = sigma(x)
        return int.from_bytes(aes(self.tree_key, y.to_bytes(16, "little")), "little") ^ y

    def _tree(self, base: list[int], tree: int) -> list[int]:
        """The receiver's strings of one tree; appends the sender's message."""
        first = int.from_bytes(aes(self.seed, self.opened.to_bytes(16, "little")), "little")
        self.opened += 1
        level = [first, first ^ self.delta]
        missing = 0
        for i in range(self.depth):
            if i:
                left = [self._hash(x) for x in level]
                level = left + [h ^ x for h, x in zip(left, level, strict=True)]
            total = 0
            for x in level[: len(level) // 2]:
                total ^= x
            mine = base[self.k + tree * self.depth + i]
            choice = mine & 1
            self.message += (total ^ mine ^ (self.delta if choice else 0)).to_bytes(16, "little")
            missing |= (1 - choice) << i
        out = []
        for j, leaf in enumerate(level):
            noisy = j == missing
            x = leaf & ~1 ^ (self.delta if noisy else 0)
            number = tree << self.depth | j
            words = aes(
                self.code_key, b"".join((number // 32 * 80 + b).to_bytes(16, "little") for b in range(80))
            )
            for t in range(10):
                at = 4 * (10 * (number % 32) + t)
                x ^= base[int.from_bytes(words[at : at + 4], "little") * self.k >> 32]
            out.append(x)
        return out

    def run(self, k: int, w: int, pairs: int, first: int) -> dict[str, object]:
        """As `Reference.run`; `first` is the number of OTs made before."""
        self.message = b""
        choices, got, pads = [], [], []
        for pair in range(pairs):
            columns = [[next(self.outputs) for _ in range(256)] for _ in range(k)]
            for i in range(256):
                numbers = [first + 256 * (pair * k + t) + i for t in range(k)]
                choice, keys = 0, []
                for t in range(k):
                    mine = columns[t][i]
                    choice |= (mine & 1) << t
                    q = mine ^ (self.delta if mine & 1 else 0)
                    keys.append([hashed(self.pad_key, x, numbers[t], 0) for x in (q, q ^ self.delta)])
                row = []
                for j in range(1 << k):
                    key = 0
                    for t in range(k):
                        key ^= keys[t][j >> t & 1]
                    row.append(
                        low_bits(
                            key if k == 1 else hashed(self.pad_key, key, numbers[0], 1 << 32 | j), i % 128, w
                        )
                    )
                choices.append(choice)
                pads.append(row)
                got.append(row[choice])
        return {
            "message": hashlib.sha256(self.message).hexdigest(),
            "choices": choices,
            "pads": pads,
            "received": got,
        }


def ferret_case() -> dict[str, object]:
    """Three draws in a row, long enough for a third iteration."""
    tag, (trees, depth, k) = "ferret", (5, 8, 300)
    raw = hashlib.shake_256(tag.encode()).digest(16 * (32 << 4) + 32 + 64)
    leaves = [[raw[16 * (g << 4 | x) :][:16] for x in range(16)] for g in range(32)]
    tail = raw[16 * (32 << 4) :]
    delta = int.from_bytes(tail[:16], "little") | 1
    keys = [tail[32 + 16 * i : 48 + 16 * i] for i in range(3)]
    ferret = Ferret(trees, depth, k, Reference(4, leaves, delta, tail[16:32]), delta, keys, tail[80:96])
    draws, made = [], 0
    for pad_k, w, pairs in [(1, 32, 2), (3, 2, 1), (2, 9, 2)]:
        out = ferret.run(pad_k, w, pairs, made)
        made += 256 * pad_k * pairs
        draws.append(
            {
                "k": pad_k,
                "w": w,
                "pairs": pairs,
                "message_sha256": out["message"],
                "choices_sha256": digest(out["choices"]),
                "pads_sha256": digest(out["pads"]),
                "received_sha256": digest(out["received"]),
            }
        )
    return {"seed": tag, "trees": trees, "depth": depth, "k": k, "draws": draws}


def digest(values: list[int] | list[list[int]]) -> str:
    flat = [x for row in values for x in (row if isinstance(row, list) else [row])]
    return hashlib.sha256(b"".join(x.to_bytes(4, "little") for x in flat)).hexdigest()


def softspoken_cases() -> list[dict[str, object]]:
    cases = []
    for ext, k, w, pairs in [
        (1, 1, 16, 1),
        (2, 1, 1, 3),
        (2, 4, 2, 9),
        (4, 2, 5, 2),
        (4, 3, 2, 2),
        (4, 4, 2, 1),
        (8, 1, 32, 1),
        (8, 8, 8, 1),
    ]:
        tag = f"softspoken {ext} {k} {w} {pairs}"
        groups = 128 // ext
        raw = hashlib.shake_256(tag.encode()).digest(16 * (groups << ext) + 32)
        leaves = [[raw[16 * (g << ext | x) :][:16] for x in range(1 << ext)] for g in range(groups)]
        delta, hash_key = raw[-32:-16], raw[-16:]
        out = Reference(ext, leaves, int.from_bytes(delta, "little"), hash_key).run(k, w, pairs)
        cases.append(
            {
                "seed": tag,
                "extension_k": ext,
                "k": k,
                "w": w,
                "pairs": pairs,
                "message_sha256": out["message"],
                "choices_sha256": digest(out["choices"]),
                "pads_sha256": digest(out["pads"]),
                "received_sha256": digest(out["received"]),
                "first_pads": out["pads"][0],
                "first_choice": out["choices"][0],
            }
        )
    return cases


def aes_cases() -> list[dict[str, str]]:
    nist = [
        (
            "FIPS 197 appendix C.1",
            "000102030405060708090a0b0c0d0e0f",
            "00112233445566778899aabbccddeeff",
            "69c4e0d86a7b0430d8cdb78070b4c55a",
        ),
        (
            "FIPS 197 appendix B",
            "2b7e151628aed2a6abf7158809cf4f3c",
            "3243f6a8885a308d313198a2e0370734",
            "3925841d02dc09fbdc118597196a0b32",
        ),
        (
            "SP 800-38A F.1.1",
            "2b7e151628aed2a6abf7158809cf4f3c",
            "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
            "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710",
            "3ad77bb40d7a3660a89ecaf32466ef97f5d3d58503b9699de785895a96fdbaaf"
            "43b1cd7f598ece23881b00e3ed0306887b0c785e27e8ad3f8223207104725dd4",
        ),
    ]
    cases = [{"source": s, "key": k, "plain": p, "cipher": c} for s, k, p, c in nist]
    for i in range(4):
        raw = hashlib.shake_256(f"aes {i}".encode()).digest(16 + 16 * (5 + 7 * i))
        cases.append(
            {
                "source": "OpenSSL",
                "key": raw[:16].hex(),
                "plain": raw[16:].hex(),
                "cipher": aes(raw[:16], raw[16:]).hex(),
            }
        )
    for case in cases:
        assert aes(bytes.fromhex(case["key"]), bytes.fromhex(case["plain"])).hex() == case["cipher"], case[
            "source"
        ]
    return cases


def main() -> None:
    (HERE / "aes.json").write_text(json.dumps(aes_cases(), indent=1) + "\n")
    (HERE / "ferret.json").write_text(json.dumps(ferret_case(), indent=1) + "\n")
    (HERE / "softspoken.json").write_text(json.dumps(softspoken_cases(), indent=1) + "\n")


if __name__ == "__main__":
    main()
