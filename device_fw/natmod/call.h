/* One function for both MicroPython bindings: call(job, key, data, memory), four buffers.
 *
 * job, 4 words: in: operation, index (`aes`: first 16-byte unit), pixels, with_key; out: word 0 = status (bs_status).
 * key: pk.bin (OP_RLWE), expanded secret (OP_SK; OP_SK_EXPAND writes it), 16-byte AES key (OP_AES).
 * data: seed (32 bytes; OP_SK_EXPAND: secret seed; OP_AES: nonce in the first 12), pixels (1,024), output (3,840).
 * memory: scratch, 8,192 bytes (OP_RLWE) or 4,096 (OP_SK). All buffers are 4-byte aligned. */
#ifndef BS_CALL_H
#define BS_CALL_H

#include "bs_rlwe.h"

enum { BS_OP_VERSION, BS_OP_RLWE, BS_OP_SK_EXPAND, BS_OP_SK, BS_OP_AES, BS_OPS };
enum { BS_CALL_VERSION = 1, BS_CALL_JOB = 16, BS_CALL_OUT = BS_SEED_BYTES + BS_N };
enum { BS_CALL_DATA = BS_CALL_OUT + BS_RLWE_MAX_BYTES };

/* Bytes that key and memory must hold for an operation. */
static inline size_t bs_call_key_bytes(uint32_t operation)
{
    static const uint16_t sizes[BS_OPS] = {0, BS_PK_BYTES, sizeof(bs_secret), sizeof(bs_secret), 16};
    return operation < BS_OPS ? sizes[operation] : 0;
}

static inline size_t bs_call_memory_bytes(uint32_t operation)
{
    return operation == BS_OP_RLWE ? sizeof(bs_work) : operation == BS_OP_SK ? sizeof(bs_work) / 2 : 0;
}

static inline int32_t bs_call(const uint32_t job[4], uint8_t *key, uint8_t *data, void *memory)
{
    const uint8_t *pixels = data + BS_SEED_BYTES;
    uint8_t *out = data + BS_CALL_OUT;
    size_t count = job[2];
    if (count > BS_N) {
        return BS_ERR_ARGUMENT;
    }
    switch (job[0]) {
    case BS_OP_VERSION:
        return BS_CALL_VERSION;
    case BS_OP_RLWE:
        return bs_rlwe_encrypt(key, data, job[1], pixels, count, (int)job[3], out, BS_RLWE_MAX_BYTES, memory);
    case BS_OP_SK_EXPAND:
        return bs_sk_expand(data, (bs_secret *)(void *)key);
    case BS_OP_SK:
        return bs_sk_encrypt((const bs_secret *)(const void *)key, data, job[1], pixels, count, out, BS_SK_MAX_BYTES,
                             memory);
    case BS_OP_AES:
        return bs_aes_ctr(key, data, job[1], pixels, out, count);
    default:
        return BS_ERR_ARGUMENT;
    }
}

#endif
