/* Constant time, checked by valgrind's memcheck (method of A. Langley's ctgrind): seeds, secrets and pixels are marked
 * undefined, so any branch or address that depends on them is reported. Build with
 *   -include valgrind/memcheck.h -DBS_DECLASSIFY=VALGRIND_MAKE_MEM_DEFINED
 * and run `valgrind --error-exitcode=9 test_ct`. With an argument it branches on a secret, which must be reported. */
#include <stdio.h>

#include "internal.h"
#include "vectors.h"

static bs_work work;
static bs_secret secret;
static uint8_t out[BS_RLWE_MAX_BYTES], seed[32], key[16], pixels[BS_N];

static int fill(void *context, uint8_t *to, size_t size)
{
    (void)context;
    memcpy(to, kat_seed, size);
    VALGRIND_MAKE_MEM_UNDEFINED(to, size);
    return 0;
}

/* What leaves the device is public; printing it makes sure that it was computed. */
static void publish(const char *name, size_t size)
{
    unsigned sum = 0;
    VALGRIND_MAKE_MEM_DEFINED(out, size);
    for (size_t i = 0; i < size; i++) {
        sum = sum * 31 + out[i];
    }
    printf("%s %08x\n", name, sum);
}

int main(int argc, char **argv)
{
    int failed = 0;
    (void)argv;
    memset(pixels, 200, sizeof pixels);
    memcpy(key, kat_aes_key, sizeof key);
    VALGRIND_MAKE_MEM_UNDEFINED(pixels, sizeof pixels);
    VALGRIND_MAKE_MEM_UNDEFINED(key, sizeof key);
    failed |= bs_new_seed(fill, NULL, seed) != BS_OK;
    failed |= bs_rlwe_encrypt(kat_pk, seed, 1, pixels, 900, 1, out, sizeof out, &work) != BS_OK;
    publish("rlwe", bs_poly_bytes(BS_MODE_RLWE, 932));
    failed |= bs_sk_expand(seed, &secret) != BS_OK;
    failed |= bs_sk_encrypt(&secret, seed, 2, pixels, BS_N, out, sizeof out, work.w) != BS_OK;
    publish("rlwe-sk", BS_SK_MAX_BYTES);
    failed |= bs_aes_ctr(key, kat_aes_nonce, 0, pixels, out, BS_N) != BS_OK;
    publish("aes", BS_N);
    if (argc > 1 && seed[0] & 1) {
        puts("the negative control was not stopped");
    }
    return failed;
}
