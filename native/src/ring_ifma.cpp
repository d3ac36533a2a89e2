// Eight 64-bit lanes of AVX-512-IFMA.
#if defined(__x86_64__)
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC's own _mm512_undefined_*
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>

#include "blindsight/ntt.hpp"

// From here on every function, templates too, is compiled for this instruction set; only ring_kernels() leads here.
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512vl,avx512bw,avx512ifma"))), \
                             apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512vl,avx512bw,avx512ifma")
#endif
#include "blindsight/ring_u52.hpp"

namespace bs {
namespace {

struct IfmaLanes {
    static constexpr unsigned lanes = 8;
    using V = __m512i;
    static V set(u64 x) { return _mm512_set1_epi64(static_cast<long long>(x)); }
    static V zero() { return _mm512_setzero_si512(); }
    static V load(const u64 *p) { return _mm512_loadu_si512(p); }
    static V load_signed(const std::int32_t *p, V q) {
        const V x = _mm512_cvtepi32_epi64(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(p)));
        return _mm512_mask_add_epi64(x, _mm512_movepi64_mask(x), x, q);
    }
    static void store(u64 *p, V x) { _mm512_storeu_si512(p, x); }
    static V add(V a, V b) { return _mm512_add_epi64(a, b); }
    static V sub(V a, V b) { return _mm512_sub_epi64(a, b); }
    static V bit_and(V a, V b) { return _mm512_and_si512(a, b); }
    static V shift52(V a) { return _mm512_srli_epi64(a, 52); }
    static V cut(V a, V m) { return _mm512_min_epu64(a, _mm512_sub_epi64(a, m)); }
    static V madd_lo(V c, V a, V b) { return _mm512_madd52lo_epu64(c, a, b); }
    static V madd_hi(V c, V a, V b) { return _mm512_madd52hi_epu64(c, a, b); }
    template <unsigned t>
    static V repeat(const u64 *p) {
        const V index = _mm512_setr_epi64(0, 1 / t, 2 / t, 3 / t, 4 / t, 5 / t, 6 / t, 7 / t);
        return _mm512_permutexvar_epi64(index, _mm512_maskz_loadu_epi64(static_cast<__mmask8>((1u << (8 / t)) - 1), p));
    }
    template <unsigned from, unsigned to, unsigned second>
    static V indices() {
        const auto at = [](unsigned i) { return static_cast<long long>(place(from, lanes, element(to, i) + second)); };
        return _mm512_setr_epi64(at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7));
    }
    template <unsigned from, unsigned to>
    static void move(V &u, V &v) {
        const V x = u;
        u = _mm512_permutex2var_epi64(x, indices<from, to, 0>(), v);
        v = _mm512_permutex2var_epi64(x, indices<from, to, to>(), v);
    }
};

}  // namespace

const RingKernels kIfmaKernels = RingDriver<RingU52<IfmaLanes>>::kernels("avx512");

}  // namespace bs
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
