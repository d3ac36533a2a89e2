// AES-NI backend.  Include under a target that has AVX2 and AES.
#pragma once
#include <immintrin.h>

#include "blindsight/aes.hpp"
#include "blindsight/vec.hpp"

namespace bs {
namespace {

struct AesNiBackend {
    BS_INLINE void encrypt(const AesKey& key, V (&v)[STEP]) {  // two halves of 8 blocks: 16 would not fit 16 registers
        for (int half = 0; half < STEP; half += STEP / 2) {
            __m128i x[STEP];
            const __m128i k0 = round_key(key, 0);
            for (int i = 0; i < STEP / 2; ++i) {
                const __m256i y = (__m256i)v[half + i];
                x[2 * i] = _mm_xor_si128(_mm256_castsi256_si128(y), k0);
                x[2 * i + 1] = _mm_xor_si128(_mm256_extracti128_si256(y, 1), k0);
            }
            for (int r = 1; r < 10; ++r) {
                const __m128i k = round_key(key, r);
                for (int i = 0; i < STEP; ++i) x[i] = _mm_aesenc_si128(x[i], k);
            }
            const __m128i k10 = round_key(key, 10);
            for (int i = 0; i < STEP; ++i) x[i] = _mm_aesenclast_si128(x[i], k10);
            for (int i = 0; i < STEP / 2; ++i) v[half + i] = (V)_mm256_set_m128i(x[2 * i + 1], x[2 * i]);
        }
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
    BS_INLINE __m128i round_key(const AesKey& key, int r) {
        return _mm_load_si128(reinterpret_cast<const __m128i*>(key.round[r]));
    }
};

}  // namespace
}  // namespace bs
