/* Shared by the files of the core; not part of the interface (the tests and the measurements include it). */
#ifndef BS_INTERNAL_H
#define BS_INTERNAL_H

#include <string.h>

#include "bs_rlwe.h"

/* The constant-time test (test/test_ct.c) redefines this to tell valgrind that a value is public by design. */
#ifndef BS_DECLASSIFY
#define BS_DECLASSIFY(pointer, size) ((void)0)
#endif

enum { BS_DELTA = (BS_Q - 1) / 256, BS_ETA = 21, BS_BATCH = 4 };

/* Purposes of docs/wire.md section 2. */
enum {
    BS_P_TERNARY = 1,
    BS_P_ERROR0 = 2,
    BS_P_ERROR1 = 3,
    BS_P_KEY = 4,
    BS_P_ASEED = 7,
    BS_P_SECRET = 16,
    BS_P_UNIFORM = 18
};

/* A multiplier w and floor(w * 2^32 / q), both signed; w centred. */
typedef struct {
    int32_t w;
    int32_t ratio;
} bs_root;

/* bs_roots[i] = psi^brv(i), i = 1..1023 (entry 0 is 1). */
extern const bs_root bs_roots[BS_N];
/* 2^32 / N mod q, and the same times bs_roots[1]. */
extern const bs_root bs_scale, bs_scale_root;

/* v * w mod q as some value in (-q/4, 5q/4), for any v: the quotient estimate floor(v * ratio / 2^32) is at most one and
 * |v| / 2^32 off (Shoup's multiplication by a constant, signed). Two low products and one high one. */
static inline int32_t bs_mul_root(int32_t v, int32_t w, int32_t ratio)
{
    int32_t h = (int32_t)(((int64_t)v * ratio) >> 32);
    return (int32_t)((uint32_t)v * (uint32_t)w - (uint32_t)h * (uint32_t)BS_Q);
}

/* a * b / 2^32 mod q, |result| <= |a * b| / 2^32 + q/2 (Montgomery, signed). */
static inline int32_t bs_mul_mont(int32_t a, int32_t b)
{
    int64_t p = (int64_t)a * b;
    int32_t k = (int32_t)((uint32_t)p * 50327551u); /* -q^-1 mod 2^32 */
    return (int32_t)((p + (int64_t)k * BS_Q) >> 32);
}

/* x mod q as some value in about [-q/2, q/2]: q is 2^26 - 4095, so x / 2^26 is quotient enough. */
static inline int32_t bs_reduce(int32_t x)
{
    return x - ((x + (1 << 25)) >> 26) * BS_Q;
}

/* x mod q in [0, q), for |x| < 2^31 - 2^26. */
static inline uint32_t bs_canonical(int32_t x)
{
    x -= (x >> 26) * BS_Q; /* now in (-2^17, 2^26 + 2^17) */
    x += BS_Q & (x >> 31);
    x -= BS_Q;
    x += BS_Q & (x >> 31);
    return (uint32_t)x;
}

static inline uint32_t bs_load32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline void bs_store32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
    p[2] = (uint8_t)(v >> 16);
    p[3] = (uint8_t)(v >> 24);
}

/* Zeroes memory in a way the compiler may not drop. */
static inline void bs_wipe(void *p, size_t size)
{
    memset(p, 0, size);
#if defined(__GNUC__)
    __asm__ volatile("" : : "r"(p) : "memory");
#endif
}

/* ChaCha20 state: constants, key, block counter, nonce. */
typedef struct {
    uint32_t s[16];
} bs_chacha;

void bs_chacha_init(bs_chacha *c, const uint8_t seed[BS_SEED_BYTES], uint32_t purpose, uint32_t index);
/* The next `blocks` keystream blocks as 16 words each (word i = little-endian bytes 4i..4i+3). */
void bs_chacha_words(bs_chacha *c, uint32_t *out, size_t blocks);

/* a: any |a| < q in coefficient order; result in NTT order, |x| < 14q. */
void bs_ntt(int32_t a[BS_N]);
/* a: NTT order, |a| <= 2.5q; result: coefficients of a * 2^32, in (-q/4, 5q/4): undoes one bs_mul_mont. */
void bs_intt(int32_t a[BS_N]);

void bs_sample_ternary(const uint8_t seed[BS_SEED_BYTES], uint32_t purpose, uint32_t index, int32_t out[BS_N]);
/* a[i] += centred-binomial error. */
void bs_add_error(const uint8_t seed[BS_SEED_BYTES], uint32_t purpose, uint32_t index, int32_t a[BS_N]);
/* out[i] = uniform_i * x[i] / 2^32, the uniform polynomial of a public seed. out may equal x. |x| < 2^30. */
void bs_mul_uniform(const uint8_t seed[BS_SEED_BYTES], const int32_t x[BS_N], int32_t out[BS_N]);
/* x[i] = b[i] * x[i] / 2^32, b at 26 bits a coefficient. Returns non-zero if some b[i] >= q. */
int bs_mul_packed(const uint8_t b[BS_PK_BYTES - BS_SEED_BYTES], int32_t x[BS_N]);
/* Packs (x mod q) >> drop, `width` bits each; the last byte zero-filled. Returns the number of bytes. */
size_t bs_pack(const int32_t *x, size_t count, unsigned drop, unsigned width, uint8_t *out);

#endif
