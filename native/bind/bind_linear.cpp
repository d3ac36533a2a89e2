// blindsight._native: the cloud's plaintext integer layers (blindsight.nn.linear).  Every size is checked here.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>

#include <array>
#include <memory>
#include <stdexcept>

#include "blindsight/gemm.hpp"

namespace nb = nanobind;

namespace {

using std::size_t;
template <class T>
using Tensor = nb::ndarray<const T, nb::ndim<4>, nb::c_contig, nb::device::cpu>;

void need(bool ok, const char *what) {
    if (!ok) throw std::invalid_argument(what);
}

nb::object conv_mod32(Tensor<std::int16_t> w, Tensor<std::uint32_t> x, std::array<size_t, 2> stride,
                      std::array<size_t, 4> padding, size_t groups, unsigned threads) {
    const auto [top, left, bottom, right] = padding;
    constexpr size_t most = size_t{1} << 24;
    for (size_t p : padding) need(p < most, "padding must be below 2^24");
    need(stride[0] >= 1 && stride[1] >= 1 && stride[0] < most && stride[1] < most, "strides must be 1 to 2^24");
    need(groups >= 1 && threads >= 1, "groups and threads must be positive");
    for (size_t i = 0; i < 4; ++i) need(w.shape(i) >= 1 && x.shape(i) >= 1, "empty weight or input");
    need(w.shape(0) % groups == 0 && x.shape(1) == w.shape(1) * groups, "weight, channels and groups do not fit");
    const size_t rows = x.shape(2) + top + bottom, cols = x.shape(3) + left + right;
    need(rows >= w.shape(2) && cols >= w.shape(3), "the kernel is larger than the padded picture");
    const size_t shape[4] = {x.shape(0), w.shape(0), (rows - w.shape(2)) / stride[0] + 1,
                             (cols - w.shape(3)) / stride[1] + 1};
    const bs::ConvShape s{x.shape(0), x.shape(1), x.shape(2), x.shape(3), shape[1], shape[2], shape[3],
                          w.shape(2), w.shape(3), stride[0],  stride[1],  top,      left,     groups};
    auto owner = std::unique_ptr<std::uint32_t[]>(new std::uint32_t[shape[0] * shape[1] * shape[2] * shape[3]]);
    std::uint32_t *out = owner.get();
    nb::capsule capsule(out, [](void *p) noexcept { delete[] static_cast<std::uint32_t *>(p); });
    owner.release();
    nb::object result = nb::cast(nb::ndarray<nb::numpy, std::uint32_t>(out, 4, shape, capsule));
    nb::gil_scoped_release release;
    bs::conv_mod32(s, w.data(), x.data(), out, threads);
    return result;
}

}  // namespace

void bind_linear(nb::module_ &m) {
    using namespace nb::literals;
    m.def("conv_mod32", &conv_mod32, "w"_a, "x"_a, "stride"_a, "padding"_a, "groups"_a, "threads"_a,
          "Convolution mod 2^32: w int16 [O, C/groups, h, w] times x uint32 [B, C, H, W] -> uint32 [B, O, OH, OW]; "
          "padding (top, left, bottom, right) of zeros.");
}
