"""Known answers of the device side, made from docs/wire.md alone.

A second, deliberately plain implementation (numpy, the NTT by its definition) of sections 1 to 3 of docs/wire.md; it shares
no line with the C core, the firmware or the servers, so that the vectors test them instead of repeating them. Not constant
time, never used outside tests. `python tests/vectors/make_device.py` rewrites every `device_*.json` beside it.

All byte strings are lower-case hex; polynomials are lists of integers in [0, q) unless a name says `ternary` or `error`
(small signed integers). NTT-domain lists are in the order of docs/wire.md section 3.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

Ints = npt.NDArray[np.int64]

N, Q, T = 1024, 67104769, 256
DELTA = (Q - 1) // T
ETA = 21


def stream(seed: bytes, purpose: int, index: int, count: int) -> bytes:
    """First `count` bytes of Stream(seed, purpose, index): ChaCha20 keystream, block counter from 0."""
    nonce = struct.pack("<IIII", 0, purpose, index, 0)
    return Cipher(algorithms.ChaCha20(seed, nonce), mode=None).encryptor().update(bytes(count))


def ternary(seed: bytes, purpose: int, index: int) -> Ints:
    """1,024 values in {-1, 0, 1}."""
    out = []
    for f in struct.unpack("<128Q", stream(seed, purpose, index, N)):
        for _ in range(8):
            f *= 3
            out.append((f >> 64) - 1)
            f &= (1 << 64) - 1
    return np.array(out, np.int64)


def error(seed: bytes, purpose: int, index: int) -> Ints:
    """1,024 centred-binomial values, eta = 21."""
    words = np.frombuffer(stream(seed, purpose, index, 168 * 32), "<u4").reshape(32, 42)
    bits = (words[:, :, None] >> np.arange(32, dtype=np.uint32)) & 1
    return bits.sum(axis=1, dtype=np.int64).reshape(N) - ETA


def uniform(seed: bytes, purpose: int = 18, index: int = 0) -> Ints:
    """1,024 values uniform mod q, already in the NTT domain."""
    words = np.frombuffer(stream(seed, purpose, index, 8192), "<u4").astype(np.int64) & ((1 << 26) - 1)
    return words[words < Q][:N]


def psi() -> int:
    """The smallest primitive 2,048-th root of unity mod q."""
    return next(g for g in range(2, Q) if pow(g, N, Q) == Q - 1)


def _matrix() -> Ints:
    powers = np.ones(2 * N, np.int64)
    for i in range(1, 2 * N):
        powers[i] = powers[i - 1] * PSI % Q
    order = np.array([int(f"{i:010b}"[::-1], 2) for i in range(N)])
    return powers[np.outer(2 * order + 1, np.arange(N)) % (2 * N)]


PSI = psi()
MATRIX = _matrix()


def ntt(a: Ints) -> Ints:
    """Entry i is the value of the polynomial at psi^(2*brv(i)+1)."""
    return (MATRIX * (a % Q) % Q).sum(axis=1) % Q


def intt(a: Ints) -> Ints:
    """The inverse: x_j = N^-1 * sum_i X_i * psi^-((2*brv(i)+1)*j)."""
    back = MATRIX.copy()
    back[:, 1:] = (Q - MATRIX[:, :0:-1]) % Q  # psi^-(o*j) = -psi^(o*(N-j)) for odd o
    return (back * (a % Q)[:, None] % Q).sum(axis=0) % Q * pow(N, -1, Q) % Q


def pack(values: Ints, width: int) -> bytes:
    """Little-endian bit stream, `width` bits a value."""
    bits = ((values[:, None] >> np.arange(width)) & 1).astype(np.uint8).reshape(-1)
    return np.packbits(bits, bitorder="little").tobytes()


def hkdf(ikm: bytes, info: bytes) -> bytes:
    """HKDF-SHA256, empty salt, 32 bytes."""
    prk = hmac.digest(bytes(32), ikm, "sha256")
    return hmac.digest(prk, info + b"\x01", "sha256")


def str8(text: str) -> bytes:
    """u8 length, then UTF-8."""
    raw = text.encode()
    return bytes([len(raw)]) + raw


def keygen(secret_seed: bytes) -> tuple[Ints, bytes]:
    """(s, pk.bin) from the device RLWE secret seed."""
    s = ternary(secret_seed, 16, 0)
    e = error(secret_seed, 17, 0)
    a_seed = stream(secret_seed, 19, 0, 32)
    b = (-(uniform(a_seed) * ntt(s) + ntt(e))) % Q
    return s, a_seed + pack(b, 26)


def unpack_pk(pk: bytes) -> tuple[Ints, Ints]:
    """(NTT(a), NTT(b))."""
    bits = np.unpackbits(np.frombuffer(pk[32:], np.uint8), bitorder="little").reshape(N, 26).astype(np.int64)
    return uniform(pk[:32]), (bits << np.arange(26)).sum(axis=1)


def _message(values: bytes) -> Ints:
    m = np.zeros(N, np.int64)
    m[: len(values)] = np.frombuffer(values, np.uint8)
    return m * DELTA


def rlwe_poly(pk: bytes, seed: bytes, index: int, values: bytes) -> bytes:
    """One polynomial on the wire in `rlwe` mode; `values` are the coefficients in use."""
    a, b = unpack_pk(pk)
    u = ntt(ternary(seed, 1, index))
    c0 = (intt(b * u) + error(seed, 2, index) + _message(values)) % Q
    c1 = (intt(a * u) + error(seed, 3, index)) % Q
    return pack(c1 >> 8, 18) + pack(c0[: len(values)] >> 14, 12)


def sk_poly(secret_seed: bytes, seed: bytes, index: int, values: bytes) -> bytes:
    """One polynomial on the wire in `rlwe-sk` mode."""
    a_seed = stream(seed, 7, index, 32)
    s = ntt(ternary(secret_seed, 16, 0))
    c0 = (-intt(uniform(a_seed) * s) + error(seed, 2, index) + _message(values)) % Q
    return a_seed + pack(c0[: len(values)] >> 15, 11)


def aes_ctr(key: bytes, nonce: bytes, unit: int, data: bytes) -> bytes:
    """AES-128-CTR from 16-byte unit number `unit` of the picture."""
    counter = nonce + struct.pack(">I", unit)
    return Cipher(algorithms.AES(key), modes.CTR(counter)).encryptor().update(data)


def slots(mode: str, pixels: bytes, key_bytes: bytes) -> list[bytes]:
    """What each polynomial carries: its coefficients in use (a 1,024-byte slice of pixels in `aes`)."""
    out = [pixels[i : i + N] for i in range(0, len(pixels), N)]
    if mode == "rlwe":
        if N - len(out[-1]) >= 32:
            out[-1] += key_bytes
        else:
            out.append(key_bytes)
    return out


def picture(
    mode: str, keys: dict[str, Any], seed: bytes, pixels: bytes, polys_per_block: int
) -> dict[str, Any]:
    """Every polynomial, block, commitment and c1 hash of one picture."""
    key_bytes, salt, nonce = stream(seed, 4, 0, 32), stream(seed, 5, 0, 32), stream(seed, 6, 0, 12)
    polys = []
    for i, values in enumerate(slots(mode, pixels, key_bytes)):
        if mode == "rlwe":
            polys.append(rlwe_poly(bytes.fromhex(keys["pk"]), seed, i, values))
        elif mode == "rlwe-sk":
            polys.append(sk_poly(bytes.fromhex(keys["shared_rlwe_secret_seed"]), seed, i, values))
        else:
            polys.append(aes_ctr(bytes.fromhex(keys["aes_key"]), nonce, 64 * i, values))
    groups = [polys[i : i + polys_per_block] for i in range(0, len(polys), polys_per_block)]
    blocks = [b"".join(g) for g in groups]
    c1_bytes = {"rlwe": 2304, "rlwe-sk": 32, "aes": 0}[mode]
    return {
        "mode": mode,
        "seed": seed.hex(),
        "pixels": pixels.hex(),
        "polys_per_block": polys_per_block,
        "key_bytes": key_bytes.hex() if mode == "rlwe" else "",
        "salt": salt.hex(),
        "nonce": nonce.hex() if mode == "aes" else "00" * 12,
        "blocks": [b.hex() for b in blocks],
        "commitments": [
            hashlib.sha256(salt + struct.pack("<H", i) + b).hexdigest() for i, b in enumerate(blocks)
        ],
        "c1_hashes": [hashlib.sha256(b"".join(p[:c1_bytes] for p in g)).hexdigest() for g in groups]
        if c1_bytes
        else [],
    }


def derivations(
    master: bytes, device: str, epoch: int, image_id: bytes, manifest_hash: bytes
) -> dict[str, Any]:
    """All keys of docs/wire.md section 1 for one device."""
    tail = str8(device) + struct.pack("<I", epoch)
    secret = hkdf(master, b"blindsight/1 device-secret" + tail)
    rlwe_seed = hkdf(master, b"blindsight/1 rlwe-secret" + tail)
    s, pk = keygen(rlwe_seed)
    result_info = b"blindsight/1 result" + str8(device) + image_id + manifest_hash
    base = hkdf(secret, b"blindsight/1 result-base")
    return {
        "master": master.hex(),
        "device": device,
        "epoch": epoch,
        "device_secret": secret.hex(),
        "rlwe_secret_seed": rlwe_seed.hex(),
        "manifest_key": hkdf(secret, b"blindsight/1 manifest").hex(),
        "aes_key": hkdf(secret, b"blindsight/1 aes")[:16].hex(),
        "shared_rlwe_secret_seed": hkdf(secret, b"blindsight/1 rlwe-sk").hex(),
        "result_base": base.hex(),
        "image_id": image_id.hex(),
        "manifest_hash": manifest_hash.hex(),
        "result_key": hkdf(base, result_info).hex(),
        "key_id_rlwe": hashlib.sha256(pk).digest()[:8].hex(),
        "key_id_secret": hashlib.sha256(b"blindsight/1 epoch" + tail).digest()[:8].hex(),
        "shard": hashlib.sha256(device.encode()).hexdigest()[0],
        "s": s.tolist(),
        "pk": pk.hex(),
    }


def _bytes(label: str, count: int) -> bytes:
    """Public test bytes with no structure."""
    return hashlib.shake_128(label.encode()).digest(count)


def _write(name: str, content: dict[str, Any]) -> None:
    path = Path(__file__).with_name(f"device_{name}.json")
    path.write_text(json.dumps(content, separators=(",", ":")).replace(',"', ',\n"') + "\n")


def main() -> None:
    """Write every file."""
    seed = bytes(range(32))
    other = _bytes("seed", 32)
    keys = derivations(_bytes("master", 32), "cam-01", 3, _bytes("image", 16), _bytes("manifest", 32))
    _write("keys", keys)
    pairs = [(seed, 1, 0), (seed, 2, 7), (other, 18, 0), (other, 7, 0xFFFFFFFF)]
    _write(
        "stream",
        {
            "cases": [
                {"seed": s.hex(), "purpose": p, "index": i, "bytes": stream(s, p, i, 200).hex()}
                for s, p, i in pairs
            ]
        },
    )
    _write(
        "sampling",
        {
            "ternary": [
                {"seed": s.hex(), "purpose": p, "index": i, "values": ternary(s, p, i).tolist()}
                for s, p, i in [(seed, 1, 0), (other, 16, 0)]
            ],
            "error": [
                {"seed": s.hex(), "purpose": p, "index": i, "values": error(s, p, i).tolist()}
                for s, p, i in [(seed, 2, 0), (other, 3, 5)]
            ],
            "uniform": [{"seed": s.hex(), "values": uniform(s).tolist()} for s in (seed, other)],
        },
    )
    big = uniform(seed, 18, 9)
    small = ternary(other, 1, 1)
    _write(
        "ntt",
        {
            "n": N,
            "q": Q,
            "psi": PSI,
            "roots": [int(pow(PSI, int(f"{i:010b}"[::-1], 2), Q)) for i in range(N)],
            "cases": [
                {"in": (x % Q).tolist(), "out": ntt(x).tolist()}
                for x in (big, small, np.eye(1, N, 1, dtype=np.int64)[0])
            ],
            "product": {
                "a": big.tolist(),
                "b": (small % Q).tolist(),
                "c": intt(ntt(big) * ntt(small)).tolist(),
            },
        },
    )
    pk, shared, aes = (bytes.fromhex(keys[k]) for k in ("pk", "shared_rlwe_secret_seed", "aes_key"))
    cases = [(0, _bytes("full", N)), (1, _bytes("partly", 817)), (2, b"\xff" * 32), (0xFFFF, b"\x00")]
    _write(
        "rlwe",
        {
            "pk": pk.hex(),
            "cases": [
                {"seed": other.hex(), "index": i, "values": v.hex(), "out": rlwe_poly(pk, other, i, v).hex()}
                for i, v in cases
            ],
        },
    )
    _write(
        "rlwe_sk",
        {
            "secret_seed": shared.hex(),
            "cases": [
                {
                    "seed": other.hex(),
                    "index": i,
                    "values": v.hex(),
                    "out": sk_poly(shared, other, i, v).hex(),
                }
                for i, v in cases
            ],
        },
    )
    nonce = stream(other, 6, 0, 12)
    _write(
        "aes",
        {
            "cases": [
                {
                    "key": aes.hex(),
                    "nonce": nonce.hex(),
                    "unit": u,
                    "data": d.hex(),
                    "out": aes_ctr(aes, nonce, u, d).hex(),
                }
                for u, d in [
                    (0, _bytes("aes", N)),
                    (64, _bytes("tail", 61)),
                    (0xFFFFFFFE, bytes(32)),
                    (3, b"x"),
                ]
            ]
        },
    )
    rgb, gray = _bytes("rgb", 32 * 32 * 3), _bytes("gray", 28 * 28)
    _write(
        "picture",
        {
            "keys_of": "device_keys.json",
            "pictures": [
                picture("rlwe", keys, _bytes("p0", 32), rgb, 3),
                picture("rlwe", keys, _bytes("p1", 32), gray, 16),
                picture("rlwe-sk", keys, _bytes("p2", 32), rgb, 2),
                picture("rlwe-sk", keys, _bytes("p3", 32), gray, 16),
                picture("aes", keys, _bytes("p4", 32), rgb, 2),
                picture("aes", keys, _bytes("p5", 32), gray, 16),
            ],
        },
    )


if __name__ == "__main__":
    main()
