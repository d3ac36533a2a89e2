/* Refusals of the interface: wrong arguments, failing randomness, bad keys; every error zeroes its output. */
#include <stdio.h>

#include "internal.h"
#include "vectors.h"

static bs_work work;
static bs_secret secret;
static uint8_t out[BS_RLWE_MAX_BYTES + 8], pixels[BS_N + 1];
static int failures;

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            printf("line %d: %s\n", __LINE__, #condition);                                                             \
            failures++;                                                                                                \
        }                                                                                                              \
    } while (0)

static int zeroed(const void *p, size_t size)
{
    const uint8_t *b = p;
    for (size_t i = 0; i < size; i++) {
        if (b[i]) {
            return 0;
        }
    }
    return 1;
}

static int source(void *context, uint8_t *to, size_t size)
{
    const char *what = context;
    memset(to, what[0] == 's' ? 0xff : 1, size);
    to[size - 1] = what[0] == 's' ? 0xff : 2;
    return what[0] == 'f';
}

static bs_status rlwe(size_t count, int with_key, size_t out_size)
{
    memset(out, 0xee, sizeof out);
    return bs_rlwe_encrypt(kat_pk, kat_seed, 0, pixels, count, with_key, out, out_size, &work);
}

static void randomness(void)
{
    uint8_t seed[32];
    CHECK(bs_new_seed(source, "good", seed) == BS_OK && seed[0] == 1 && seed[31] == 2);
    CHECK(bs_new_seed(source, "stuck", seed) == BS_ERR_RANDOM && zeroed(seed, 32));
    memset(seed, 7, sizeof seed);
    CHECK(bs_new_seed(source, "fails", seed) == BS_ERR_RANDOM && zeroed(seed, 32));
    CHECK(bs_new_seed(NULL, NULL, seed) == BS_ERR_RANDOM && zeroed(seed, 32));
    memset(out, 0xee, sizeof out);
    CHECK(bs_rlwe_encrypt(kat_pk, seed, 0, pixels, 5, 0, out, sizeof out, &work) == BS_ERR_SEED);
    CHECK(zeroed(out, sizeof out));
    memset(out, 0xee, sizeof out);
    CHECK(bs_sk_encrypt(&secret, seed, 0, pixels, 5, out, sizeof out, work.w) == BS_ERR_SEED);
    CHECK(zeroed(out, sizeof out));
    CHECK(bs_sk_expand(seed, &secret) == BS_ERR_SEED && zeroed(&secret, sizeof secret));
}

static void arguments(void)
{
    CHECK(rlwe(BS_N, 0, BS_RLWE_MAX_BYTES) == BS_OK && out[BS_RLWE_MAX_BYTES] == 0xee);
    CHECK(zeroed(&work, sizeof work));
    CHECK(rlwe(BS_N, 0, BS_RLWE_MAX_BYTES - 1) == BS_ERR_ARGUMENT && zeroed(out, BS_RLWE_MAX_BYTES - 1));
    CHECK(rlwe(BS_N + 1, 0, sizeof out) == BS_ERR_ARGUMENT && zeroed(out, sizeof out));
    CHECK(rlwe(BS_N - 31, 1, sizeof out) == BS_ERR_ARGUMENT && zeroed(out, sizeof out));
    CHECK(rlwe(0, 0, sizeof out) == BS_ERR_ARGUMENT);
    CHECK(rlwe((size_t)-16, 1, sizeof out) == BS_ERR_ARGUMENT);
    CHECK(rlwe(0, 1, sizeof out) == BS_OK && out[BS_C1_BYTES + 48] == 0xee);
    CHECK(bs_rlwe_encrypt(NULL, kat_seed, 0, pixels, 1, 0, out, sizeof out, &work) == BS_ERR_ARGUMENT);
    CHECK(bs_rlwe_encrypt(kat_pk, kat_seed, 0, NULL, 1, 0, out, sizeof out, &work) == BS_ERR_ARGUMENT);
    CHECK(bs_rlwe_encrypt(kat_pk, kat_seed, 0, pixels, 1, 0, NULL, 0, &work) == BS_ERR_ARGUMENT);
    CHECK(bs_sk_expand(kat_seed, &secret) == BS_OK);
    CHECK(bs_sk_encrypt(&secret, kat_seed, 0, pixels, 0, out, sizeof out, work.w) == BS_ERR_ARGUMENT);
    CHECK(bs_sk_encrypt(&secret, kat_seed, 0, pixels, BS_N, out, BS_SK_MAX_BYTES - 1, work.w) == BS_ERR_ARGUMENT);
    CHECK(bs_poly_bytes(BS_MODE_RLWE, 0) == 0 && bs_poly_bytes(BS_MODE_AES, BS_N + 1) == 0);
    CHECK(bs_poly_bytes((bs_mode)7, 1) == 0);
    CHECK(bs_stream(kat_seed, 5, 0, NULL, 1) == BS_ERR_ARGUMENT && bs_stream(kat_seed, 5, 0, NULL, 0) == BS_OK);
    CHECK(bs_aes_ctr(kat_aes_key, kat_aes_nonce, 0xffffffffu, pixels, out, 16) == BS_OK);
    CHECK(bs_aes_ctr(kat_aes_key, kat_aes_nonce, 0xffffffffu, pixels, out, 17) == BS_ERR_ARGUMENT);
}

static void keys_and_layout(void)
{
    static uint8_t pk[BS_PK_BYTES];
    bs_layout l;
    memcpy(pk, kat_pk, sizeof pk);
    memset(pk + 32 + 13 * 7, 0xff, 4); /* coefficient 28 becomes 2^26 - 1 */
    memset(out, 0xee, sizeof out);
    CHECK(bs_rlwe_encrypt(pk, kat_seed, 0, pixels, 1, 0, out, sizeof out, &work) == BS_ERR_KEY);
    CHECK(zeroed(out, sizeof out) && zeroed(&work, sizeof work));
    CHECK(bs_picture_layout(BS_MODE_RLWE, 0, &l) == BS_ERR_ARGUMENT);
    CHECK(bs_picture_layout(BS_MODE_RLWE, (1u << 24) + 1, &l) == BS_ERR_ARGUMENT);
    CHECK(bs_picture_layout((bs_mode)3, 5, &l) == BS_ERR_ARGUMENT);
    CHECK(bs_picture_layout(BS_MODE_RLWE, 992, &l) == BS_OK && l.polys == 1 && l.key_poly == 0 && l.key_at == 992);
    CHECK(bs_picture_layout(BS_MODE_RLWE, 993, &l) == BS_OK && l.polys == 2 && l.key_poly == 1 && l.key_at == 0);
    CHECK(bs_picture_layout(BS_MODE_RLWE_SK, 1024, &l) == BS_OK && l.polys == 1);
}

int main(void)
{
    randomness();
    arguments();
    keys_and_layout();
    return failures != 0;
}
