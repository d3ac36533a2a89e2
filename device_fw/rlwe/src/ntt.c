/* Negacyclic number-theoretic transform, N = 1024, two layers a pass.
 *
 * Signed 32-bit words hold 32q. Forward (Cooley-Tukey): a layer adds at most 5q/4, so ten layers from |a| < q end under
 * 14q with no reduction at all. Inverse (Gentleman-Sande): a pass turns |a| <= 2.5q into sums of at most 10q (reduced
 * before they are stored), 2.5q and products of at most 1.25q. Since psi^1024 = -1, the inverse root of block i of a layer
 * of m blocks is minus root 2m-1-i: one table serves both ways and the minus goes into the difference. */
#include "internal.h"

static inline void butterfly(int32_t *x, int32_t *y, bs_root r)
{
    int32_t t = bs_mul_root(*y, r.w, r.ratio);
    *y = *x - t;
    *x += t;
}

static inline void inverse_butterfly(int32_t *x, int32_t *y, bs_root r)
{
    int32_t t = *y - *x;
    *x += *y;
    *y = bs_mul_root(t, r.w, r.ratio);
}

void bs_ntt(int32_t a[BS_N])
{
    for (size_t m = 1; m < BS_N; m *= 4) {
        size_t quarter = BS_N / (4 * m);
        int32_t *x = a;
        for (size_t i = m; i < 2 * m; i++, x += 3 * quarter) {
            const bs_root r1 = bs_roots[i], r2 = bs_roots[2 * i], r3 = bs_roots[2 * i + 1];
            for (const int32_t *end = x + quarter; x != end; x++) {
                int32_t x0 = x[0], x1 = x[quarter], x2 = x[2 * quarter], x3 = x[3 * quarter];
                butterfly(&x0, &x2, r1);
                butterfly(&x1, &x3, r1);
                butterfly(&x0, &x1, r2);
                butterfly(&x2, &x3, r3);
                x[0] = x0, x[quarter] = x1, x[2 * quarter] = x2, x[3 * quarter] = x3;
            }
        }
    }
}

void bs_intt(int32_t a[BS_N])
{
    for (size_t m = BS_N / 4; m > 1; m /= 4) {
        size_t quarter = BS_N / (4 * m);
        int32_t *x = a;
        for (size_t i = 2 * m - 1; i >= m; i--, x += 3 * quarter) {
            const bs_root r1 = bs_roots[i], r2 = bs_roots[2 * i + 1], r3 = bs_roots[2 * i];
            for (const int32_t *end = x + quarter; x != end; x++) {
                int32_t x0 = x[0], x1 = x[quarter], x2 = x[2 * quarter], x3 = x[3 * quarter];
                inverse_butterfly(&x0, &x1, r2);
                inverse_butterfly(&x2, &x3, r3);
                inverse_butterfly(&x0, &x2, r1);
                inverse_butterfly(&x1, &x3, r1);
                x[0] = bs_reduce(x0), x[quarter] = x1, x[2 * quarter] = x2, x[3 * quarter] = x3;
            }
        }
    }
    for (int32_t *x = a; x != a + BS_N / 4; x++) {
        int32_t x0 = x[0], x1 = x[BS_N / 4], x2 = x[BS_N / 2], x3 = x[3 * BS_N / 4];
        inverse_butterfly(&x0, &x1, bs_roots[3]);
        inverse_butterfly(&x2, &x3, bs_roots[2]);
        x[0] = bs_mul_root(x0 + x2, bs_scale.w, bs_scale.ratio);
        x[BS_N / 4] = bs_mul_root(x1 + x3, bs_scale.w, bs_scale.ratio);
        x[BS_N / 2] = bs_mul_root(x2 - x0, bs_scale_root.w, bs_scale_root.ratio);
        x[3 * BS_N / 4] = bs_mul_root(x3 - x1, bs_scale_root.w, bs_scale_root.ratio);
    }
}
