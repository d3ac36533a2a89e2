#include "blindsight/gemm.hpp"

#if defined(__x86_64__)
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"  // in GCC 12's own avx512fintrin.h (its bug 105593)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>

#define VNNI __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni")))

namespace bs::gemm {
namespace {

// vpdpwssd multiplies 16-bit pairs and accumulates in one instruction; 12 rows: 24 accumulators of the 32 registers
template <int ROWS>
VNNI void tile_rows(const std::int16_t* w, std::size_t stride, const std::uint32_t* panel, std::size_t pairs,
                    std::uint32_t* out) {
    __m512i low[ROWS], high[ROWS];
#pragma GCC unroll 12
    for (int r = 0; r < ROWS; ++r) low[r] = high[r] = _mm512_setzero_si512();
    for (std::size_t k = 0; k < pairs; ++k) {
        const __m512i xl = _mm512_loadu_si512(panel + 32 * k), xh = _mm512_loadu_si512(panel + 32 * k + 16);
#pragma GCC unroll 12
        for (int r = 0; r < ROWS; ++r) {
            std::int32_t both;
            __builtin_memcpy(&both, w + r * stride + 2 * k, sizeof both);
            const __m512i v = _mm512_set1_epi32(both);
            low[r] = _mm512_dpwssd_epi32(low[r], v, xl);
            high[r] = _mm512_dpwssd_epi32(high[r], v, xh);
            __asm__("" : "+v"(low[r]), "+v"(high[r]));  // row after row: see gemm_avx2.cpp
        }
    }
#pragma GCC unroll 12
    for (int r = 0; r < ROWS; ++r)
        _mm512_storeu_si512(out + 16 * r, _mm512_add_epi32(low[r], _mm512_slli_epi32(high[r], 16)));
}

VNNI void tile(const std::int16_t* w, std::size_t stride, std::size_t rows, const std::uint32_t* panel,
               std::size_t pairs, std::uint32_t* out) {
    for (std::size_t r = 0; r < rows;) {
        const std::int16_t* row = w + r * stride;
        std::uint32_t* to = out + 16 * r;
        if (rows - r >= 12)
            tile_rows<12>(row, stride, panel, pairs, to), r += 12;
        else if (rows - r >= 4)
            tile_rows<4>(row, stride, panel, pairs, to), r += 4;
        else
            tile_rows<1>(row, stride, panel, pairs, to), r += 1;
    }
}

VNNI void interleave(const std::uint32_t* a, const std::uint32_t* b, std::size_t tiles, std::size_t step,
                     std::uint32_t* panel) {
    const __m512i half = _mm512_set1_epi32(0x8000);
    for (std::size_t t = 0; t < tiles; ++t) {
        const __m512i x = _mm512_loadu_si512(a + 16 * t), y = _mm512_loadu_si512(b + 16 * t);
        std::uint32_t* to = panel + t * step;
        _mm512_storeu_si512(to, _mm512_mask_blend_epi16(0xAAAAAAAA, x, _mm512_slli_epi32(y, 16)));
        const __m512i above = _mm512_srli_epi32(_mm512_add_epi32(x, half), 16);
        _mm512_storeu_si512(to + 16, _mm512_mask_blend_epi16(0xAAAAAAAA, above, _mm512_add_epi32(y, half)));
    }
}

template <int ROWS, int POINTS>
VNNI void dot_block(const std::int16_t* w, std::size_t stride, const std::int16_t* lo, const std::int16_t* hi,
                    std::size_t pitch, std::size_t n, std::uint32_t* out) {
    __m512i low[ROWS][POINTS], high[ROWS][POINTS];
#pragma GCC unroll 4
    for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 2
        for (int p = 0; p < POINTS; ++p) low[r][p] = high[r][p] = _mm512_setzero_si512();
    for (std::size_t k = 0; k < n; k += 32) {
        const __mmask32 in = n - k >= 32 ? ~__mmask32{0} : (__mmask32{1} << (n - k)) - 1;
#pragma GCC unroll 2
        for (int p = 0; p < POINTS; ++p) {
            const __m512i xl = _mm512_maskz_loadu_epi16(in, lo + p * pitch + k);
            const __m512i xh = _mm512_maskz_loadu_epi16(in, hi + p * pitch + k);
#pragma GCC unroll 4
            for (int r = 0; r < ROWS; ++r) {
                const __m512i v = _mm512_maskz_loadu_epi16(in, w + r * stride + k);
                low[r][p] = _mm512_dpwssd_epi32(low[r][p], v, xl);
                high[r][p] = _mm512_dpwssd_epi32(high[r][p], v, xh);
            }
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 2
        for (int p = 0; p < POINTS; ++p)
            out[r * POINTS + p] = static_cast<std::uint32_t>(
                _mm512_reduce_add_epi32(_mm512_add_epi32(low[r][p], _mm512_slli_epi32(high[r][p], 16))));
}

VNNI void dot(const std::int16_t* w, std::size_t stride, std::size_t rows, const std::int16_t* lo,
              const std::int16_t* hi, std::size_t pitch, std::size_t points, std::size_t n, std::uint32_t* out) {
    for (std::size_t r = 0; r < rows;) {
        const std::int16_t* row = w + r * stride;
        std::uint32_t* to = out + r * points;
        if (points == 2 && rows - r >= 4)
            dot_block<4, 2>(row, stride, lo, hi, pitch, n, to), r += 4;
        else if (points == 2)
            dot_block<1, 2>(row, stride, lo, hi, pitch, n, to), r += 1;
        else if (rows - r >= 4)
            dot_block<4, 1>(row, stride, lo, hi, pitch, n, to), r += 4;
        else
            dot_block<1, 1>(row, stride, lo, hi, pitch, n, to), r += 1;
    }
}

}  // namespace

const Kernels avx512{16, 12, tile, interleave, dot, nullptr};  // axpy: the AVX2 one

}  // namespace bs::gemm
#endif
