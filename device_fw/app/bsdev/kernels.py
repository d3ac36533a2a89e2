# ruff: noqa: F821 - ptr8, ptr16, ptr32, uint are viper types
"""The lattice arithmetic of one picture, in viper: no C, the same bits on 32- and 64-bit ports.

Ring: Z_q[X]/(X^1024 + 1), q = 67104769 = 2^26 - 2^12 + 1. A polynomial is an array of 1,024 unsigned 32-bit
words. Viper integers are as wide as the machine: wherever a sum may leave 32 bits the code masks it, so that
the high half a 64-bit port would keep never matters. Viper has no multiply-high: with v = vh * 2^15 + vl and
w' = wh * 2^16 + wl, (vh*wh >> 1) + (vh*wl >> 17) + (vl*wh >> 16) is floor(v*w' / 2^32) short by less than 3,
and no product leaves 31 bits.

Everything that touches u, s, an error or a pixel runs in constant time (masks, no branch, no table look-up
that depends on them). The one exception is the uniform sampler: its output `a` is public.

Viper functions take at most four arguments and keep only their first locals in registers.
"""

import micropython


@micropython.viper
def rounds(x: ptr32):
    """The 20 ChaCha rounds on 16 words, in place.

    Rows 1 to 3 are turned before and after each diagonal round, so that one piece of code with fixed offsets
    serves columns and diagonals. Bits above 32 are cut off where a right shift would bring them back.
    """
    a = uint(0)
    d = uint(0)
    b = uint(0)
    c = uint(0)
    mask = uint(1) << 16
    mask = (mask << 16) - uint(1)
    n = 20
    while n:
        k = 4
        while k:
            a = uint(x[0])
            b = uint(x[4])
            c = uint(x[8])
            d = uint(x[12])
            a = a + b
            d = (d ^ a) & mask
            d = (d << 16) | (d >> 16)
            c = c + d
            b = (b ^ c) & mask
            b = (b << 12) | (b >> 20)
            a = a + b
            d = (d ^ a) & mask
            d = (d << 8) | (d >> 24)
            c = c + d
            b = (b ^ c) & mask
            x[4] = int((b << 7) | (b >> 25))
            x[0] = int(a)
            x[8] = int(c)
            x[12] = int(d)
            x = ptr32(int(x) + 4)
            k -= 1
        x = ptr32(int(x) - 16)
        n -= 1
        y = ptr32(
            int(x) + 16 + ((n & 1) ^ 1) * 32
        )  # left by one: row 1 before a diagonal round, row 3 after it
        k = y[0]
        y[0] = y[1]
        y[1] = y[2]
        y[2] = y[3]
        y[3] = k
        y = ptr32(int(x) + 16 + (n & 1) * 32)  # the other of the two right by one
        k = y[3]
        y[3] = y[2]
        y[2] = y[1]
        y[1] = y[0]
        y[0] = k
        k = x[8]
        x[8] = x[10]
        x[10] = k
        k = x[9]
        x[9] = x[11]
        x[11] = k


@micropython.viper
def chacha(out: ptr32, state: ptr32, blocks: int):
    """`blocks` ChaCha20 key-stream blocks (RFC 8439) from `state` to `out`; the counter in word 12
    advances."""
    while blocks:
        i = 0
        while i < 16:
            out[i] = state[i]
            i += 1
        rounds(out)
        i = 0
        while i < 16:
            out[i] = out[i] + state[i]
            i += 1
        state[12] = state[12] + 1
        out = ptr32(int(out) + 64)
        blocks -= 1


@micropython.viper
def ntt(x: ptr32, v: int, h: int, w: ptr32):
    """Forward NTT in place: input [0, q), output [0, q) in bit-reversed order; v and h are scratch (pass 0,
    0).

    `w`: psi^brv(i). Shoup's companion floor(w * 2^32 / q) is, for every w below q = 2^26 - 2^12 + 1, (w << 6)
    + (w >> 8) - (w >> 20) + (w >> 22) - 2 and 1 to 3 more; the remainder stays below 4q, values below 8q <
    2^29 on the way.
    """
    q = 67104769
    q4 = 4 * q
    base = int(x)
    m = 1
    t4 = 2048
    while m < 1024:
        x = ptr32(base)
        i = m
        while i < 2 * m:
            wi = w[i]
            wl = (wi << 6) + (wi >> 8) - (wi >> 20) + (wi >> 22) - 2
            wh = (wl >> 16) & 0xFFFF
            wl = wl & 0xFFFF
            e = int(x) + t4
            while int(x) < e:
                y = ptr32(int(x) + t4)
                v = y[0]
                h = ((v >> 15) * wh >> 1) + ((v >> 15) * wl >> 17) + ((v & 0x7FFF) * wh >> 16)
                v = (v * wi - h * q) & 0x3FFFFFFF
                h = x[0] - q4
                h += (h >> 31) & q4
                x[0] = h + v
                y[0] = h - v + q4
                x = ptr32(int(x) + 4)
            x = ptr32(int(x) + t4)
            i += 1
        m <<= 1
        t4 >>= 1
    x = ptr32(base)
    e = base + 4096
    while int(x) < e:
        v = x[0] - q4
        v += (v >> 31) & q4
        v -= 2 * q
        v += (v >> 31) & (2 * q)
        v -= q
        x[0] = v + ((v >> 31) & q)
        x = ptr32(int(x) + 4)


