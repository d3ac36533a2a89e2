/* Bit packing, and the product with the packed public key. */
#include "internal.h"

size_t bs_pack(const int32_t *x, size_t count, unsigned drop, unsigned width, uint8_t *out)
{
    const uint8_t *start = out;
    uint32_t bits = 0;
    unsigned held = 0; /* always below 8 here, so 8 + 18 bits fit */
    for (size_t i = 0; i < count; i++) {
        bits |= bs_canonical(x[i]) >> drop << held;
        for (held += width; held >= 8; held -= 8) {
            *out++ = (uint8_t)bits;
            bits >>= 8;
        }
    }
    if (held) {
        *out++ = (uint8_t)bits;
    }
    return (size_t)(out - start);
}

int bs_mul_packed(const uint8_t b[BS_PK_BYTES - BS_SEED_BYTES], int32_t x[BS_N])
{
    const uint32_t mask = 0x3ffffffu;
    uint32_t bad = 0;
    for (const int32_t *end = x + BS_N; x != end; x += 4, b += 13) { /* 4 coefficients = 104 bits */
        uint32_t w0 = bs_load32(b), w1 = bs_load32(b + 4), w2 = bs_load32(b + 8);
        uint32_t v[4] = {w0 & mask, (w0 >> 26 | w1 << 6) & mask, (w1 >> 20 | w2 << 12) & mask,
                         (w2 >> 14 | (uint32_t)b[12] << 18) & mask};
        for (unsigned i = 0; i < 4; i++) {
            bad |= (uint32_t)(BS_Q - 1) - v[i]; /* negative when v >= q */
            x[i] = bs_mul_mont(x[i], (int32_t)v[i]);
        }
    }
    return (int)(bad >> 31);
}
