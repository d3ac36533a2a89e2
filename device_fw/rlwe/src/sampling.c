/* Samplers of docs/wire.md section 2: constant-time ternary and centred binomial, and the public uniform polynomial. */
#include "internal.h"

enum { GROUP_WORDS = 2 * BS_ETA, BATCH_WORDS = 16 * BS_BATCH };

void bs_sample_ternary(const uint8_t seed[BS_SEED_BYTES], uint32_t purpose, uint32_t index, int32_t out[BS_N])
{
    const uint32_t three = (uint32_t)bs_opaque(3);
    bs_chacha c;
    uint32_t words[BATCH_WORDS];
    bs_chacha_init(&c, seed, purpose, index);
    for (int32_t *end = out + BS_N; out != end;) {
        bs_chacha_words(&c, words, BS_BATCH);
        for (size_t i = 0; i < BATCH_WORDS; i += 2) {
            uint32_t lo = words[i], hi = words[i + 1];
            for (unsigned k = 0; k < 8; k++) {
                uint32_t carry = bs_triple(&lo, 0, three);
                *out++ = (int32_t)bs_triple(&hi, carry, three) - 1;
            }
        }
    }
    bs_wipe(&c, sizeof c);
    bs_wipe(words, sizeof words);
}

/* Six bit planes of 32 counters. */
typedef struct {
    uint32_t p1, p2, p4, p8, p16, p32;
} counter;

/* Carry-save adder over 32 lanes: *plane becomes the sum bit of *plane + a + b, the carry is returned. */
static inline uint32_t add3(uint32_t *plane, uint32_t a, uint32_t b)
{
    uint32_t t = *plane ^ a;
    uint32_t carry = (*plane & a) | (t & b);
    *plane = t ^ b;
    return carry;
}

/* Adds 14 words to the counters, carries rippling up a Harley-Seal tree. */
static inline void count14(counter *k, const uint32_t *w)
{
    uint32_t a = add3(&k->p1, w[0], w[1]), b = add3(&k->p1, w[2], w[3]);
    uint32_t fours_a = add3(&k->p2, a, b);
    a = add3(&k->p1, w[4], w[5]), b = add3(&k->p1, w[6], w[7]);
    uint32_t fours_b = add3(&k->p2, a, b);
    uint32_t eights_a = add3(&k->p4, fours_a, fours_b);
    a = add3(&k->p1, w[8], w[9]), b = add3(&k->p1, w[10], w[11]);
    fours_a = add3(&k->p2, a, b);
    a = add3(&k->p1, w[12], w[13]);
    fours_b = k->p2 & a;
    k->p2 ^= a;
    uint32_t eights_b = add3(&k->p4, fours_a, fours_b);
    a = add3(&k->p8, eights_a, eights_b);
    k->p32 ^= k->p16 & a;
    k->p16 ^= a;
}

/* a[0], a[8], a[16], a[24] += the bytes of counts - eta. */
static inline void spread(int32_t *a, uint32_t counts)
{
    a[0] += (int32_t)(counts & 0xff) - BS_ETA;
    a[8] += (int32_t)(counts >> 8 & 0xff) - BS_ETA;
    a[16] += (int32_t)(counts >> 16 & 0xff) - BS_ETA;
    a[24] += (int32_t)(counts >> 24) - BS_ETA;
}

/* a[j] += (number of words with bit j set) - eta, j = 0..31. */
static inline void add_group(const uint32_t w[GROUP_WORDS], int32_t *a)
{
    const uint32_t pairs = 0x55555555u, fours = 0x33333333u, low = 0x0f0f0f0fu, high = 0x30303030u;
    counter k = {0, 0, 0, 0, 0, 0};
    count14(&k, w);
    count14(&k, w + 14);
    count14(&k, w + 28);
    /* planes to nibbles: p1, p2, p4, p8 come to hold the low four bits of counters 4i, 4i+1, 4i+2, 4i+3; p16 and p32
     * the high two bits of the even and the odd ones */
    bs_swap_bits(&k.p1, &k.p2, pairs, 1);
    bs_swap_bits(&k.p4, &k.p8, pairs, 1);
    bs_swap_bits(&k.p16, &k.p32, pairs, 1);
    bs_swap_bits(&k.p1, &k.p4, fours, 2);
    bs_swap_bits(&k.p2, &k.p8, fours, 2);
    spread(a, (k.p1 & low) | (k.p16 << 4 & high));
    spread(a + 1, (k.p2 & low) | (k.p32 << 4 & high));
    spread(a + 2, (k.p4 & low) | (k.p16 << 2 & high));
    spread(a + 3, (k.p8 & low) | (k.p32 << 2 & high));
    spread(a + 4, (k.p1 >> 4 & low) | (k.p16 & high));
    spread(a + 5, (k.p2 >> 4 & low) | (k.p32 & high));
    spread(a + 6, (k.p4 >> 4 & low) | (k.p16 >> 2 & high));
    spread(a + 7, (k.p8 >> 4 & low) | (k.p32 >> 2 & high));
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
    const bs_mont m = bs_mont_constants();
    bs_chacha c;
    uint32_t words[BATCH_WORDS];
    bs_chacha_init(&c, seed, BS_P_UNIFORM, 0);
    for (size_t n = 0; n < BS_N;) {
        bs_chacha_words(&c, words, BS_BATCH);
        for (size_t i = 0; i < BATCH_WORDS && n < BS_N; i++) {
            uint32_t v = words[i] & 0x3ffffffu;
            if (v < BS_Q) { /* public */
                out[n] = bs_mul_mont(x[n], (int32_t)v, m);
                n++;
            }
        }
    }
}
