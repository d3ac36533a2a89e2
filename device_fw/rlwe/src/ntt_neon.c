/* The transform of ntt.c on NEON, four butterflies at once: same layers, same results mod q.
 *
 * vqrdmulh gives the rounded high product with half the ratio, so a product lies within 7q/8 of zero instead of between
 * -q/4 and 5q/4; the bounds of ntt.c hold. The passes next to stride one load four groups of four de-interleaved, so
 * that a lane is a group with its own roots. */
#include "internal.h"

#if BS_NEON
#include <arm_neon.h>

typedef struct {
    int32x4_t w, half_ratio;
} roots4;

static inline roots4 all(bs_root r)
{
    roots4 out = {vdupq_n_s32(r.w), vdupq_n_s32(r.ratio >> 1)};
    return out;
}

static inline int32x4_t mul_root(int32x4_t v, roots4 r, int32x4_t q)
{
    return vmlsq_s32(vmulq_s32(v, r.w), vqrdmulhq_s32(v, r.half_ratio), q);
}

static inline void butterfly(int32x4_t *x, int32x4_t *y, roots4 r, int32x4_t q)
{
    int32x4_t t = mul_root(*y, r, q);
    *y = vsubq_s32(*x, t);
    *x = vaddq_s32(*x, t);
}

static inline void inverse_butterfly(int32x4_t *x, int32x4_t *y, roots4 r, int32x4_t q)
{
    int32x4_t t = vsubq_s32(*y, *x);
    *x = vaddq_s32(*x, *y);
    *y = mul_root(t, r, q);
}

static inline int32x4_t reduce(int32x4_t x, int32x4_t q)
{
    return vmlsq_s32(x, vrshrq_n_s32(x, 26), q);
}

static inline void forward(int32x4_t x[4], roots4 r1, roots4 r2, roots4 r3, int32x4_t q)
{
    butterfly(&x[0], &x[2], r1, q);
    butterfly(&x[1], &x[3], r1, q);
    butterfly(&x[0], &x[1], r2, q);
    butterfly(&x[2], &x[3], r3, q);
}

static inline void inverse(int32x4_t x[4], roots4 r1, roots4 r2, roots4 r3, int32x4_t q)
{
    inverse_butterfly(&x[0], &x[1], r2, q);
    inverse_butterfly(&x[2], &x[3], r3, q);
    inverse_butterfly(&x[0], &x[2], r1, q);
    inverse_butterfly(&x[1], &x[3], r1, q);
    x[0] = reduce(x[0], q);
}

static inline void load(int32x4_t x[4], const int32_t *a, size_t t)
{
    for (unsigned i = 0; i < 4; i++) {
        x[i] = vld1q_s32(a + i * t);
    }
}

static inline void store(const int32x4_t x[4], int32_t *a, size_t t)
{
    for (unsigned i = 0; i < 4; i++) {
        vst1q_s32(a + i * t, x[i]);
    }
}

/* Roots of four neighbouring groups: i..i+3 and their children 2i..2i+7, even and odd. */
static inline void group_roots(size_t i, roots4 *r, roots4 *even, roots4 *odd)
{
    int32x4x2_t own = vld2q_s32(&bs_roots[i].w);
    int32x4x4_t child = vld4q_s32(&bs_roots[2 * i].w);
    r->w = own.val[0], r->half_ratio = vshrq_n_s32(own.val[1], 1);
    even->w = child.val[0], even->half_ratio = vshrq_n_s32(child.val[1], 1);
    odd->w = child.val[2], odd->half_ratio = vshrq_n_s32(child.val[3], 1);
}

static inline roots4 reversed(roots4 r)
{
    int32x4_t w = vrev64q_s32(r.w), h = vrev64q_s32(r.half_ratio);
    roots4 out = {vextq_s32(w, w, 2), vextq_s32(h, h, 2)};
    return out;
}

void bs_ntt(int32_t a[BS_N])
{
    const int32x4_t q = vdupq_n_s32(BS_Q);
    size_t t = BS_N / 4;
    for (size_t m = 1; t > 1; m *= 4, t /= 4) {
        int32_t *p = a;
        for (size_t i = m; i < 2 * m; i++, p += 3 * t) {
            const roots4 r1 = all(bs_roots[i]), r2 = all(bs_roots[2 * i]), r3 = all(bs_roots[2 * i + 1]);
            for (const int32_t *end = p + t; p != end; p += 4) {
                int32x4_t x[4];
                load(x, p, t);
                forward(x, r1, r2, r3, q);
                store(x, p, t);
            }
        }
    }
    for (size_t i = BS_N / 4; i < BS_N / 2; i += 4, a += 16) {
        roots4 r1, r2, r3;
        group_roots(i, &r1, &r2, &r3);
        int32x4x4_t x = vld4q_s32(a);
        forward(x.val, r1, r2, r3, q);
        vst4q_s32(a, x);
    }
}

void bs_intt(int32_t a[BS_N])
{
    const int32x4_t q = vdupq_n_s32(BS_Q);
    int32_t *p = a;
    for (size_t i = BS_N / 2; i > BS_N / 4; i -= 4, p += 16) {
        roots4 r1, even, odd;
        group_roots(i - 4, &r1, &even, &odd);
        int32x4x4_t x = vld4q_s32(p);
        inverse(x.val, reversed(r1), reversed(odd), reversed(even), q);
        vst4q_s32(p, x);
    }
    size_t t = 4;
    for (size_t m = BS_N / 16; m > 1; m /= 4, t *= 4) {
        p = a;
        for (size_t i = 2 * m - 1; i >= m; i--, p += 3 * t) {
            const roots4 r1 = all(bs_roots[i]), r2 = all(bs_roots[2 * i + 1]), r3 = all(bs_roots[2 * i]);
            for (const int32_t *end = p + t; p != end; p += 4) {
                int32x4_t x[4];
                load(x, p, t);
                inverse(x, r1, r2, r3, q);
                store(x, p, t);
            }
        }
    }
    const roots4 r2 = all(bs_roots[3]), r3 = all(bs_roots[2]), scale = all(bs_scale), scale_root = all(bs_scale_root);
    for (p = a; p != a + BS_N / 4; p += 4) {
        int32x4_t x[4], y[4];
        load(x, p, BS_N / 4);
        inverse_butterfly(&x[0], &x[1], r2, q);
        inverse_butterfly(&x[2], &x[3], r3, q);
        y[0] = mul_root(vaddq_s32(x[0], x[2]), scale, q);
        y[1] = mul_root(vaddq_s32(x[1], x[3]), scale, q);
        y[2] = mul_root(vsubq_s32(x[2], x[0]), scale_root, q);
        y[3] = mul_root(vsubq_s32(x[3], x[1]), scale_root, q);
        store(y, p, BS_N / 4);
    }
}
#endif
