// The AVX-512-IFMA intrinsics that native/src/ring_ifma.cpp uses, in plain C++: tests run the kernels where the
// processor has none. Included before the file (-include), with the compiler's own header switched off.
#pragma once
#include <cstdint>
#include <cstring>

#define _IMMINTRIN_H_INCLUDED
#define __IMMINTRIN_H

struct __m256i {
    std::int32_t lane[8];
};
struct __m512i {
    std::uint64_t lane[8];
};
using __mmask8 = std::uint8_t;

template <class Lane>
static inline __m512i lanes(const Lane& lane) {
    __m512i out;
    for (int i = 0; i < 8; ++i) out.lane[i] = static_cast<std::uint64_t>(lane(i));
    return out;
}
static inline __m512i _mm512_set1_epi64(long long x) {
    return lanes([&](int) { return x; });
}
static inline __m512i _mm512_setzero_si512() { return _mm512_set1_epi64(0); }
static inline __m512i _mm512_setr_epi64(long long a, long long b, long long c, long long d, long long e, long long f,
                                        long long g, long long h) {
    const long long all[8] = {a, b, c, d, e, f, g, h};
    return lanes([&](int i) { return all[i]; });
}
static inline __m512i _mm512_loadu_si512(const void* p) {
    __m512i out;
    std::memcpy(&out, p, 64);
    return out;
}
static inline void _mm512_storeu_si512(void* p, __m512i x) { std::memcpy(p, &x, 64); }
static inline __m256i _mm256_loadu_si256(const __m256i* p) {
    __m256i out;
    std::memcpy(&out, p, 32);
    return out;
}
static inline __m512i _mm512_maskz_loadu_epi64(__mmask8 k, const void* p) {  // touches no element that is masked out
    __m512i out = _mm512_setzero_si512();
    for (int i = 0; i < 8; ++i)
        if (k >> i & 1) std::memcpy(&out.lane[i], static_cast<const char*>(p) + 8 * i, 8);
    return out;
}
static inline __m512i _mm512_cvtepi32_epi64(__m256i x) {
    return lanes([&](int i) { return std::int64_t{x.lane[i]}; });
}
static inline __mmask8 _mm512_movepi64_mask(__m512i x) {
    unsigned k = 0;
    for (int i = 0; i < 8; ++i) k |= static_cast<unsigned>(x.lane[i] >> 63) << i;
    return static_cast<__mmask8>(k);
}
static inline __m512i _mm512_add_epi64(__m512i a, __m512i b) {
    return lanes([&](int i) { return a.lane[i] + b.lane[i]; });
}
static inline __m512i _mm512_mask_add_epi64(__m512i otherwise, __mmask8 k, __m512i a, __m512i b) {
    return lanes([&](int i) { return k >> i & 1 ? a.lane[i] + b.lane[i] : otherwise.lane[i]; });
}
static inline __m512i _mm512_sub_epi64(__m512i a, __m512i b) {
    return lanes([&](int i) { return a.lane[i] - b.lane[i]; });
}
static inline __m512i _mm512_and_si512(__m512i a, __m512i b) {
    return lanes([&](int i) { return a.lane[i] & b.lane[i]; });
}
static inline __m512i _mm512_srli_epi64(__m512i a, unsigned n) {
    return lanes([&](int i) { return a.lane[i] >> n; });
}
static inline __m512i _mm512_min_epu64(__m512i a, __m512i b) {
    return lanes([&](int i) { return a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i]; });
}
static inline unsigned __int128 product52(std::uint64_t a, std::uint64_t b) {
    constexpr std::uint64_t mask = (std::uint64_t{1} << 52) - 1;
    return static_cast<unsigned __int128>(a & mask) * (b & mask);
}
static inline __m512i _mm512_madd52lo_epu64(__m512i sum, __m512i a, __m512i b) {
    return lanes([&](int i) {
        return sum.lane[i] + (static_cast<std::uint64_t>(product52(a.lane[i], b.lane[i])) & ((1ull << 52) - 1));
    });
}
static inline __m512i _mm512_madd52hi_epu64(__m512i sum, __m512i a, __m512i b) {
    return lanes(
        [&](int i) { return sum.lane[i] + static_cast<std::uint64_t>(product52(a.lane[i], b.lane[i]) >> 52); });
}
static inline __m512i _mm512_permutexvar_epi64(__m512i index, __m512i a) {
    return lanes([&](int i) { return a.lane[index.lane[i] & 7]; });
}
static inline __m512i _mm512_permutex2var_epi64(__m512i a, __m512i index, __m512i b) {
    return lanes([&](int i) { return index.lane[i] & 8 ? b.lane[index.lane[i] & 7] : a.lane[index.lane[i] & 7]; });
}
