/* The measured program: known answers first, then each mode and each stage once, between empty mark_* functions that
 * the counting plugin (plugin/count.c) watches. The stack is painted before a mode runs and read after it. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "internal.h"
#include "kat.h"
#include "platform.h"
#include "vectors.h"

enum { PAINTED = 16384, PAINT = 0xa5, GAP = 256, VARIED = 8 };

static bs_work work;
static bs_secret secret;
static uint8_t out[BS_RLWE_MAX_BYTES];

#define MARK(name)                                                                                                     \
    void mark_##name(void);                                                                                            \
    __attribute__((noinline)) void mark_##name(void)                                                                   \
    {                                                                                                                  \
        __asm__ volatile("");                                                                                          \
    }

MARK(off)
MARK(rlwe)
MARK(sk)
MARK(sk_expand)
MARK(aes)
MARK(ternary)
MARK(ntt)
MARK(intt)
MARK(uniform)
MARK(public_key)
MARK(error)
MARK(pack_c1)
MARK(pack_c0)
MARK(pack_sk)
MARK(vary_rlwe)
MARK(vary_sk)
MARK(vary_aes)

static volatile uint8_t *stack_top;

static void paint(void)
{
    stack_top = (volatile uint8_t *)__builtin_frame_address(0) - GAP;
    for (size_t i = 1; i <= PAINTED; i++) {
        stack_top[-(ptrdiff_t)i] = PAINT;
    }
}

/* Hexadecimal: some of the toolchains lack a division routine. */
static void number(uint32_t v)
{
    char text[9];
    for (int i = 7; i >= 0; i--, v >>= 4) {
        text[i] = "0123456789abcdef"[v & 15];
    }
    text[8] = 0;
    platform_print(text);
}

static void line(const char *name, uint32_t value)
{
    platform_print(name);
    platform_print(" ");
    number(value);
    platform_print("\n");
}

static void report_stack(const char *name)
{
    size_t deep = PAINTED;
    while (deep && stack_top[-(ptrdiff_t)deep] == PAINT) {
        deep--;
    }
    line(name, (uint32_t)deep + GAP);
}

static void modes(void)
{
    const kat_case *c = &kat_rlwe[0];
    paint();
    mark_rlwe();
    bs_rlwe_encrypt(kat_pk, kat_seed, 0, c->values, BS_N, 0, out, sizeof out, &work);
    mark_off();
    report_stack("stack_rlwe");
    mark_sk_expand();
    bs_sk_expand(kat_sk_secret, &secret);
    mark_off();
    paint();
    mark_sk();
    bs_sk_encrypt(&secret, kat_seed, 0, c->values, BS_N, out, sizeof out, work.w);
    mark_off();
    report_stack("stack_sk");
    paint();
    mark_aes();
    bs_aes_ctr(kat_aes_key, kat_aes_nonce, 0, c->values, out, BS_N);
    mark_off();
    report_stack("stack_aes");
}

static void stages(void)
{
    mark_ternary();
    bs_sample_ternary(kat_seed, BS_P_TERNARY, 0, work.u);
    mark_ntt();
    bs_ntt(work.u);
    mark_uniform();
    bs_mul_uniform(kat_pk, work.u, work.w);
    mark_intt();
    bs_intt(work.w);
    mark_error();
    bs_add_error(kat_seed, BS_P_ERROR1, 0, work.w);
    mark_pack_c1();
    bs_pack_c1(work.w, out);
    mark_public_key();
    bs_mul_packed(kat_pk + BS_SEED_BYTES, work.u);
    mark_off();
    mark_pack_c0();
    bs_pack_c0(work.u, BS_N, out);
    mark_pack_sk();
    bs_pack_sk(work.u, BS_N, out);
    mark_off();
}

/* The same work under other seeds, keys and pixels: the counts must not tell them apart. */
static void varied(void)
{
    static uint8_t random[BS_N + 2 * BS_SEED_BYTES];
    for (uint32_t run = 0; run < VARIED; run++) {
        uint8_t *seed = random + BS_N, *key = seed + BS_SEED_BYTES;
        bs_stream(kat_seed, 200, run, random, sizeof random);
        memset(random, run == 0 ? 0 : 255, run < 2 ? BS_N : 0); /* black, white, noise */
        mark_vary_rlwe();
        bs_rlwe_encrypt(kat_pk, seed, run, random, BS_N, 0, out, sizeof out, &work);
        mark_off();
        bs_sk_expand(key, &secret);
        mark_vary_sk();
        bs_sk_encrypt(&secret, seed, run, random, BS_N, out, sizeof out, work.w);
        mark_vary_aes();
        bs_aes_ctr(key, seed, run, random, out, BS_N);
        mark_off();
    }
}

int main(void)
{
    /* a Linux process starts with its stack anywhere, and memset's count depends on alignment: leave a gap that puts
     * the frames below at the same place of a page every time */
    volatile uint8_t *gap = __builtin_alloca((uintptr_t)__builtin_frame_address(0) % 4096 + 16);
    gap[0] = 0;
    int failed = kat_run();
    line("kat", (uint32_t)failed);
    if (!failed) {
        modes();
        stages();
        varied();
    }
    return failed;
}
