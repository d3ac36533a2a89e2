#include "blindsight/gemm.hpp"

#if defined(__x86_64__)
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))

namespace bs::gemm {
namespace {

AVX2 inline __m256i pair(const std::int16_t* w) {
    std::int32_t both;
    __builtin_memcpy(&both, w, sizeof both);
    return _mm256_set1_epi32(both);
}

// 6 rows: 12 accumulators, the two halves of x and one weight pair fill the 16 registers
template <int ROWS>
AVX2 void tile_rows(const std::int16_t* w, std::size_t stride, const std::uint32_t* panel, std::size_t pairs,
                    std::uint32_t* out) {
    __m256i low[ROWS], high[ROWS];
#pragma GCC unroll 6
    for (int r = 0; r < ROWS; ++r) low[r] = high[r] = _mm256_setzero_si256();
    for (std::size_t k = 0; k < pairs; ++k) {
        const __m256i xl = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(panel + 16 * k));
        const __m256i xh = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(panel + 16 * k + 8));
#pragma GCC unroll 6
        for (int r = 0; r < ROWS; ++r) {
            const __m256i v = pair(w + r * stride + 2 * k);
            low[r] = _mm256_add_epi32(low[r], _mm256_madd_epi16(v, xl));
            high[r] = _mm256_add_epi32(high[r], _mm256_madd_epi16(v, xh));
            __asm__(""
                    : "+x"(low[r]), "+x"(high[r]));  // row after row: GCC else loads all six pairs and spills the sums
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < ROWS; ++r)
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 8 * r),
                            _mm256_add_epi32(low[r], _mm256_slli_epi32(high[r], 16)));
}

AVX2 void tile(const std::int16_t* w, std::size_t stride, std::size_t rows, const std::uint32_t* panel,
               std::size_t pairs, std::uint32_t* out) {
    switch (rows) {
        case 6:
            return tile_rows<6>(w, stride, panel, pairs, out);
        case 5:
            return tile_rows<5>(w, stride, panel, pairs, out);
        case 4:
            return tile_rows<4>(w, stride, panel, pairs, out);
        case 3:
            return tile_rows<3>(w, stride, panel, pairs, out);
        case 2:
            return tile_rows<2>(w, stride, panel, pairs, out);
        default:
            return tile_rows<1>(w, stride, panel, pairs, out);
    }
}

AVX2 void interleave(const std::uint32_t* a, const std::uint32_t* b, std::size_t tiles, std::size_t step,
                     std::uint32_t* panel) {
    const __m256i half = _mm256_set1_epi32(0x8000);
    for (std::size_t t = 0; t < tiles; ++t) {
        const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(a + 8 * t));
        const __m256i y = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(b + 8 * t));
        const auto to = reinterpret_cast<__m256i*>(panel + t * step);
        _mm256_storeu_si256(to, _mm256_blend_epi16(x, _mm256_slli_epi32(y, 16), 0xAA));
        const __m256i above = _mm256_srli_epi32(_mm256_add_epi32(x, half), 16);
        _mm256_storeu_si256(to + 1, _mm256_blend_epi16(above, _mm256_add_epi32(y, half), 0xAA));
    }
}

AVX2 inline std::uint32_t sum(__m256i v) {
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4E));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xB1));
    return static_cast<std::uint32_t>(_mm_cvtsi128_si32(s));
}

template <int ROWS, int POINTS>
AVX2 void dot_block(const std::int16_t* w, std::size_t stride, const std::int16_t* lo, const std::int16_t* hi,
                    std::size_t pitch, std::size_t n, std::uint32_t* out) {
    __m256i low[ROWS][POINTS], high[ROWS][POINTS];
#pragma GCC unroll 4
    for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 2
        for (int p = 0; p < POINTS; ++p) low[r][p] = high[r][p] = _mm256_setzero_si256();
    const std::size_t whole = n / 16 * 16;
    for (std::size_t k = 0; k < whole; k += 16) {
#pragma GCC unroll 2
        for (int p = 0; p < POINTS; ++p) {
            const __m256i xl = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(lo + p * pitch + k));
            const __m256i xh = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(hi + p * pitch + k));
#pragma GCC unroll 4
            for (int r = 0; r < ROWS; ++r) {
                const __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w + r * stride + k));
                low[r][p] = _mm256_add_epi32(low[r][p], _mm256_madd_epi16(v, xl));
                high[r][p] = _mm256_add_epi32(high[r][p], _mm256_madd_epi16(v, xh));
                __asm__("" : "+x"(low[r][p]), "+x"(high[r][p]));
            }
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 2
        for (int p = 0; p < POINTS; ++p) {
            std::uint32_t tail = 0;
            portable.dot(w + r * stride + whole, 0, 1, lo + p * pitch + whole, hi + p * pitch + whole, 0, 1, n - whole,
                         &tail);
            out[r * POINTS + p] = sum(low[r][p]) + (sum(high[r][p]) << 16) + tail;
        }
}

AVX2 void dot(const std::int16_t* w, std::size_t stride, std::size_t rows, const std::int16_t* lo,
              const std::int16_t* hi, std::size_t pitch, std::size_t points, std::size_t n, std::uint32_t* out) {
    for (std::size_t r = 0; r < rows;) {
        const std::int16_t* row = w + r * stride;
        std::uint32_t* to = out + r * points;
        if (points == 2 && rows - r >= 3)
            dot_block<3, 2>(row, stride, lo, hi, pitch, n, to), r += 3;
        else if (points == 2)
            dot_block<1, 2>(row, stride, lo, hi, pitch, n, to), r += 1;
        else if (rows - r >= 4)
            dot_block<4, 1>(row, stride, lo, hi, pitch, n, to), r += 4;
        else
            dot_block<1, 1>(row, stride, lo, hi, pitch, n, to), r += 1;
    }
}

AVX2 void axpy(std::uint32_t w, const std::uint32_t* x, std::size_t step, std::uint32_t* y, std::size_t n) {
    std::size_t i = 0;
    const __m256i v = _mm256_set1_epi32(static_cast<int>(w));
    if (step == 1)
        for (; i + 8 <= n; i += 8) {
            const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + i));
            const auto to = reinterpret_cast<__m256i*>(y + i);
            _mm256_storeu_si256(to, _mm256_add_epi32(_mm256_loadu_si256(to), _mm256_mullo_epi32(v, a)));
        }
    for (; i < n; ++i) y[i] += w * x[i * step];
}

}  // namespace

const Kernels avx2{8, 6, tile, interleave, dot, axpy};

}  // namespace bs::gemm
#endif
