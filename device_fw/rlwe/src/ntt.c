/* Negacyclic number-theoretic transform, N = 1024, two layers a pass.
 *
 * Signed 32-bit words hold 32q. Forward (Cooley-Tukey): a layer adds at most 5q/4, so ten layers from |a| < q end under
 * 14q with no reduction at all. Inverse (Gentleman-Sande): a pass turns |a| <= 2.5q into sums of at most 10q (reduced
 * before they are stored), 2.5q and products of at most 1.25q. Since psi^1024 = -1, the inverse root of block i of a
 * layer of m blocks is minus root 2m-1-i: one table serves both ways and the minus goes into the difference. */
#include "internal.h"

#if !BS_NEON

static inline void butterfly(int32_t *x, int32_t *y, bs_root r, int32_t q)
{
    int32_t t = bs_mul_root(*y, r, q);
    *y = *x - t;
    *x += t;
}

static inline void inverse_butterfly(int32_t *x, int32_t *y, bs_root r, int32_t q)
{
    int32_t t = *y - *x;
    *x += *y;
    *y = bs_mul_root(t, r, q);
}

/* Two layers over x[0], x[t], x[2t], x[3t]; root i and its children. */
static inline void forward(int32_t *x, size_t t, bs_root r1, bs_root r2, bs_root r3, int32_t q)
{
    int32_t x0 = x[0], x1 = x[t], x2 = x[2 * t], x3 = x[3 * t];
    butterfly(&x0, &x2, r1, q);
    butterfly(&x1, &x3, r1, q);
    butterfly(&x0, &x1, r2, q);
    butterfly(&x2, &x3, r3, q);
    x[0] = x0, x[t] = x1, x[2 * t] = x2, x[3 * t] = x3;
}

static inline void inverse(int32_t *x, size_t t, bs_root r1, bs_root r2, bs_root r3, int32_t q)
{
    int32_t x0 = x[0], x1 = x[t], x2 = x[2 * t], x3 = x[3 * t];
    inverse_butterfly(&x0, &x1, r2, q);
    inverse_butterfly(&x2, &x3, r3, q);
    inverse_butterfly(&x0, &x2, r1, q);
    inverse_butterfly(&x1, &x3, r1, q);
    x[0] = bs_reduce(x0, q), x[t] = x1, x[2 * t] = x2, x[3 * t] = x3;
}

void bs_ntt(int32_t a[BS_N])
{
    const int32_t q = bs_opaque(BS_Q);
    size_t t = BS_N / 4;
    for (size_t m = 1; t > 1; m *= 4, t /= 4) {
        int32_t *x = a;
        for (const bs_root *r = bs_roots + m; r != bs_roots + 2 * m; r++, x += 3 * t) {
            const bs_root *child = bs_roots + 2 * (r - bs_roots);
            const bs_root r1 = r[0], r2 = child[0], r3 = child[1];
            for (const int32_t *end = x + t; x != end; x += 2) {
                forward(x, t, r1, r2, r3, q);
                forward(x + 1, t, r1, r2, r3, q);
            }
        }
    }
    const bs_root *r = bs_roots + BS_N / 4, *child = bs_roots + BS_N / 2;
    for (int32_t *x = a; x != a + BS_N; x += 4, r++, child += 2) {
        forward(x, 1, r[0], child[0], child[1], q);
    }
}

void bs_intt(int32_t a[BS_N])
{
    const int32_t q = bs_opaque(BS_Q);
    const bs_root *r = bs_roots + BS_N / 2, *child = bs_roots + BS_N;
    for (int32_t *x = a; x != a + BS_N; x += 4) {
        r--, child -= 2;
        inverse(x, 1, r[0], child[1], child[0], q);
    }
    size_t t = 4;
    for (size_t m = BS_N / 16; m > 1; m /= 4, t *= 4) {
        int32_t *x = a;
        for (r = bs_roots + 2 * m - 1; r != bs_roots + m - 1; r--, x += 3 * t) {
            child = bs_roots + 2 * (r - bs_roots);
            const bs_root r1 = r[0], r2 = child[1], r3 = child[0];
            for (const int32_t *end = x + t; x != end; x += 2) {
                inverse(x, t, r1, r2, r3, q);
                inverse(x + 1, t, r1, r2, r3, q);
            }
        }
    }
    const bs_root r2 = bs_roots[3], r3 = bs_roots[2], scale = bs_scale, scale_root = bs_scale_root;
    for (int32_t *x = a; x != a + BS_N / 4; x++) {
        int32_t x0 = x[0], x1 = x[BS_N / 4], x2 = x[BS_N / 2], x3 = x[3 * BS_N / 4];
        inverse_butterfly(&x0, &x1, r2, q);
        inverse_butterfly(&x2, &x3, r3, q);
        x[0] = bs_mul_root(x0 + x2, scale, q);
        x[BS_N / 4] = bs_mul_root(x1 + x3, scale, q);
        x[BS_N / 2] = bs_mul_root(x2 - x0, scale_root, q);
        x[3 * BS_N / 4] = bs_mul_root(x3 - x1, scale_root, q);
    }
}
#endif
