/* AES-128-CTR, bitsliced over two blocks: no tables and no secret-dependent address or branch.
 *
 * Plane q[i] holds bit i of 32 bytes; bit 8*row + 2*column + block of a plane belongs to that byte. A row is then a
 * byte of every plane, so ShiftRows rotates inside bytes and MixColumns rotates words by 8 and 16. The S-box is the
 * 113-gate circuit of Boyar and Peralta, "A small depth-16 circuit for the AES S-box", SEC 2012. */
#include "internal.h"

enum { ROUNDS = 10 };

typedef struct {
    uint32_t q[8];
} planes;

/* 8x8 bit transposition in each byte lane: words (one a column and block) to planes and back. */
static void transpose(planes *p)
{
    uint32_t *q = p->q;
    for (unsigned i = 0; i < 8; i += 2) {
        bs_swap_bits(&q[i], &q[i + 1], 0x55555555u, 1);
    }
    for (unsigned i = 0; i < 8; i += i & 1 ? 3 : 1) {
        bs_swap_bits(&q[i], &q[i + 2], 0x33333333u, 2);
    }
    for (unsigned i = 0; i < 4; i++) {
        bs_swap_bits(&q[i], &q[i + 4], 0x0f0f0f0fu, 4);
    }
}

static void sub_bytes(planes *p)
{
    uint32_t *q = p->q;
    const uint32_t x0 = q[7], x1 = q[6], x2 = q[5], x3 = q[4], x4 = q[3], x5 = q[2], x6 = q[1], x7 = q[0];
    /* top linear layer */
    const uint32_t y14 = x3 ^ x5, y13 = x0 ^ x6, y9 = x0 ^ x3, y8 = x0 ^ x5, t0 = x1 ^ x2, y1 = t0 ^ x7, y4 = y1 ^ x3;
    const uint32_t y12 = y13 ^ y14, y2 = y1 ^ x0, y5 = y1 ^ x6, y3 = y5 ^ y8, t1 = x4 ^ y12, y15 = t1 ^ x5;
    const uint32_t y20 = t1 ^ x1, y6 = y15 ^ x7, y10 = y15 ^ t0, y11 = y20 ^ y9, y7 = x7 ^ y11, y17 = y10 ^ y11;
    const uint32_t y19 = y10 ^ y8, y16 = t0 ^ y11, y21 = y13 ^ y16, y18 = x0 ^ y16;
    /* inversion in GF(2^8) over GF(2^4) */
    const uint32_t t2 = y12 & y15, t3 = y3 & y6, t4 = t3 ^ t2, t5 = y4 & x7, t6 = t5 ^ t2, t7 = y13 & y16, t8 = y5 & y1;
    const uint32_t t9 = t8 ^ t7, t10 = y2 & y7, t11 = t10 ^ t7, t12 = y9 & y11, t13 = y14 & y17, t14 = t13 ^ t12;
    const uint32_t t15 = y8 & y10, t16 = t15 ^ t12, t17 = t4 ^ t14, t18 = t6 ^ t16, t19 = t9 ^ t14, t20 = t11 ^ t16;
    const uint32_t t21 = t17 ^ y20, t22 = t18 ^ y19, t23 = t19 ^ y21, t24 = t20 ^ y18, t25 = t21 ^ t22, t26 = t21 & t23;
    const uint32_t t27 = t24 ^ t26, t28 = t25 & t27, t29 = t28 ^ t22, t30 = t23 ^ t24, t31 = t22 ^ t26, t32 = t31 & t30;
    const uint32_t t33 = t32 ^ t24, t34 = t23 ^ t33, t35 = t27 ^ t33, t36 = t24 & t35, t37 = t36 ^ t34, t38 = t27 ^ t36;
    const uint32_t t39 = t29 & t38, t40 = t25 ^ t39, t41 = t40 ^ t37, t42 = t29 ^ t33, t43 = t29 ^ t40, t44 = t33 ^ t37;
    const uint32_t t45 = t42 ^ t41;
    const uint32_t z0 = t44 & y15, z1 = t37 & y6, z2 = t33 & x7, z3 = t43 & y16, z4 = t40 & y1, z5 = t29 & y7;
    const uint32_t z6 = t42 & y11, z7 = t45 & y17, z8 = t41 & y10, z9 = t44 & y12, z10 = t37 & y3, z11 = t33 & y4;
    const uint32_t z12 = t43 & y13, z13 = t40 & y5, z14 = t29 & y2, z15 = t42 & y9, z16 = t45 & y14, z17 = t41 & y8;
    /* bottom linear layer and the affine constant */
    const uint32_t t46 = z15 ^ z16, t47 = z10 ^ z11, t48 = z5 ^ z13, t49 = z9 ^ z10, t50 = z2 ^ z12, t51 = z2 ^ z5;
    const uint32_t t52 = z7 ^ z8, t53 = z0 ^ z3, t54 = z6 ^ z7, t55 = z16 ^ z17, t56 = z12 ^ t48, t57 = t50 ^ t53;
    const uint32_t t58 = z4 ^ t46, t59 = z3 ^ t54, t60 = t46 ^ t57, t61 = z14 ^ t57, t62 = t52 ^ t58, t63 = t49 ^ t58;
    const uint32_t t64 = z4 ^ t59, t65 = t61 ^ t62, t66 = z1 ^ t63, t67 = t64 ^ t65, s3 = t53 ^ t66;
    q[7] = t59 ^ t63;
    q[6] = t64 ^ ~s3;
    q[5] = t55 ^ ~t67;
    q[4] = s3;
    q[3] = t51 ^ t66;
    q[2] = t47 ^ t65;
    q[1] = t56 ^ ~t62;
    q[0] = t48 ^ ~t60;
}

