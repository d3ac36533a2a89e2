// VAES backend on 256-bit registers: two blocks an instruction.  Include under a target that has AVX2, AES and VAES.
#pragma once
#include <immintrin.h>

#include "blindsight/aes.hpp"
#include "blindsight/vec.hpp"

namespace bs {
namespace {

struct VaesBackend {
    BS_INLINE void encrypt(const AesKey& key, V (&v)[STEP]) {
        __m256i x[STEP];
        const __m256i k0 = round_key(key, 0);
        for (int i = 0; i < STEP; ++i) x[i] = _mm256_xor_si256((__m256i)v[i], k0);
#pragma GCC unroll 10
        for (int r = 1; r < 10; ++r) {
            const __m256i k = round_key(key, r);
            for (int i = 0; i < STEP; ++i) x[i] = _mm256_aesenc_epi128(x[i], k);
        }
        const __m256i k10 = round_key(key, 10);
        for (int i = 0; i < STEP; ++i) v[i] = (V)_mm256_aesenclast_epi128(x[i], k10);
    }

    BS_INLINE unsigned top_bits(const V32& x) { return static_cast<unsigned>(_mm256_movemask_ps((__m256)x)); }

    // floor(k x / 2^32) of every entry.
    BS_INLINE V32 scale(const V32& x, std::uint32_t k) {
        const __m256i r = (__m256i)x, kk = _mm256_set1_epi64x(k);
        const __m256i even = _mm256_srli_epi64(_mm256_mul_epu32(r, kk), 32),
                      odd = _mm256_mul_epu32(_mm256_srli_epi64(r, 32), kk);
        return (V32)_mm256_blend_epi32(even, odd, 0xAA);
    }

  private:
    BS_INLINE __m256i round_key(const AesKey& key, int r) {
        return _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(key.round[r])));
    }
};

}  // namespace
}  // namespace bs
