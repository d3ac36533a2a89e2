#include "blindsight/gemm.hpp"

namespace bs::gemm {
namespace {

void axpy(std::uint32_t w, const std::uint32_t* x, std::size_t step, std::uint32_t* y, std::size_t n) {
    if (step == 1)
        for (std::size_t i = 0; i < n; ++i) y[i] += w * x[i];
    else
        for (std::size_t i = 0; i < n; ++i) y[i] += w * x[i * step];
}

void dot(const std::int16_t* w, std::size_t stride, std::size_t rows, const std::int16_t* lo, const std::int16_t* hi,
         std::size_t pitch, std::size_t points, std::size_t n, std::uint32_t* out) {
    for (std::size_t r = 0; r < rows; ++r)
        for (std::size_t p = 0; p < points; ++p) {
            std::uint32_t low = 0, high = 0;
            for (std::size_t k = 0; k < n; ++k) {
                const auto v = static_cast<std::uint32_t>(std::int32_t{w[r * stride + k]});
                low += v * static_cast<std::uint32_t>(std::int32_t{lo[p * pitch + k]});
                high += v * static_cast<std::uint32_t>(std::int32_t{hi[p * pitch + k]});
            }
            out[r * points + p] = low + (high << 16);
        }
}

}  // namespace

const Kernels portable{8, 1, nullptr, nullptr, dot, axpy};

}  // namespace bs::gemm
