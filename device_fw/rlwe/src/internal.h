/* Shared by the files of the core; not part of the interface (the tests and the measurements include it). */
#ifndef BS_INTERNAL_H
#define BS_INTERNAL_H

#include <string.h>

#include "../include/bs_rlwe.h"

/* The constant-time test (test/test_ct.c) redefines this to tell valgrind that a value is public by design. */
#ifndef BS_DECLASSIFY
#define BS_DECLASSIFY(pointer, size) ((void)0)
#endif

/* For helpers whose constant arguments must fold. */
#if defined(__GNUC__)
#define BS_INLINE static inline __attribute__((always_inline))
#else
#define BS_INLINE static inline
#endif

enum { BS_DELTA = (BS_Q - 1) / 256, BS_ETA = 21, BS_BATCH = 4 };

/* Nothing below leaves the library; position-independent code then needs no offset table for it. */
#if defined(__GNUC__)
#pragma GCC visibility push(hidden)
#endif

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

/* A constant the compiler may not see through: it would turn each product with q into four shifts and adds, where every
 * core we serve multiplies in one instruction. */
static inline int32_t bs_opaque(int32_t constant)
{
#if defined(__GNUC__) && !defined(__AVX2__)
    __asm__("" : "+r"(constant));
#endif
    return constant;
}

#if defined(__ARM_NEON)
#define BS_NEON 1 /* ntt_neon.c instead of ntt.c */
#else
#define BS_NEON 0
#endif

/* High word of the signed product. Cores without an instruction for it (ESP8266, Cortex-M0+) get four 16-bit products
 * instead of a library call. */
#if (defined(__XTENSA__) && defined(__XTENSA_CALL0_ABI__)) || defined(__ARM_ARCH_6M__)
#define BS_SHORT_PRODUCTS 1
#else
#define BS_SHORT_PRODUCTS 0
#endif

static inline int32_t bs_mul_high(int32_t a, int32_t b)
{
#if BS_SHORT_PRODUCTS
    int32_t al = a & 0xffff, ah = a >> 16, bl = b & 0xffff, bh = b >> 16;
    int32_t u = ah * bl + (int32_t)((uint32_t)al * (uint32_t)bl >> 16);
    int32_t v = al * bh + (u & 0xffff);
    return ah * bh + (u >> 16) + (v >> 16);
#else
    return (int32_t)(((int64_t)a * b) >> 32);
#endif
}

/* v * w mod q as some value in (-q/4, 5q/4), for any v: the quotient estimate floor(v * ratio / 2^32) is at most one
 * and |v| / 2^32 off (Shoup's multiplication by a constant, signed). Two low products and one high one. q = BS_Q,
 * opaque. */
static inline int32_t bs_mul_root(int32_t v, bs_root r, int32_t q)
{
    uint32_t h = (uint32_t)bs_mul_high(v, r.ratio);
    return (int32_t)((uint32_t)v * (uint32_t)r.w - h * (uint32_t)q);
}

/* The two constants of Montgomery's product, opaque: q and its inverse mod 2^32 (negated where a multiply-accumulate
 * makes the sum cheaper than the difference). */
typedef struct {
    int32_t q, inverse;
} bs_mont;

#if defined(__ARM_ARCH_7EM__) || defined(__ARM_ARCH_8M_MAIN__)
static inline bs_mont bs_mont_constants(void)
{
    bs_mont m = {bs_opaque(BS_Q), bs_opaque(50327551)};
    return m;
}

/* a * b / 2^32 mod q, |result| <= |a * b| / 2^32 + q/2 (Montgomery, signed). */
static inline int32_t bs_mul_mont(int32_t a, int32_t b, bs_mont m)
{
    int64_t p = (int64_t)a * b;
    int32_t k = (int32_t)((uint32_t)p * (uint32_t)m.inverse);
    return (int32_t)((p + (int64_t)k * m.q) >> 32); /* SMULL, MUL, SMLAL */
}
#else
static inline bs_mont bs_mont_constants(void)
{
    bs_mont m = {bs_opaque(BS_Q), bs_opaque(-50327551)};
    return m;
}

static inline int32_t bs_mul_mont(int32_t a, int32_t b, bs_mont m)
{
    int32_t k = (int32_t)((uint32_t)a * (uint32_t)b * (uint32_t)m.inverse);
    return bs_mul_high(a, b) - bs_mul_high(k, m.q); /* the low words are equal: no borrow */
}
#endif

/* *x = 3 * *x + carry; returns what leaves at the top. Branch-free on cores without an add-with-carry, too. */
static inline uint32_t bs_triple(uint32_t *x, uint32_t carry, uint32_t three)
{
#if BS_SHORT_PRODUCTS
    uint32_t low = (*x & 0xffff) * three + carry;
    uint32_t high = (*x >> 16) * three + (low >> 16);
    *x = high << 16 | (low & 0xffff);
    return high >> 16;
#else
    uint64_t p = (uint64_t)*x * three + carry;
    *x = (uint32_t)p;
    return (uint32_t)(p >> 32);
#endif
}

/* x mod q as some value in about [-q/2, q/2]: q is 2^26 - 4095, so x / 2^26 is quotient enough. */
static inline int32_t bs_reduce(int32_t x, int32_t q)
{
    return x - ((x + (1 << 25)) >> 26) * q;
}

/* x mod q in [0, q), for -q < x < 2^31 - q: x + q = 2^26 * h + l leaves l + 4095 * h < 2q, less q again. */
static inline uint32_t bs_canonical(int32_t x, int32_t q)
{
    x -= ((x + q) >> 26) * q;
    return (uint32_t)(x + (q & (x >> 31)));
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

/* Exchanges the bits of *x under mask << shift with those of *y under mask. */
static inline void bs_swap_bits(uint32_t *x, uint32_t *y, uint32_t mask, unsigned shift)
{
    uint32_t t = ((*x >> shift) ^ *y) & mask;
    *y ^= t;
    *x ^= t << shift;
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
/* a: NTT order, |a| <= 2.5q; result: coefficients of a * 2^32, in (-7q/8, 5q/4): undoes one bs_mul_mont. */
void bs_intt(int32_t a[BS_N]);

void bs_sample_ternary(const uint8_t seed[BS_SEED_BYTES], uint32_t purpose, uint32_t index, int32_t out[BS_N]);
/* a[i] += centred-binomial error. */
void bs_add_error(const uint8_t seed[BS_SEED_BYTES], uint32_t purpose, uint32_t index, int32_t a[BS_N]);
/* out[i] = uniform_i * x[i] / 2^32, the uniform polynomial of a public seed. out may equal x. |x| < 2^30. */
void bs_mul_uniform(const uint8_t seed[BS_SEED_BYTES], const int32_t x[BS_N], int32_t out[BS_N]);
/* x[i] = b[i] * x[i] / 2^32, b at 26 bits a coefficient. Returns non-zero if some b[i] >= q. */
int bs_mul_packed(const uint8_t b[BS_PK_BYTES - BS_SEED_BYTES], int32_t x[BS_N]);
/* Pack (x mod q) >> d at width w, x > -q, the last byte zero-filled: c1 (d = 8, w = 18), c0 of `rlwe` (14, 12) and of
 * `rlwe-sk` (15, 11). */
void bs_pack_c1(const int32_t x[BS_N], uint8_t *out);
void bs_pack_c0(const int32_t *x, size_t count, uint8_t *out);
void bs_pack_sk(const int32_t *x, size_t count, uint8_t *out);

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif

#endif
