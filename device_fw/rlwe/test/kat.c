#include "kat.h"

#include "internal.h"
#include "vectors.h"

enum { COUNT = sizeof kat_rlwe / sizeof *kat_rlwe };

static bs_work work;
static bs_secret secret;
static uint8_t out[BS_RLWE_MAX_BYTES];

static int same(const int32_t *got, const int32_t *want)
{
    int bad = 0;
    for (size_t i = 0; i < BS_N; i++) {
        bad |= (got[i] - want[i]) % BS_Q != 0;
    }
    return !bad;
}

static int exact(const int32_t *got, const int32_t *want)
{
    return memcmp(got, want, BS_N * sizeof *got) == 0;
}

/* There and back with the largest coefficients, in patterns that drive every sum or difference up. */
static int extremes(void)
{
    const bs_mont m = bs_mont_constants();
    for (size_t stride = 1; stride <= BS_N; stride *= 2) {
        for (size_t i = 0; i < BS_N; i++) {
            work.u[i] = i & stride ? 1 - BS_Q : BS_Q - 1;
        }
        memcpy(work.w, work.u, sizeof work.w);
        bs_ntt(work.u);
        for (size_t i = 0; i < BS_N; i++) {
            work.u[i] = bs_mul_mont(work.u[i], 1, m);
        }
        bs_intt(work.u);
        if (!same(work.u, work.w)) {
            return 0;
        }
    }
    return 1;
}

static int stages(void)
{
    bs_stream(kat_seed, 7, 0xffffffffu, out, sizeof kat_stream);
    if (memcmp(out, kat_stream, sizeof kat_stream) != 0) {
        return 1;
    }
    bs_sample_ternary(kat_low_seed, 1, 0, work.u);
    if (!exact(work.u, kat_ternary)) {
        return 2;
    }
    memset(work.u, 0, sizeof work.u);
    bs_add_error(kat_low_seed, 2, 0, work.u);
    if (!exact(work.u, kat_error)) {
        return 3;
    }
    for (size_t i = 0; i < BS_N; i++) {
        work.u[i] = 262080; /* 2^32 mod q undoes the Montgomery factor */
    }
    bs_mul_uniform(kat_low_seed, work.u, work.w);
    if (!same(work.w, kat_uniform)) {
        return 4;
    }
    memcpy(work.u, kat_ntt_in, sizeof work.u);
    bs_ntt(work.u);
    if (!same(work.u, kat_ntt_out)) {
        return 5;
    }
    for (size_t i = 0; i < BS_N; i++) {
        work.u[i] = bs_mul_mont(kat_ntt_out[i], 1, bs_mont_constants());
    }
    bs_intt(work.u);
    if (!same(work.u, kat_ntt_in)) {
        return 6;
    }
    return extremes() ? 0 : 7;
}

static int modes(void)
{
    if (bs_sk_expand(kat_sk_secret, &secret) != BS_OK) {
        return 10;
    }
    for (int i = 0; i < COUNT; i++) {
        const kat_case *c = &kat_rlwe[i];
        if (bs_rlwe_encrypt(kat_pk, kat_seed, c->index, c->values, c->count, 0, out, sizeof out, &work) != BS_OK ||
            bs_poly_bytes(BS_MODE_RLWE, c->count) != c->size || memcmp(out, c->out, c->size) != 0) {
            return 20 + i;
        }
        c = &kat_sk[i];
        if (bs_sk_encrypt(&secret, kat_seed, c->index, c->values, c->count, out, sizeof out, work.w) != BS_OK ||
            bs_poly_bytes(BS_MODE_RLWE_SK, c->count) != c->size || memcmp(out, c->out, c->size) != 0) {
            return 30 + i;
        }
        c = &kat_aes[i];
        if (bs_aes_ctr(kat_aes_key, kat_aes_nonce, c->index, c->values, out, c->count) != BS_OK ||
            bs_poly_bytes(BS_MODE_AES, c->count) != c->size || memcmp(out, c->out, c->size) != 0) {
            return 40 + i;
        }
    }
    return 0;
}

int kat_run(void)
{
    int failed = stages();
    return failed ? failed : modes();
}