static void shift_rows(planes *p)
{
    for (unsigned i = 0; i < 8; i++) {
        uint32_t x = p->q[i];
        p->q[i] = (x & 0x000000ffu) | (x >> 2 & 0x00003f00u) | (x << 6 & 0x0000c000u) | (x >> 4 & 0x000f0000u) |
                  (x << 4 & 0x00f00000u) | (x << 2 & 0xfc000000u) | (x >> 6 & 0x03000000u);
    }
}

static uint32_t rotr(uint32_t x, unsigned n)
{
    return x >> n | x << (32 - n);
}

static void mix_columns(planes *p)
{
    uint32_t *q = p->q, t[8];
    for (unsigned i = 0; i < 8; i++) { /* row and the row below */
        t[i] = q[i] ^ rotr(q[i], 8);
    }
    for (unsigned i = 8; i-- > 0;) {
        uint32_t doubled = i ? t[i - 1] : t[7];
        doubled ^= i == 1 || i == 3 || i == 4 ? t[7] : 0;
        q[i] = doubled ^ rotr(q[i], 8) ^ rotr(t[i], 16);
    }
}

static void add_key(planes *p, const planes *k)
{
    for (unsigned i = 0; i < 8; i++) {
        p->q[i] ^= k->q[i];
    }
}

static uint32_t sub_word(uint32_t w)
{
    planes p = {{w, 0, 0, 0, 0, 0, 0, 0}};
    transpose(&p);
    sub_bytes(&p);
    transpose(&p);
    return p.q[0];
}

static void expand_key(const uint8_t key[16], planes k[ROUNDS + 1])
{
    uint32_t w[4], constant = 1;
    for (unsigned c = 0; c < 4; c++) {
        w[c] = bs_load32(key + 4 * c);
    }
    for (unsigned r = 0; r <= ROUNDS; r++) {
        for (unsigned c = 0; c < 4; c++) {
            k[r].q[2 * c] = k[r].q[2 * c + 1] = w[c];
        }
        transpose(&k[r]);
        w[0] ^= sub_word(rotr(w[3], 8)) ^ constant;
        w[1] ^= w[0], w[2] ^= w[1], w[3] ^= w[2];
        constant = (constant << 1) ^ (constant >> 7) * 0x11bu;
    }
    bs_wipe(w, sizeof w);
}

static void encrypt(planes *p, const planes k[ROUNDS + 1])
{
    transpose(p);
    add_key(p, &k[0]);
    for (unsigned r = 1; r <= ROUNDS; r++) {
        sub_bytes(p);
        shift_rows(p);
        if (r < ROUNDS) {
            mix_columns(p);
        }
        add_key(p, &k[r]);
    }
    transpose(p);
}

static uint32_t big_endian(uint32_t v)
{
    return v >> 24 | (v >> 8 & 0xff00u) | (v << 8 & 0xff0000u) | v << 24;
}

bs_status bs_aes_ctr(const uint8_t key[16], const uint8_t nonce[12], uint32_t unit, const uint8_t *in, uint8_t *out,
                     size_t size)
{
    planes k[ROUNDS + 1], p;
    if (!key || !nonce || ((!in || !out) && size)) {
        return BS_ERR_ARGUMENT;
    }
    if (size && (size - 1) / 16 > UINT32_MAX - unit) {
        return BS_ERR_ARGUMENT;
    }
    expand_key(key, k);
    for (size_t done = 0; done < size; unit += 2) {
        for (unsigned c = 0; c < 3; c++) {
            p.q[2 * c] = p.q[2 * c + 1] = bs_load32(nonce + 4 * c);
        }
        p.q[6] = big_endian(unit);
        p.q[7] = big_endian(unit + 1);
        encrypt(&p, k);
        for (unsigned i = 0; i < 32 && done < size; i++, done++) { /* byte i % 16 of block i / 16 */
            uint32_t word = p.q[(i % 16 / 4) * 2 + i / 16];
            out[done] = (uint8_t)(in[done] ^ (uint8_t)(word >> (8 * (i % 4))));
        }
    }
    bs_wipe(k, sizeof k);
    bs_wipe(&p, sizeof p);
    return BS_OK;
}
