# MicroPython: no contextlib, no zip(strict)
# mypy: ignore-errors
# ruff: noqa: B905
"""Ed25519 verification (RFC 8032, section 5.1.7) in plain Python, small enough for a board.

Public inputs only, so nothing here is constant-time; never use it to sign. Cofactorless check [S]B = R + [k]A with S
below the group order, as most libraries do. Needs integers of any length (every port but the smallest).
"""

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT = pow(2, (P - 1) // 4, P)
BASE_Y = 4 * pow(5, P - 2, P) % P


def _sha512_constants() -> tuple:
    """The first 64 bits of the fractional parts of cube roots (K) and square roots (H) of primes (FIPS 180-4)."""

    def root(n: int, k: int) -> int:
        low, high = 0, 1 << 80
        while high - low > 1:
            mid = (low + high) >> 1
            if mid**k <= n << (64 * k):
                low = mid
            else:
                high = mid
        return low & 0xFFFFFFFFFFFFFFFF

    primes: list = []
    n = 2
    while len(primes) < 80:
        if all(n % p for p in primes):
            primes.append(n)
        n += 1
    return [root(p, 3) for p in primes], [root(p, 2) for p in primes[:8]]


def sha512(data: bytes) -> bytes:
    """SHA-512 (FIPS 180-4); MicroPython has none."""
    mask = 0xFFFFFFFFFFFFFFFF
    k, state = _sha512_constants()
    size = len(data)
    data = data + b"\x80" + bytes((111 - size) % 128) + (8 * size).to_bytes(16, "big")
    for at in range(0, len(data), 128):
        w = [int.from_bytes(data[at + 8 * i : at + 8 * i + 8], "big") for i in range(16)]
        for i in range(16, 80):
            x, y = w[i - 15], w[i - 2]
            s0 = ((x >> 1 | x << 63) ^ (x >> 8 | x << 56)) & mask ^ x >> 7
            s1 = ((y >> 19 | y << 45) ^ (y >> 61 | y << 3)) & mask ^ y >> 6
            w.append((w[i - 16] + s0 + w[i - 7] + s1) & mask)
        a, b, c, d, e, f, g, h = state
        for i in range(80):
            s1 = ((e >> 14 | e << 50) ^ (e >> 18 | e << 46) ^ (e >> 41 | e << 23)) & mask
            t = h + s1 + (e & f ^ ~e & g) + k[i] + w[i]
            s0 = ((a >> 28 | a << 36) ^ (a >> 34 | a << 30) ^ (a >> 39 | a << 25)) & mask
            u = s0 + (a & b ^ a & c ^ b & c)
            a, b, c, d, e, f, g, h = (t + u) & mask, a, b, c, (d + t) & mask, e, f, g
        state = [(x + y) & mask for x, y in zip(state, (a, b, c, d, e, f, g, h))]
    return b"".join([x.to_bytes(8, "big") for x in state])


def _add(p: tuple, q: tuple) -> tuple:
    """Extended coordinates (X, Y, Z, T), RFC 8032 section 5.1.4; complete, so it doubles as well."""
    a = (p[1] - p[0]) * (q[1] - q[0]) % P
    b = (p[1] + p[0]) * (q[1] + q[0]) % P
    c = 2 * p[3] * q[3] * D % P
    d = 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def _times(s: int, p: tuple) -> tuple:
    q = (0, 1, 1, 0)
    while s:
        if s & 1:
            q = _add(q, p)
        p = _add(p, p)
        s >>= 1
    return q


def _point(data: bytes) -> object:
    """The point of 32 bytes, None when they are none (or not in canonical form)."""
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & ((1 << 255) - 1)
    if y >= P:
        return None
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P:
        x = x * ROOT % P
    if (x * x - x2) % P or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = P - x
    return (x, y, 1, x * y % P)


def verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` (64 bytes) of `message` was made with the secret of `public` (32 bytes)."""
    if len(public) != 32 or len(signature) != 64:
        return False
    a, r = _point(public), _point(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= L:
        return False
    k = int.from_bytes(sha512(signature[:32] + public + message), "little") % L
    left = _times(s, _point(BASE_Y.to_bytes(32, "little")))
    right = _add(r, _times(k, a))
    return (left[0] * right[2] - right[0] * left[2]) % P == 0 and (
        left[1] * right[2] - right[1] * left[2]
    ) % P == 0
