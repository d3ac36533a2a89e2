/* Runs the native block of a .mpy on a bare board under QEMU, behind a stand-in for MicroPython's runtime: the block
 * was linked apart and is called at the address where .incbin put it. BLOCK is the file's path. */
#include <string.h>

#include "call.h"
#include "platform.h"
#include "vectors.h"

typedef uintptr_t word;

__asm__(".section .text.block,\"ax\"\n.balign 16\n.globl block\nblock:\n.incbin \"" BLOCK "\"\n.previous\n");
extern const uint8_t block[];

static uint32_t job[4];
static uint8_t key[sizeof(bs_secret)] __attribute__((aligned(4))), data[BS_CALL_DATA] __attribute__((aligned(4)));
static bs_work memory;
static int bad_type;

static word from_object(word object, word type)
{
    bad_type |= type != 4;
    return object;
}

static int call(uint32_t operation, const kat_case *c)
{
    word table[4] = {42, 0, 0, (word)from_object}, constants[1] = {(word)table};
    word context[4] = {0, 0, 0, (word)constants}, self[2] = {0, (word)context};
    word args[4] = {(word)job, (word)key, (word)data, (word)&memory};
    word entry = (word)block;
#if defined(__thumb__)
    entry |= 1;
#endif
    job[0] = operation, job[3] = 0;
    if (c) {
        job[1] = c->index, job[2] = (uint32_t)c->count;
        memcpy(data + 32, c->values, c->count);
    }
    word result = ((word(*)(const word *, size_t, size_t, const word *))entry)(self, 4, 0, args);
    return result != 42 || bad_type || (c && (job[0] || memcmp(data + BS_CALL_OUT, c->out, c->size) != 0));
}

int main(void)
{
    int failed = call(BS_OP_VERSION, 0) || job[0] != BS_CALL_VERSION;
    memcpy(data, kat_seed, sizeof kat_seed);
    memcpy(key, kat_pk, sizeof kat_pk);
    failed |= call(BS_OP_RLWE, &kat_rlwe[1]) << 1;
    memcpy(data, kat_sk_secret, sizeof kat_sk_secret);
    failed |= call(BS_OP_SK_EXPAND, 0) << 2;
    memcpy(data, kat_seed, sizeof kat_seed);
    failed |= call(BS_OP_SK, &kat_sk[1]) << 3;
    memcpy(data, kat_aes_nonce, sizeof kat_aes_nonce);
    memcpy(key, kat_aes_key, sizeof kat_aes_key);
    failed |= call(BS_OP_AES, &kat_aes[1]) << 4;
    platform_print(failed ? "bad\n" : "good\n");
    return failed;
}
