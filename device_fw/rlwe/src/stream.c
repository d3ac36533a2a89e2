/* ChaCha20 (RFC 8439) as the one source of pseudo-randomness. */
#include "internal.h"

#if defined(__ARM_ARCH_7EM__) || defined(__ARM_ARCH_8M_MAIN__)
#define BS_LAZY_ROTATION 1
#else
#define BS_LAZY_ROTATION 0
#endif

static inline uint32_t rotl(uint32_t v, unsigned n)
{
    return v << n | v >> (32 - n);
}

#if BS_LAZY_ROTATION
/* Thumb-2 rotates a second operand for nothing, so b and d are kept with their last rotation pending (7 and 8 to the
 * left): eight instructions a quarter round instead of twelve. The compiler would share each rotation instead. */
#define QUARTER(a, b, c, d)                                                                                            \
    __asm__("add %0, %0, %1, ror #25\n\teor %3, %0, %3, ror #24\n\t"                                                   \
            "add %2, %2, %3, ror #16\n\teor %1, %2, %1, ror #25\n\t"                                                   \
            "add %0, %0, %1, ror #20\n\teor %3, %0, %3, ror #16\n\t"                                                   \
            "add %2, %2, %3, ror #24\n\teor %1, %2, %1, ror #20"                                                       \
            : "+r"(a), "+r"(b), "+r"(c), "+r"(d))
#define PEND_B(v) rotl(v, 25)
#define PEND_D(v) rotl(v, 24)
#define DONE_B(v) rotl(v, 7)
#define DONE_D(v) rotl(v, 8)
#else
#define QUARTER(a, b, c, d)                                                                                            \
    do {                                                                                                               \
        a += b, d = rotl(d ^ a, 16);                                                                                   \
        c += d, b = rotl(b ^ c, 12);                                                                                   \
        a += b, d = rotl(d ^ a, 8);                                                                                    \
        c += d, b = rotl(b ^ c, 7);                                                                                    \
    } while (0)
#define PEND_B(v) (v)
#define PEND_D(v) (v)
#define DONE_B(v) (v)
#define DONE_D(v) (v)
#endif

void bs_chacha_init(bs_chacha *c, const uint8_t seed[BS_SEED_BYTES], uint32_t purpose, uint32_t index)
{
    c->s[0] = 0x61707865u;
    c->s[1] = 0x3320646eu;
    c->s[2] = 0x79622d32u;
    c->s[3] = 0x6b206574u;
    for (unsigned i = 0; i < 8; i++) {
        c->s[4 + i] = bs_load32(seed + 4 * i);
    }
    c->s[12] = 0;
    c->s[13] = purpose;
    c->s[14] = index;
    c->s[15] = 0;
}

static void block(const uint32_t *s, uint32_t *o)
{
    uint32_t x0 = s[0], x1 = s[1], x2 = s[2], x3 = s[3];
    uint32_t x4 = PEND_B(s[4]), x5 = PEND_B(s[5]), x6 = PEND_B(s[6]), x7 = PEND_B(s[7]);
    uint32_t x8 = s[8], x9 = s[9], xa = s[10], xb = s[11];
    uint32_t xc = PEND_D(s[12]), xd = PEND_D(s[13]), xe = PEND_D(s[14]), xf = PEND_D(s[15]);
    for (unsigned i = 0; i < 10; i++) {
        QUARTER(x0, x4, x8, xc);
        QUARTER(x1, x5, x9, xd);
        QUARTER(x2, x6, xa, xe);
        QUARTER(x3, x7, xb, xf);
        QUARTER(x0, x5, xa, xf);
        QUARTER(x1, x6, xb, xc);
        QUARTER(x2, x7, x8, xd);
        QUARTER(x3, x4, x9, xe);
    }
    o[0] = x0 + s[0], o[1] = x1 + s[1], o[2] = x2 + s[2], o[3] = x3 + s[3];
    o[4] = DONE_B(x4) + s[4], o[5] = DONE_B(x5) + s[5], o[6] = DONE_B(x6) + s[6], o[7] = DONE_B(x7) + s[7];
    o[8] = x8 + s[8], o[9] = x9 + s[9], o[10] = xa + s[10], o[11] = xb + s[11];
    o[12] = DONE_D(xc) + s[12], o[13] = DONE_D(xd) + s[13], o[14] = DONE_D(xe) + s[14], o[15] = DONE_D(xf) + s[15];
}

void bs_chacha_words(bs_chacha *c, uint32_t *out, size_t blocks)
{
    for (; blocks; blocks--, out += 16) {
        block(c->s, out);
        c->s[12]++;
    }
}

bs_status bs_stream(const uint8_t seed[BS_SEED_BYTES], uint32_t purpose, uint32_t index, uint8_t *out, size_t size)
{
    bs_chacha c;
    uint32_t words[16];
    if (!seed || (!out && size)) {
        return BS_ERR_ARGUMENT;
    }
    bs_chacha_init(&c, seed, purpose, index);
    while (size) {
        size_t n = size < 64 ? size : 64;
        bs_chacha_words(&c, words, 1);
        for (size_t i = 0; i < n; i++) {
            out[i] = (uint8_t)(words[i / 4] >> (8 * (i % 4)));
        }
        out += n;
        size -= n;
    }
    bs_wipe(&c, sizeof c);
    bs_wipe(words, sizeof words);
    return BS_OK;
}
