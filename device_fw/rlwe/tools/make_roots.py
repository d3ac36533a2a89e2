"""Prints src/roots.c: the constants of the transform, with their signed Shoup companions."""

N, Q = 1024, 67104769


def entry(w: int) -> str:
    """Centred multiplier and floor(w * 2^32 / q)."""
    w %= Q
    w -= Q if w > Q // 2 else 0
    return f"{{{w}, {(w << 32) // Q}}}"


def main() -> None:
    """Write the file to standard output."""
    psi = next(g for g in range(2, Q) if pow(g, N, Q) == Q - 1)
    roots = [pow(psi, int(f"{i:010b}"[::-1], 2), Q) for i in range(N)]
    scale = pow(2, 32, Q) * pow(N, -1, Q)
    print(
        f"/* Made by tools/make_roots.py. psi = {psi}, the smallest primitive 2,048-th root of unity mod q. */"
    )
    print('#include "internal.h"\n\n/* clang-format off */')
    print(f"const bs_root bs_scale = {entry(scale)};")
    print(f"const bs_root bs_scale_root = {entry(scale * roots[1])};\n")
    print("const bs_root bs_roots[BS_N] = {")
    for i in range(0, N, 4):
        print("    " + ", ".join(entry(w) for w in roots[i : i + 4]) + ",")
    print("};")


if __name__ == "__main__":
    main()