@micropython.viper
def intt(x: ptr32, v: int, h: int, w: ptr32):
    """Inverse NTT in place, input and output [0, q); v and h are scratch (pass 0, 0).

    It reads the forward table backwards: psi^-brv(m+i) = -psi^brv(2m-1-i), the sign taken into the
    subtraction.
    """
    q = 67104769
    q4 = 4 * q
    base = int(x)
    m = 512
    t4 = 4
    while m:
        x = ptr32(base)
        i = 2 * m - 1
        while i >= m:
            wi = w[i]
            wl = (wi << 6) + (wi >> 8) - (wi >> 20) + (wi >> 22) - 2
            wh = (wl >> 16) & 0xFFFF
            wl = wl & 0xFFFF
            e = int(x) + t4
            while int(x) < e:
                y = ptr32(int(x) + t4)
                v = y[0]
                h = x[0] + v - q4
                v = v + v - h  # y - x + 4q
                x[0] = h + ((h >> 31) & q4)
                h = ((v >> 15) * wh >> 1) + ((v >> 15) * wl >> 17) + ((v & 0x7FFF) * wh >> 16)
                y[0] = (v * wi - h * q) & 0x3FFFFFFF
                x = ptr32(int(x) + 4)
            x = ptr32(int(x) + t4)
            i -= 1
        m >>= 1
        t4 <<= 1
    # times 1/1024 = 67039237, whose companion is 65472 << 16, then down to [0, q)
    x = ptr32(base)
    e = base + 4096
    while int(x) < e:
        v = x[0]
        h = ((v >> 15) * 65472 >> 1) + ((v & 0x7FFF) * 65472 >> 16)
        v = (v * 67039237 - h * q) & 0x3FFFFFFF
        v -= 2 * q
        v += (v >> 31) & (2 * q)
        v -= q
        x[0] = v + ((v >> 31) & q)
        x = ptr32(int(x) + 4)


@micropython.viper
def pmul(x: ptr32, y: ptr32):
    """x[i] = x[i] * y[i] mod q, inputs and outputs in [0, q).

    With h = floor(x*y / 2^26), within 3, the quotient by q = 2^26 - 2^12 + 1 is h + (h >> 14), at most one
    above and six below the true one: the remainder, one q added, lies in [0, 8q).
    """
    q = 67104769
    i = 0
    while i < 1024:
        v = x[i]
        w = y[i]
        wl = (w << 6) & 0xFFFF
        wh = w >> 10
        h = ((v >> 15) * wh >> 1) + ((v >> 15) * wl >> 17) + ((v & 0x7FFF) * wh >> 16)
        h = h + (h >> 14) - 1
        v = ((v * w - h * q) & 0x3FFFFFFF) - 4 * q
        v += (v >> 31) & (4 * q)
        v -= 2 * q
        v += (v >> 31) & (2 * q)
        v -= q
        x[i] = v + ((v >> 31) & q)
        i += 1


@micropython.viper
def ternary(dst: ptr32, stream: ptr16, words: int):
    """8 coefficients from each 8-byte word f: eight times the integer part of 3*f/2^64, minus 1, mod q."""
    q = 67104769
    while words:
        f0 = stream[0]
        f1 = stream[1]
        f2 = stream[2]
        f3 = stream[3]
        i = 0
        while i < 8:
            f0 = 3 * f0
            f1 = 3 * f1 + (f0 >> 16)
            f2 = 3 * f2 + (f1 >> 16)
            f3 = 3 * f3 + (f2 >> 16)
            v = (f3 >> 16) - 1
            dst[i] = v + ((v >> 31) & q)
            f0 = f0 & 0xFFFF
            f1 = f1 & 0xFFFF
            f2 = f2 & 0xFFFF
            f3 = f3 & 0xFFFF
            i += 1
        dst = ptr32(int(dst) + 32)
        stream = ptr16(int(stream) + 8)
        words -= 1


