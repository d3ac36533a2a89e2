// The few AVX-512 intrinsics that native/src/gemm_avx512.cpp uses, in plain C++: tests run the kernels where the
// processor has none. Included before the file (-include), with the compiler's own header switched off.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>

#define _IMMINTRIN_H_INCLUDED
#define __IMMINTRIN_H
#define target(...) unused  // no function may really be compiled for AVX-512
#define __asm__(...)        // ordering hints for the register allocator

struct __m512i {
    std::uint32_t lane[16];
};
using __mmask32 = std::uint32_t;

template <class Lane>
static inline __m512i lanes(const Lane& lane) {
    __m512i out;
    for (int i = 0; i < 16; ++i) out.lane[i] = static_cast<std::uint32_t>(lane(i));
    return out;
}
static inline __m512i _mm512_set1_epi32(int x) {
    return lanes([&](int) { return x; });
}
static inline __m512i _mm512_setzero_si512() { return _mm512_set1_epi32(0); }
static inline __m512i _mm512_loadu_si512(const void* p) {
    __m512i out;
    std::memcpy(&out, p, 64);
    return out;
}
static inline void _mm512_storeu_si512(void* p, __m512i x) { std::memcpy(p, &x, 64); }
static inline __m512i _mm512_add_epi32(__m512i a, __m512i b) {
    return lanes([&](int i) { return a.lane[i] + b.lane[i]; });
}
static inline __m512i _mm512_slli_epi32(__m512i a, unsigned n) {
    return lanes([&](int i) { return a.lane[i] << n; });
}
static inline __m512i _mm512_srli_epi32(__m512i a, unsigned n) {
    return lanes([&](int i) { return a.lane[i] >> n; });
}
static inline std::int64_t half(std::uint32_t x, int which) { return static_cast<std::int16_t>(x >> (16 * which)); }
static inline __m512i _mm512_dpwssd_epi32(__m512i sum, __m512i a, __m512i b) {
    return lanes([&](int i) {
        return sum.lane[i] + half(a.lane[i], 0) * half(b.lane[i], 0) + half(a.lane[i], 1) * half(b.lane[i], 1);
    });
}
static inline __m512i _mm512_mask_blend_epi16(__mmask32 k, __m512i a, __m512i b) {
    return lanes([&](int i) {
        const std::uint32_t m = (k >> (2 * i) & 1 ? 0xFFFFu : 0) | (k >> (2 * i + 1) & 1 ? 0xFFFF0000u : 0);
        return (a.lane[i] & ~m) | (b.lane[i] & m);
    });
}
static inline __m512i _mm512_maskz_loadu_epi16(__mmask32 k, const void* p) {  // touches no element that is masked out
    __m512i out = _mm512_setzero_si512();
    for (int i = 0; i < 32; ++i)
        if (k >> i & 1) std::memcpy(reinterpret_cast<char*>(&out) + 2 * i, static_cast<const char*>(p) + 2 * i, 2);
    return out;
}
static inline int _mm512_reduce_add_epi32(__m512i a) {
    std::uint32_t sum = 0;
    for (std::uint32_t x : a.lane) sum += x;
    return static_cast<int>(sum);
}
