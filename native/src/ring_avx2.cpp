// Four doubles (or 64-bit numbers) of AVX2 with FMA.
#if defined(__x86_64__)
#include <immintrin.h>

#include "blindsight/ntt.hpp"

// From here on every function, templates too, is compiled for this instruction set; only ring_kernels() leads here.
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#include "blindsight/ring_f64.hpp"

namespace bs {
namespace {

struct Avx2Lanes {
    static constexpr unsigned lanes = 4;
    using F = __m256d;
    using U = __m256i;

    static F set(double x) { return _mm256_set1_pd(x); }
    static F load(const double *p) { return _mm256_load_pd(p); }  // only the driver's own buffer
    static void store(double *p, F x) { _mm256_store_pd(p, x); }
    static F add(F a, F b) { return _mm256_add_pd(a, b); }
    static F sub(F a, F b) { return _mm256_sub_pd(a, b); }
    static F mul(F a, F b) { return _mm256_mul_pd(a, b); }
    static F product_minus(F a, F b, F c) { return _mm256_fmsub_pd(a, b, c); }
    static F minus_product(F c, F a, F b) { return _mm256_fnmadd_pd(a, b, c); }
    static F round(F x) { return _mm256_round_pd(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
    static F add_if_negative(F x, F q) {
        return _mm256_add_pd(x, _mm256_and_pd(q, _mm256_cmp_pd(x, _mm256_setzero_pd(), _CMP_LT_OQ)));
    }

    // Numbers below 2^52 are the mantissas of doubles in [2^52, 2^53).
    static F from_u52(U x) {
        const F magic = _mm256_set1_pd(4503599627370496.0);
        return _mm256_sub_pd(_mm256_or_pd(_mm256_castsi256_pd(x), magic), magic);
    }
    static U to_u52(F x) {
        const F magic = _mm256_set1_pd(4503599627370496.0);
        return _mm256_castpd_si256(_mm256_xor_pd(_mm256_add_pd(x, magic), magic));
    }
    static F from_i32(const std::int32_t *p) {
        return _mm256_cvtepi32_pd(_mm_loadu_si128(reinterpret_cast<const __m128i *>(p)));
    }

    static U zero() { return _mm256_setzero_si256(); }
    static U set_u64(u64 x) { return _mm256_set1_epi64x(static_cast<long long>(x)); }
    static U load(const u64 *p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i *>(p)); }
    static void store(u64 *p, U x) { _mm256_storeu_si256(reinterpret_cast<__m256i *>(p), x); }
    static U add(U a, U b) { return _mm256_add_epi64(a, b); }
    static U bit_and(U a, U b) { return _mm256_and_si256(a, b); }
    static U mul32(U a, U b) { return _mm256_mul_epu32(a, b); }
    template <int k>
    static U shift_right(U a) {
        return _mm256_srli_epi64(a, k);
    }
    template <int k>
    static U shift_left(U a) {
        return _mm256_slli_epi64(a, k);
    }

    template <unsigned t>
    static F repeat(const double *p) {
        if constexpr (t == 2) return _mm256_permute_pd(_mm256_broadcast_pd(reinterpret_cast<const __m128d *>(p)), 0xC);
        return _mm256_loadu_pd(p);
    }
    // Arrangements 4 and 2 differ by halves, 2 and 1 by neighbours; each move undoes itself.
    template <unsigned from, unsigned to>
    static void move(F &u, F &v) {
        const auto halves = [&] {
            const F x = u;
            u = _mm256_permute2f128_pd(x, v, 0x20), v = _mm256_permute2f128_pd(x, v, 0x31);
        };
        const auto neighbours = [&] {
            const F x = u;
            u = _mm256_unpacklo_pd(x, v), v = _mm256_unpackhi_pd(x, v);
        };
        if constexpr (from == 4) halves();
        if constexpr (from == 1 || to == 1) neighbours();
        if constexpr (to == 4) halves();
    }
};

}  // namespace

const RingKernels kAvx2Kernels = RingDriver<RingF64<Avx2Lanes>>::kernels("avx2");

}  // namespace bs
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