@micropython.viper
def add_error(dst: ptr32, stream: ptr32, groups: int):
    """Add a centred-binomial error (eta = 21) to 32 coefficients a group; 42 words of stream each.

    Bit-sliced: seven words go through four full adders into three planes, and these into six accumulators
    whose bit j counts the ones at bit j. Input [0, q), output [0, q).
    """
    q = 67104769
    while groups:
        p0 = 0
        p1 = 0
        p2 = 0
        p3 = 0
        p4 = 0
        p5 = 0
        k = 0
        while k < 6:
            a = stream[0]
            b = stream[1]
            c = stream[2]
            x = a ^ b
            s = x ^ c
            d = (a & b) | (c & x)
            a = stream[3]
            b = stream[4]
            x = s ^ a
            c = (s & a) | (b & x)
            s = x ^ b
            a = stream[5]
            b = stream[6]
            x = s ^ a
            e = (s & a) | (b & x)
            s = x ^ b
            x = c ^ d
            f = (c & d) | (e & x)
            e = x ^ e
            # the count of these seven words at a bit is s + 2e + 4f
            c = p0 & s
            p0 = p0 ^ s
            x = p1 ^ e
            d = (p1 & e) | (c & x)
            p1 = x ^ c
            x = p2 ^ f
            c = (p2 & f) | (d & x)
            p2 = x ^ d
            d = p3 & c
            p3 = p3 ^ c
            c = p4 & d
            p4 = p4 ^ d
            p5 = p5 ^ c
            stream = ptr32(int(stream) + 28)
            k += 1
        i = 0
        while i < 32:
            s = (
                ((p0 >> i) & 1)
                | (((p1 >> i) & 1) << 1)
                | (((p2 >> i) & 1) << 2)
                | (((p3 >> i) & 1) << 3)
                | (((p4 >> i) & 1) << 4)
                | (((p5 >> i) & 1) << 5)
            )
            s = dst[i] + s - 21
            s += (s >> 31) & q
            s -= q
            s += (s >> 31) & q
            dst[i] = s
            i += 1
        dst = ptr32(int(dst) + 128)
        groups -= 1


@micropython.viper
def add_pixels(dst: ptr32, pixels: ptr8, n: int):
    """dst[i] += delta * pixels[i] mod q for i < n, delta = (q - 1) / 256."""
    q = 67104769
    i = 0
    while i < n:
        v = dst[i] + 262128 * pixels[i] - q
        dst[i] = v + ((v >> 31) & q)
        i += 1


@micropython.viper
def negate(dst: ptr32):
    """dst[i] = -dst[i] mod q, inputs and outputs in [0, q)."""
    q = 67104769
    i = 0
    while i < 1024:
        v = 0 - dst[i]
        dst[i] = v + ((v >> 31) & q)
        i += 1


@micropython.viper
def take_uniform(dst: ptr32, done: int, stream: ptr32, words: int) -> int:
    """Append the words of `stream` that are below q after masking to 26 bits; returns how many `dst` holds
    now."""
    i = 0
    while i < words:
        v = stream[i] & 0x3FFFFFF
        if v < 67104769:
            if done < 1024:
                dst[done] = v
                done += 1
        i += 1
    return done


@micropython.viper
def unpack26(dst: ptr32, src: ptr8, n: int):
    """n values of 26 bits, n a multiple of 4 (four values in 13 bytes)."""
    i = 0
    while i < n:
        dst[i] = src[0] | (src[1] << 8) | (src[2] << 16) | ((src[3] & 3) << 24)
        dst[i + 1] = (src[3] >> 2) | (src[4] << 6) | (src[5] << 14) | ((src[6] & 15) << 22)
        dst[i + 2] = (src[6] >> 4) | (src[7] << 4) | (src[8] << 12) | ((src[9] & 63) << 20)
        dst[i + 3] = (src[9] >> 6) | (src[10] << 2) | (src[11] << 10) | (src[12] << 18)
        src = ptr8(int(src) + 13)
        i += 4


@micropython.viper
def pack(dst: ptr8, src: ptr32, n: int, drop: int) -> int:
    """The top 26 - drop bits of n coefficients as a little-endian bit stream; returns the bytes written."""
    base = int(dst)
    width = 26 - drop
    acc = 0
    bits = 0
    i = 0
    while i < n:
        acc = acc | ((src[i] >> drop) << bits)
        bits += width
        while bits >= 8:
            dst[0] = acc & 0xFF
            dst = ptr8(int(dst) + 1)
            acc >>= 8
            bits -= 8
        i += 1
    if bits:
        dst[0] = acc & 0xFF
        dst = ptr8(int(dst) + 1)
    return int(dst) - base


@micropython.viper
def xor(dst: ptr8, src: ptr8, n: int):
    """dst[i] ^= src[i] for i < n."""
    i = 0
    while i < n:
        dst[i] = dst[i] ^ src[i]
        i += 1
