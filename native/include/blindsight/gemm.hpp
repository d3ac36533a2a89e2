// Integer convolution mod 2^32: the cloud's online work on x - r (DESIGN section 4, "Online").
//
// Weights of up to 16 bits times 32-bit ring elements. x is split as xl + 2^16 xh with xl a signed 16-bit number, so
// that both halves are what the 16-bit pair dot product (vpmaddwd, vpdpwssd) multiplies; sums wrap mod 2^32, which is
// exact here. Nothing is secret from whoever runs this (the cloud holds weights and x - r); the time depends on the
// shape alone.
#pragma once
#include <cstddef>
#include <cstdint>

namespace bs {

struct ConvShape {
    std::size_t batch, channels, height, width;  // input (batch, channels, height, width)
    std::size_t outputs, out_height, out_width;  // output (batch, outputs, out_height, out_width)
    std::size_t kernel_h, kernel_w, stride_h, stride_w;
    std::size_t top, left;  // rows and columns of zeros before the first element
    std::size_t groups;     // divides channels and outputs
};

// y = w * x mod 2^32; w is (outputs, channels / groups, kernel_h, kernel_w).  A matrix times a vector is a 1 x 1
// picture. Reads of x outside the picture are zero.  threads >= 1.
void conv_mod32(const ConvShape& s, const std::int16_t* w, const std::uint32_t* x, std::uint32_t* y, unsigned threads);

namespace gemm {

// out[row][lane] = sum over k of w[row * stride + k] * x[k][lane], for rows <= max_rows.  A panel holds, for each pair
// of k, the low halves of `lanes` elements (k in bits 0-15, k + 1 in bits 16-31), then the high halves.
using TileKernel = void (*)(const std::int16_t* w, std::size_t stride, std::size_t rows, const std::uint32_t* panel,
                            std::size_t pairs, std::uint32_t* out);

// Fills one pair of a panel in each of `tiles` tiles, `step` words apart, from the elements a of k and b of k + 1.
using InterleaveKernel = void (*)(const std::uint32_t* a, const std::uint32_t* b, std::size_t tiles, std::size_t step,
                                  std::uint32_t* panel);

// out[row][p] = sum over k < n of w[row * stride + k] * x[p][k], rows <= 4, p < points <= 2; x[p] has its low halves at
// lo + p * pitch, its high halves at hi + p * pitch.
using DotKernel = void (*)(const std::int16_t* w, std::size_t stride, std::size_t rows, const std::int16_t* lo,
                           const std::int16_t* hi, std::size_t pitch, std::size_t points, std::size_t n,
                           std::uint32_t* out);

// y[i] += w * x[i * step]
using AxpyKernel = void (*)(std::uint32_t w, const std::uint32_t* x, std::size_t step, std::uint32_t* y, std::size_t n);

struct Kernels {
    std::size_t lanes, max_rows;
    TileKernel tile;  // null: none, layers go by dot
    InterleaveKernel interleave;
    DotKernel dot;
    AxpyKernel axpy;
};

extern const Kernels portable;
#if defined(__x86_64__)
extern const Kernels avx2, avx512;
#endif

}  // namespace gemm
}  // namespace bs
