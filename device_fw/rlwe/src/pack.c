/* Bit packing, and the product with the packed public key. */
#include "internal.h"

/* Appends v to `held` pending bits (below 8) and stores the whole bytes; all shifts are constants where width is. */
BS_INLINE uint32_t put(uint8_t **out, uint32_t bits, unsigned held, uint32_t v, unsigned width)
{
    unsigned whole = (held + width) / 8; /* at most 3 */
    bits |= v << held;
    if (whole >= 1) {
        *(*out)++ = (uint8_t)bits;
        bits >>= 8;
    }
    if (whole >= 2) {
        *(*out)++ = (uint8_t)bits;
        bits >>= 8;
    }
    if (whole >= 3) {
        *(*out)++ = (uint8_t)bits;
        bits >>= 8;
    }
    return bits;
}

/* Eight values fill `width` bytes exactly, so a group starts on a byte. */
BS_INLINE void pack(const int32_t *x, size_t count, unsigned drop, unsigned width, uint8_t *out)
{
    const int32_t q = bs_opaque(BS_Q);
    uint32_t bits = 0;
    unsigned held = 0;
    for (; count >= 8; count -= 8, x += 8) {
        bits = put(&out, 0, 0, bs_canonical(x[0], q) >> drop, width);
        bits = put(&out, bits, 1 * width % 8, bs_canonical(x[1], q) >> drop, width);
        bits = put(&out, bits, 2 * width % 8, bs_canonical(x[2], q) >> drop, width);
        bits = put(&out, bits, 3 * width % 8, bs_canonical(x[3], q) >> drop, width);
        bits = put(&out, bits, 4 * width % 8, bs_canonical(x[4], q) >> drop, width);
        bits = put(&out, bits, 5 * width % 8, bs_canonical(x[5], q) >> drop, width);
        bits = put(&out, bits, 6 * width % 8, bs_canonical(x[6], q) >> drop, width);
        bits = put(&out, bits, 7 * width % 8, bs_canonical(x[7], q) >> drop, width);
    }
    for (bits = 0; count; count--, x++, held = (held + width) % 8) {
        bits = put(&out, bits, held, bs_canonical(*x, q) >> drop, width);
    }
    if (held) {
        *out = (uint8_t)bits;
    }
}

void bs_pack_c1(const int32_t x[BS_N], uint8_t *out)
{
    pack(x, BS_N, 8, 18, out);
}

void bs_pack_c0(const int32_t *x, size_t count, uint8_t *out)
{
    pack(x, count, 14, 12, out);
}

void bs_pack_sk(const int32_t *x, size_t count, uint8_t *out)
{
    pack(x, count, 15, 11, out);
}

int bs_mul_packed(const uint8_t b[BS_PK_BYTES - BS_SEED_BYTES], int32_t x[BS_N])
{
    const uint32_t mask = 0x3ffffffu;
    const bs_mont m = bs_mont_constants();
    uint32_t bad = 0;
    for (const int32_t *end = x + BS_N; x != end; x += 4, b += 13) { /* 4 coefficients = 104 bits */
        uint32_t w0 = bs_load32(b), w1 = bs_load32(b + 4), w2 = bs_load32(b + 8);
        uint32_t v[4] = {w0 & mask, (w0 >> 26 | w1 << 6) & mask, (w1 >> 20 | w2 << 12) & mask,
                         (w2 >> 14 | (uint32_t)b[12] << 18) & mask};
        for (unsigned i = 0; i < 4; i++) {
            bad |= (uint32_t)(BS_Q - 1) - v[i]; /* negative when v >= q */
            x[i] = bs_mul_mont(x[i], (int32_t)v[i], m);
        }
    }
    return (int)(bad >> 31);
}
