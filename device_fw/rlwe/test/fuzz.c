/* libFuzzer harness of the whole interface: every count, size, mode, key and index is the fuzzer's choice; buffers are
 * exactly as large as promised, so that AddressSanitizer sees a step too far.
 *   clang -g -O1 -fsanitize=fuzzer,address,undefined -Iinclude -Isrc src/[a-z]*.c test/fuzz.c -o fuzz && ./fuzz */
#include <stdlib.h>

#include "internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t *copy(const uint8_t *from, size_t have, size_t size)
{
    uint8_t *p = malloc(size ? size : 1);
    if (!p) {
        abort();
    }
    for (size_t i = 0; i < size; i++) {
        p[i] = have ? from[i % have] : 0;
    }
    return p;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 12) {
        return 0;
    }
    size_t count = data[1] | (size_t)(data[2] & 7) << 8, room = data[3] | (size_t)(data[4] & 15) << 8;
    uint32_t index = bs_load32(data + 5);
    int with_key = data[9] & 1;
    bs_mode mode = (bs_mode)(data[0] % 4);
    uint8_t *seed = copy(data + 10, size - 10, BS_SEED_BYTES), *pixels = copy(data, size, count);
    uint8_t *pk = copy(data + 9, data[9] & 2 ? size - 9 : 1, BS_PK_BYTES), *out = copy(NULL, 0, room);
    bs_work *work = malloc(sizeof *work);
    bs_secret *secret = malloc(sizeof *secret);
    bs_layout layout;
    size_t used = count + (with_key && mode == BS_MODE_RLWE ? BS_KEY_VALUES : 0);
    bs_status status = BS_ERR_ARGUMENT;
    if (!work || !secret) {
        abort();
    }
    memset(out, 0xee, room);
    if (mode == BS_MODE_RLWE) {
        status = bs_rlwe_encrypt(pk, seed, index, pixels, count, with_key, out, room, work);
    } else if (mode == BS_MODE_RLWE_SK && bs_sk_expand(seed, secret) == BS_OK) {
        status = bs_sk_encrypt(secret, seed, index, pixels, count, out, room, work->w);
    } else if (mode == BS_MODE_AES && count <= room) {
        status = bs_aes_ctr(pk, seed, index, pixels, out, count);
    }
    if (status == BS_OK && mode != BS_MODE_AES && bs_poly_bytes(mode, used) > room) {
        abort();
    }
    if (status != BS_OK && mode == BS_MODE_RLWE) {
        for (size_t i = 0; i < room; i++) {
            if (out[i]) {
                abort();
            }
        }
    }
    if (bs_picture_layout(mode, index, &layout) == BS_OK && layout.polys == 0) {
        abort();
    }
    free(seed);
    free(pixels);
    free(pk);
    free(out);
    free(work);
    free(secret);
    return 0;
}
