// Bit-sliced AES-128 on 16 blocks: the portable, constant-time backend.
//
// Plane b holds bit b of every byte: byte p of a plane (p = position in a pair of blocks) packs that bit of the 8
// vectors.  SubBytes is a circuit on planes, ShiftRows moves 32-bit columns under a row mask, MixColumns rotates
// columns.
#pragma once
#include "blindsight/aes.hpp"
#include "blindsight/aes_sbox.hpp"
#include "blindsight/vec.hpp"

namespace bs {

struct PortableBackend {
    // Exchange: bit b of byte p of vector i becomes bit i of byte p of vector b.  Its own inverse.
    BS_INLINE void slice(V (&x)[8]) {
        exchange<4>(x, 0x0F0F0F0F0F0F0F0Full);
        exchange<2>(x, 0x3333333333333333ull);
        exchange<1>(x, 0x5555555555555555ull);
    }

    static void encrypt(const AesKey& key, V (&x)[8]) {
        slice(x);
        add_key(x, key.round[0]);
        for (int r = 1; r <= 10; ++r) {
            V u[8] = {x[7], x[6], x[5], x[4], x[3], x[2], x[1], x[0]};
            sub_bytes(u);
            for (int b = 0; b < 8; ++b) x[b] = shift_rows(u[7 - b]);
            if (r < 10) mix_columns(x);
            add_key(x, key.round[r]);
        }
        slice(x);
    }

    // The top bits of the eight 32-bit entries.
    BS_INLINE unsigned top_bits(const V32& x) {
        unsigned m = 0;
        for (int i = 0; i < 8; ++i) m |= (x[i] >> 31) << i;
        return m;
    }

    // floor(k x / 2^32) of every entry.
    BS_INLINE V32 scale(const V32& x, std::uint32_t k) {
        V32 y;
        for (int i = 0; i < 8; ++i) y[i] = static_cast<std::uint32_t>(static_cast<std::uint64_t>(x[i]) * k >> 32);
        return y;
    }

  private:
    template <int S>
    BS_INLINE void exchange(V (&x)[8], std::uint64_t mask) {
        for (int i = 0; i < 8; ++i) {
            if (i & S) continue;
            const V t = ((x[i] >> S) ^ x[i + S]) & mask;
            x[i + S] ^= t;
            x[i] ^= t << S;
        }
    }

    BS_INLINE void add_key(V (&x)[8], const std::uint8_t* k) {
        const V8 key = (V8)twice(k);
        for (int b = 0; b < 8; ++b) x[b] ^= (V)(-((key >> b) & 1));
    }

    BS_INLINE V shift_rows(const V& plane) {  // row r of column c comes from column c + r
        const V32 p = (V32)plane;
        const V32 a = __builtin_shufflevector(p, p, 1, 2, 3, 0, 5, 6, 7, 4),
                  b = __builtin_shufflevector(p, p, 2, 3, 0, 1, 6, 7, 4, 5),
                  c = __builtin_shufflevector(p, p, 3, 0, 1, 2, 7, 4, 5, 6);
        return (V)((p & 0xFFu) | (a & 0xFF00u) | (b & 0xFF0000u) | (c & 0xFF000000u));
    }

    template <int S>
    BS_INLINE V32 rotate(const V32& x) {
        return (x >> S) | (x << (32 - S));
    }

    // out = 2 (a ^ n) ^ n ^ (a ^ n of two rows on), a the byte, n the byte of the next row
    BS_INLINE void mix_columns(V (&x)[8]) {
        V32 sum[8], next[8];
        for (int b = 0; b < 8; ++b) {
            next[b] = rotate<8>((V32)x[b]);
            sum[b] = (V32)x[b] ^ next[b];
        }
        for (int b = 0; b < 8; ++b) {
            V32 twice_sum = b ? sum[b - 1] : sum[7];
            if (b == 1 || b == 3 || b == 4) twice_sum ^= sum[7];  // x^8 = x^4 + x^3 + x + 1
            x[b] = (V)(twice_sum ^ next[b] ^ rotate<16>(sum[b]));
        }
    }
};

}  // namespace bs
