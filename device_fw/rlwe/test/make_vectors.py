"""Prints test/vectors.h: the known answers of tests/vectors/device_*.json as C arrays, for hosts and bare boards alike."""

import json
import sys
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[3] / "tests" / "vectors"


def load(name: str) -> dict:
    """One vector file."""
    return json.loads((SOURCE / f"device_{name}.json").read_text())


def array(name: str, data: bytes) -> str:
    """A byte array."""
    lines = [",".join(map(str, data[i : i + 40])) for i in range(0, len(data), 40)]
    return f"static const uint8_t {name}[{len(data)}] = {{\n" + ",\n".join(lines) + "};\n"


def words(name: str, values: list[int]) -> str:
    """An array of signed 32-bit integers."""
    lines = [",".join(map(str, values[i : i + 16])) for i in range(0, len(values), 16)]
    return f"static const int32_t {name}[{len(values)}] = {{\n" + ",\n".join(lines) + "};\n"


def lattice(kind: str, cases: list[dict]) -> str:
    """Cases of one lattice mode."""
    parts, rows = [], []
    for i, c in enumerate(cases):
        for field in ("values", "out"):
            parts.append(array(f"kat_{kind}{i}_{field}", bytes.fromhex(c[field])))
        v, o = f"kat_{kind}{i}_values", f"kat_{kind}{i}_out"
        rows.append(f"    {{{c['index']}u, {v}, sizeof {v}, {o}, sizeof {o}}}")
    return "".join(parts) + f"static const kat_case kat_{kind}[] = {{\n" + ",\n".join(rows) + "};\n"


def main() -> None:
    """Write the header to standard output."""
    out = [
        "/* Made by test/make_vectors.py from tests/vectors/device_*.json. */\n#ifndef VECTORS_H\n#define VECTORS_H\n"
    ]
    out.append("/* clang-format off */\n#include <stddef.h>\n#include <stdint.h>\n\n")
    out.append("typedef struct {\n    uint32_t index;\n    const uint8_t *values;\n    size_t count;\n")
    out.append("    const uint8_t *out;\n    size_t size;\n} kat_case;\n")
    stream, sampling, ntt = load("stream")["cases"][3], load("sampling"), load("ntt")
    rlwe, sk, aes = load("rlwe"), load("rlwe_sk"), load("aes")
    seed = bytes.fromhex(rlwe["cases"][0]["seed"])
    assert all(c["seed"] == seed.hex() for c in rlwe["cases"] + sk["cases"]) and stream["seed"] == seed.hex()
    assert (stream["purpose"], stream["index"]) == (7, 0xFFFFFFFF)
    out.append(array("kat_seed", seed) + array("kat_stream", bytes.fromhex(stream["bytes"])))
    out.append(array("kat_low_seed", bytes.fromhex(sampling["ternary"][0]["seed"])))
    out.append(
        words("kat_ternary", sampling["ternary"][0]["values"])
        + words("kat_error", sampling["error"][0]["values"])
    )
    out.append(words("kat_uniform", sampling["uniform"][0]["values"]))
    out.append(words("kat_ntt_in", ntt["cases"][0]["in"]) + words("kat_ntt_out", ntt["cases"][0]["out"]))
    out.append(array("kat_pk", bytes.fromhex(rlwe["pk"])) + lattice("rlwe", rlwe["cases"]))
    out.append(array("kat_sk_secret", bytes.fromhex(sk["secret_seed"])) + lattice("sk", sk["cases"]))
    case = aes["cases"]
    out.append(
        array("kat_aes_key", bytes.fromhex(case[0]["key"]))
        + array("kat_aes_nonce", bytes.fromhex(case[0]["nonce"]))
    )
    for c in case:
        c["index"], c["values"] = c["unit"], c["data"]
    out.append(lattice("aes", case))
    out.append("#endif\n")
    sys.stdout.write("".join(out))


if __name__ == "__main__":
    main()
