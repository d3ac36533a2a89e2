/* Samplers of docs/wire.md section 2: constant-time ternary and centred binomial, and the public uniform polynomial. */
#include "internal.h"

enum { GROUP_WORDS = 2 * BS_ETA, BATCH_WORDS = 16 * BS_BATCH };

void bs_sample_ternary(const uint8_t seed[BS_SEED_BYTES], uint32_t purpose, uint32_t index, int32_t out[BS_N])
{
    bs_chacha c;
    uint32_t words[BATCH_WORDS];
    bs_chacha_init(&c, seed, purpose, index);
    for (int32_t *end = out + BS_N; out != end;) {
        bs_chacha_words(&c, words, BS_BATCH);
        for (size_t i = 0; i < BATCH_WORDS; i += 2) {
            uint32_t lo = words[i], hi = words[i + 1];
            for (unsigned k = 0; k < 8; k++) {
                uint64_t low = (uint64_t)lo * 3;
                uint64_t high = (uint64_t)hi * 3 + (low >> 32);
                lo = (uint32_t)low;
                hi = (uint32_t)high;
                *out++ = (int32_t)(high >> 32) - 1;
            }
        }
    }
    bs_wipe(&c, sizeof c);
    bs_wipe(words, sizeof words);
}

/* Carry-save adder over 32 lanes: *sum and a, b become sum and carry. */
static inline uint32_t add3(uint32_t *sum, uint32_t a, uint32_t b)
{
    uint32_t t = *sum ^ a;
    uint32_t carry = (*sum & a) | (t & b);
    *sum = t ^ b;
    return carry;
}

/* Adds 6 words of weight one into the counters; returns nothing above weight 4 but through p4, p8. */
typedef struct {
    uint32_t p1, p2, p4, p8, p16, p32;
} counter;

/* Counts 14 words into the six bit planes of k (Harley-Seal tree: 14 = 7 full adders of weight one, and so on up). */
static inline void count14(counter *k, const uint32_t *w)
{
    uint32_t a = add3(&k->p1, w[0], w[1]), b = add3(&k->p1, w[2], w[3]);
    uint32_t fa = add3(&k->p2, a, b);
    a = add3(&k->p1, w[4], w[5]), b = add3(&k->p1, w[6], w[7]);
    uint32_t fb = add3(&k->p2, a, b);
    uint32_t ea = add3(&k->p4, fa, fb);
    a = add3(&k->p1, w[8], w[9]), b = add3(&k->p1, w[10], w[11]);
    fa = add3(&k->p2, a, b);
    a = add3(&k->p1, w[12], w[13]);
    fb = k->p2 & a;
    k->p2 ^= a;
    uint32_t eb = add3(&k->p4, fa, fb);
    a = add3(&k->p8, ea, eb);
    k->p32 ^= k->p16 & a;
    k->p16 ^= a;
}

/* a[j] += (number of words with bit j set) - eta, j = 0..31. */
static inline void add_group(const uint32_t w[GROUP_WORDS], int32_t *a)
{
    const uint32_t lanes = 0x01010101u;
    counter k = {0, 0, 0, 0, 0, 0};
    count14(&k, w);
    count14(&k, w + 14);
    count14(&k, w + 28);
    for (unsigned j = 0; j < 8; j++) { /* four coefficients a step: j, j + 8, j + 16, j + 24 */
        uint32_t v = ((k.p1 >> j) & lanes) | ((k.p2 >> j) & lanes) << 1 | ((k.p4 >> j) & lanes) << 2 |
                     ((k.p8 >> j) & lanes) << 3 | ((k.p16 >> j) & lanes) << 4 | ((k.p32 >> j) & lanes) << 5;
        a[j] += (int32_t)(v & 0xff) - BS_ETA;
        a[j + 8] += (int32_t)(v >> 8 & 0xff) - BS_ETA;
        a[j + 16] += (int32_t)(v >> 16 & 0xff) - BS_ETA;
        a[j + 24] += (int32_t)(v >> 24) - BS_ETA;
    }
}

void bs_add_error(const uint8_t seed[BS_SEED_BYTES], uint32_t purpose, uint32_t index, int32_t a[BS_N])
{
    bs_chacha c;
    uint32_t words[GROUP_WORDS - 1 + BATCH_WORDS];
    size_t at = 0, have = 0;
    bs_chacha_init(&c, seed, purpose, index);
    for (size_t i = 0; i < BS_N; i += 32) {
        if (have < GROUP_WORDS) {
            memmove(words, words + at, have * sizeof *words);
            bs_chacha_words(&c, words + have, BS_BATCH);
            have += BATCH_WORDS;
            at = 0;
        }
        add_group(words + at, a + i);
        at += GROUP_WORDS;
        have -= GROUP_WORDS;
    }
    bs_wipe(&c, sizeof c);
    bs_wipe(words, sizeof words);
}

void bs_mul_uniform(const uint8_t seed[BS_SEED_BYTES], const int32_t x[BS_N], int32_t out[BS_N])
{
    bs_chacha c;
    uint32_t words[BATCH_WORDS];
    bs_chacha_init(&c, seed, BS_P_UNIFORM, 0);
    for (size_t n = 0; n < BS_N;) {
        bs_chacha_words(&c, words, BS_BATCH);
        for (size_t i = 0; i < BATCH_WORDS && n < BS_N; i++) {
            uint32_t v = words[i] & 0x3ffffffu;
            if (v < BS_Q) { /* public */
                out[n] = bs_mul_mont(x[n], (int32_t)v);
                n++;
            }
        }
    }
}
