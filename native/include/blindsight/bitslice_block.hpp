// 64 integers <-> bit planes, portable and AVX2, and the dispatch that the bit-sliced kernels share.
#pragma once
#include <cstring>

#include "blindsight/bitslice.hpp"
#include "blindsight/cpu.hpp"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace bs::bitslice {

constexpr u32 low_mask(unsigned w) { return w >= 32 ? ~0u : (1u << w) - 1; }

struct Portable {
    // 32x32 bit matrix, in place: bit j of row i <-> bit i of row j (Warren, Hacker's Delight, section 7-3; mirrored).
    static void transpose32(u32 *a) {
        u32 mask = 0x0000FFFF;
        for (unsigned j = 16; j != 0; j >>= 1, mask ^= mask << j)
            for (unsigned k = 0; k < 32; k = (k + j + 1) & ~j) {
                const u32 t = ((a[k] >> j) ^ a[k + j]) & mask;
                a[k] ^= t << j;
                a[k + j] ^= t;
            }
    }
    static void slice64(const u32 *x, unsigned w, u64 *planes, size_t stride) {
        u32 lo[32], hi[32];
        std::memcpy(lo, x, sizeof lo);
        std::memcpy(hi, x + 32, sizeof hi);
        transpose32(lo);
        transpose32(hi);
        for (unsigned j = 0; j < w; ++j) planes[j * stride] = lo[j] | (static_cast<u64>(hi[j]) << 32);
    }
    static void unslice64(const u64 *planes, size_t stride, unsigned w, u32 *x) {
        for (unsigned j = 0; j < w; ++j) {
            x[j] = static_cast<u32>(planes[j * stride]);
            x[32 + j] = static_cast<u32>(planes[j * stride] >> 32);
        }
        for (unsigned j = w; j < 32; ++j) x[j] = x[32 + j] = 0;
        transpose32(x);
        transpose32(x + 32);
    }
};

#if defined(__x86_64__)
struct Avx2 {
    // byte `b` of 32 integers, in order
    [[gnu::target("avx2")]] static __m256i bytes32(const u32 *x, unsigned b) {
        const __m256i byte = _mm256_set1_epi32(0xFF);
        const __m128i by = _mm_cvtsi32_si128(static_cast<int>(8 * b));
        const auto get = [&](unsigned i) __attribute__((target("avx2"))) {
            return _mm256_and_si256(
                _mm256_srl_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(x + 8 * i)), by), byte);
        };
        const __m256i ab = _mm256_packus_epi32(get(0), get(1)), cd = _mm256_packus_epi32(get(2), get(3));
        return _mm256_permutevar8x32_epi32(_mm256_packus_epi16(ab, cd), _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    }
    [[gnu::target("avx2")]] static void slice64(const u32 *x, unsigned w, u64 *planes, size_t stride) {
        for (unsigned b = 0; 8 * b < w; ++b) {
            __m256i lo = bytes32(x, b), hi = bytes32(x + 32, b);
            const unsigned top = w - 8 * b < 8 ? w - 8 * b : 8;
            const __m128i skip = _mm_cvtsi32_si128(static_cast<int>(8 - top));  // bits that nobody wants
            lo = _mm256_sll_epi16(lo, skip);
            hi = _mm256_sll_epi16(hi, skip);
            for (unsigned j = top; j-- > 0;) {
                const u64 l = static_cast<u32>(_mm256_movemask_epi8(lo)),
                          h = static_cast<u32>(_mm256_movemask_epi8(hi));
                planes[(8 * b + j) * stride] = l | (h << 32);
                lo = _mm256_add_epi8(lo, lo);
                hi = _mm256_add_epi8(hi, hi);
            }
        }
    }
    // 32 bits -> 32 bytes, 0xFF where set
    [[gnu::target("avx2")]] static __m256i spread(u32 bits) {
        const __m256i where =
            _mm256_setr_epi64x(0x0000000000000000, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
        const __m256i bit = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201ULL));
        const __m256i all = _mm256_shuffle_epi8(_mm256_set1_epi32(static_cast<int>(bits)), where);
        return _mm256_cmpeq_epi8(_mm256_and_si256(all, bit), bit);
    }
    [[gnu::target("avx2")]] static void unslice64(const u64 *planes, size_t stride, unsigned w, u32 *x) {
        for (unsigned half = 0; half < 2; ++half) {
            __m256i acc[4] = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(),
                              _mm256_setzero_si256()};
            for (unsigned b = 0; 8 * b < w; ++b) {
                const unsigned top = w - 8 * b < 8 ? w - 8 * b : 8;
                for (unsigned j = 0; j < top; ++j) {
                    const u32 bits = static_cast<u32>(planes[(8 * b + j) * stride] >> (32 * half));
                    acc[b] = _mm256_or_si256(
                        acc[b], _mm256_and_si256(spread(bits), _mm256_set1_epi8(static_cast<char>(1 << j))));
                }
            }
            alignas(32) std::uint8_t byte[4][32];
            for (unsigned b = 0; b < 4; ++b) _mm256_store_si256(reinterpret_cast<__m256i *>(byte[b]), acc[b]);
            for (unsigned i = 0; i < 32; i += 8) {
                const auto widen = [&](unsigned b) __attribute__((target("avx2"))) {
                    return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i *>(byte[b] + i)));
                };
                __m256i v = widen(0);
                if (w > 8) v = _mm256_or_si256(v, _mm256_slli_epi32(widen(1), 8));
                if (w > 16) v = _mm256_or_si256(v, _mm256_slli_epi32(widen(2), 16));
                if (w > 24) v = _mm256_or_si256(v, _mm256_slli_epi32(widen(3), 24));
                _mm256_storeu_si256(reinterpret_cast<__m256i *>(x + 32 * half + i), v);
            }
        }
    }
};

template <class Body>
[[gnu::target("avx2,bmi2")]] void run_avx2(const Body &body) {
    body(Avx2{});
}
#endif

// Runs body(Isa{}) compiled for the best instruction set allowed; the body must be always_inline.
template <class Body>
void dispatch(const Body &body) {
#if defined(__x86_64__)
    if (features().avx2) return run_avx2(body);
#endif
    body(Portable{});
}

// body(word, first, count) for every 64 elements
template <class Body>
[[gnu::always_inline]] inline void blocks(size_t n, const Body &body) {
    for (size_t i = 0; i < n / 64; ++i) body(i, 64 * i, static_cast<size_t>(64));
    if (n % 64 != 0) body(n / 64, n - n % 64, n % 64);
}

// all ones where bit i of the word is set
[[gnu::always_inline]] inline u32 mask_of(u64 word, unsigned i) {
    return -(static_cast<u32>(word >> (i & 32)) >> (i & 31) & 1u);
}

}  // namespace bs::bitslice
