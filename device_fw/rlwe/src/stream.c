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

#if defined(__GNUC__) && (defined(__aarch64__) || defined(__SSE2__) || defined(__ARM_NEON))
/* Four blocks at once, one a lane; the same code for NEON and SSE2. */
typedef uint32_t lanes __attribute__((vector_size(16)));

#define ROTL4(v, n) ((v) << (n) | (v) >> (32 - (n)))
#define QUARTER4(a, b, c, d)                                                                                           \
    do {                                                                                                               \
        a += b, d ^= a, d = ROTL4(d, 16);                                                                              \
        c += d, b ^= c, b = ROTL4(b, 12);                                                                              \
        a += b, d ^= a, d = ROTL4(d, 8);                                                                               \
        c += d, b ^= c, b = ROTL4(b, 7);                                                                               \
    } while (0)

static void four_blocks(const uint32_t *s, uint32_t *out)
{
    lanes x[16], start[16];
    for (unsigned i = 0; i < 16; i++) {
        start[i] = (lanes){s[i], s[i], s[i], s[i]};
    }
    start[12] += (lanes){0, 1, 2, 3};
    memcpy(x, start, sizeof x);
    for (unsigned i = 0; i < 10; i++) {
        QUARTER4(x[0], x[4], x[8], x[12]);
        QUARTER4(x[1], x[5], x[9], x[13]);
        QUARTER4(x[2], x[6], x[10], x[14]);
        QUARTER4(x[3], x[7], x[11], x[15]);
        QUARTER4(x[0], x[5], x[10], x[15]);
        QUARTER4(x[1], x[6], x[11], x[12]);
        QUARTER4(x[2], x[7], x[8], x[13]);
        QUARTER4(x[3], x[4], x[9], x[14]);
    }
    for (unsigned i = 0; i < 16; i++) {
        lanes y = x[i] + start[i];
        for (unsigned lane = 0; lane < 4; lane++) {
            out[16 * lane + i] = y[lane];
        }
    }
    bs_wipe(x, sizeof x);
    bs_wipe(start, sizeof start);
}
#define BS_FOUR_BLOCKS 1
#else
#define BS_FOUR_BLOCKS 0
#endif

void bs_chacha_words(bs_chacha *c, uint32_t *out, size_t blocks)
{
#if BS_FOUR_BLOCKS
    for (; blocks >= 4; blocks -= 4, out += 64) {
        four_blocks(c->s, out);
        c->s[12] += 4;
    }
#endif
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
