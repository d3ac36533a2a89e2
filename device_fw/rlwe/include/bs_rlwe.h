/* Blindsight encryption core for small boards: public interface.
 *
 * Portable C99; needs <stdint.h>, <stddef.h> and memcpy/memset. No malloc, no floating point, no global state: every
 * function may run on several threads at once with its own `bs_work`. Formats are those of docs/wire.md sections 1 to
 * 3, bit for bit, on every target.
 *
 * Adversary and assumption: whoever records the output. IND-CPA under ring-LWE (N = 1024, 26-bit q, ternary secrets,
 * centred-binomial errors of variance 10.5; 128 bits by the 2024 HomomorphicEncryption.org guideline) and ChaCha20 as a
 * PRG; `aes` mode: AES-128 as a PRF. Public-key encryption: Lyubashevsky, Peikert, Regev, Eurocrypt 2013, with the
 * message in the high part as in Fan and Vercauteren, eprint 2012/144.
 *
 * Constant time: no branch and no address depends on a seed, a secret key or a pixel. The one data-dependent loop is
 * the rejection sampling of `a`, which is public. A core whose multiplier takes longer for some values than for others
 * (UMULL and SMULL of a Cortex-M3 do) is outside this claim: look in its reference manual.
 *
 * One rule the caller must keep: a seed belongs to exactly one picture. Resending the same bytes is fine; encrypting
 * other pixels under a used (seed, index) reveals both.
 */
#ifndef BS_RLWE_H
#define BS_RLWE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    BS_N = 1024,     /* coefficients (pixels) of a polynomial */
    BS_Q = 67104769, /* modulus, 26 bits */
    BS_SEED_BYTES = 32,
    BS_PK_BYTES = 3360,       /* pk.bin: seed of a (32) || NTT(b), 26 bits a coefficient */
    BS_C1_BYTES = 2304,       /* 1,024 x 18 bits */
    BS_KEY_VALUES = 32,       /* coefficients that carry the result key in `rlwe` mode */
    BS_RLWE_MAX_BYTES = 3840, /* c1 || 1,024 x 12 bits */
    BS_SK_MAX_BYTES = 1440    /* seed || 1,024 x 11 bits */
};

typedef enum {
    BS_OK = 0,
    BS_ERR_ARGUMENT = -1, /* a null pointer, a count out of range, or an output buffer that is too small */
    BS_ERR_RANDOM = -2,   /* the random source failed, or returned something stuck */
    BS_ERR_SEED = -3,     /* an all-zero seed or secret: nothing was encrypted */
    BS_ERR_KEY = -4       /* a coefficient of the public key is not below q */
} bs_status;

typedef enum { BS_MODE_RLWE = 0, BS_MODE_RLWE_SK = 1, BS_MODE_AES = 2 } bs_mode;

/* Scratch memory, 8,192 bytes, 4-byte aligned; holds secrets only during a call (wiped before every return). */
typedef struct {
    int32_t u[BS_N];
    int32_t w[BS_N];
} bs_work;

/* Secret of `rlwe-sk` mode, expanded: NTT(s) in signed representatives. 4,096 bytes, 4-byte aligned. Keep as secret. */
typedef struct {
    int32_t ntt[BS_N];
} bs_secret;

/* Fills out[0..size) with random bytes from the system; returns 0, or anything else on failure. */
typedef int (*bs_random_fn)(void *context, uint8_t *out, size_t size);

/* The pieces of a picture of `pixels` bytes. */
typedef struct {
    uint32_t polys;    /* polynomials (1,024-byte slots in `aes`) */
    uint32_t key_poly; /* `rlwe`: the polynomial that carries the result key (always the last) */
    uint32_t key_at;   /* `rlwe`: its first key coefficient */
} bs_layout;

/* A fresh per-picture seed from `random`. On failure (non-zero return, or 32 equal bytes) seed is zeroed, which every
 * encryption refuses. */
bs_status bs_new_seed(bs_random_fn random, void *context, uint8_t seed[BS_SEED_BYTES]);

/* First `size` bytes of Stream(seed, purpose, index): salt (5, 32 bytes), nonce (6, 12), result key bytes (4, 32), ...
 */
bs_status bs_stream(const uint8_t seed[BS_SEED_BYTES], uint32_t purpose, uint32_t index, uint8_t *out, size_t size);

/* How many polynomials a picture takes, and where its result key sits. pixels: 1 to 2^24. */
bs_status bs_picture_layout(bs_mode mode, uint32_t pixels, bs_layout *layout);

/* Bytes of one polynomial on the wire; `used` = 1 to 1,024 coefficients in use. 0 if out of range. */
size_t bs_poly_bytes(bs_mode mode, size_t used);

/* `rlwe`: one polynomial. Coefficients 0..count-1 carry pixels[]; with_key adds the 32 result-key values of `seed`
 * after them (count + 32 <= 1,024). Writes bs_poly_bytes(BS_MODE_RLWE, used) bytes to out, 0 to out_size; out must not
 * overlap work, pk or pixels. On any error out[0..out_size) is zero. Stack: under 800 bytes on boards, under 1,600
 * where vectors are used. */
bs_status bs_rlwe_encrypt(const uint8_t pk[BS_PK_BYTES], const uint8_t seed[BS_SEED_BYTES], uint32_t index,
                          const uint8_t *pixels, size_t count, int with_key, uint8_t *out, size_t out_size,
                          bs_work *work);

/* `rlwe-sk`: expands the shared secret once; keep the result in RAM between polynomials. */
bs_status bs_sk_expand(const uint8_t secret_seed[BS_SEED_BYTES], bs_secret *secret);

/* `rlwe-sk`: one polynomial of `count` pixels (1 to 1,024); work is 4,096 bytes of scratch, wiped before the return.
 * Same rules as bs_rlwe_encrypt. */
bs_status bs_sk_encrypt(const bs_secret *secret, const uint8_t seed[BS_SEED_BYTES], uint32_t index,
                        const uint8_t *pixels, size_t count, uint8_t *out, size_t out_size, int32_t work[BS_N]);

/* `aes`: out = in XOR AES-128-CTR keystream from 16-byte unit number `unit` of the picture; out may equal in. The call
 * fails if the 32-bit unit counter would pass 2^32 - 1. Bitsliced: no tables, no secret addresses. */
bs_status bs_aes_ctr(const uint8_t key[16], const uint8_t nonce[12], uint32_t unit, const uint8_t *in, uint8_t *out,
                     size_t size);

#ifdef __cplusplus
}
#endif
#endif
