#include "blindsight/gemm.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

#include "blindsight/cpu.hpp"

namespace bs {
namespace {

using gemm::Kernels;
using u32 = std::uint32_t;

constexpr std::size_t panel_bytes = 512 * 1024;  // of one chunk of pixels: stays in the second-level cache
constexpr std::size_t work_per_thread =
    2'000'000;  // multiply-accumulates below which a thread costs more than it saves

Kernels choose() {
#if defined(__x86_64__)
    if (features().avx512_vnni) {
        Kernels k = gemm::avx512;
        k.axpy = gemm::avx2.axpy;
        return k;
    }
    if (features().avx2) return gemm::avx2;
#endif
    return gemm::portable;
}

// Buffers of one thread, kept from one piece of work to the next: fresh pages cost as much as filling them.
struct Buffers {
    std::vector<u32> panel, rows, out;
    std::vector<std::int16_t> lo, hi;
};

struct Layer {
    const ConvShape& s;
    const std::int16_t* w;
    const u32* x;
    u32* y;
    Kernels kernels;

    std::size_t in_per() const { return s.channels / s.groups; }
    std::size_t out_per() const { return s.outputs / s.groups; }
    std::size_t taps() const { return s.kernel_h * s.kernel_w; }
    std::size_t depth() const { return in_per() * taps(); }
    std::size_t pixels() const { return s.out_height * s.out_width; }
    const u32* plane(std::size_t image, std::size_t channel) const {
        return x + (image * s.channels + channel) * s.height * s.width;
    }

    // The columns [j0, j1) of an output row whose read through kernel column l falls inside the picture.
    void inside(std::size_t l, std::size_t& j0, std::size_t& j1) const {
        j0 = l >= s.left ? 0 : (s.left - l + s.stride_w - 1) / s.stride_w;
        const std::size_t end = s.width + s.left;  // first column past the picture, counted with the zeros
        j1 = end <= l ? 0 : std::min(s.out_width, (end - l + s.stride_w - 1) / s.stride_w);
        j0 = std::min(j0, j1);
    }

    // row[i - p0] = the element that output pixel i of [p0, p1) (numbered over the batch) reads through tap (c, k, l)
    void gather(std::size_t channel, std::size_t k, std::size_t l, std::size_t p0, std::size_t p1, u32* row) const {
        std::size_t j0, j1;
        inside(l, j0, j1);
        for (std::size_t p = p0; p < p1;) {
            const std::size_t image = p / pixels(), i = p % pixels() / s.out_width, j = p % s.out_width;
            const std::size_t n = std::min(s.out_width - j, p1 - p);
            const std::size_t v = i * s.stride_h + k;
            u32* to = row + (p - p0);
            if (v < s.top || v - s.top >= s.height) {
                std::fill_n(to, n, 0);
            } else {
                const u32* from = plane(image, channel) + (v - s.top) * s.width;
                const std::size_t a = std::clamp(j0, j, j + n), b = std::clamp(j1, a, j + n);
                std::fill_n(to, a - j, 0);
                if (s.stride_w == 1) {
                    if (b > a) std::memcpy(to + (a - j), from + (a + l - s.left), (b - a) * sizeof(u32));
                } else {
                    for (std::size_t q = a; q < b; ++q) to[q - j] = from[q * s.stride_w + l - s.left];
                }
                std::fill_n(to + (b - j), j + n - b, 0);
            }
            p += n;
        }
    }

    // panel[tile][pair][2][lanes]: see TileKernel
    void pack(std::size_t group, std::size_t p0, std::size_t p1, Buffers& buffers) const {
        const std::size_t lanes = kernels.lanes, tiles = (p1 - p0 + lanes - 1) / lanes, pairs = (depth() + 1) / 2;
        auto& [panel, rows, out, lo, hi] = buffers;
        rows.assign(2 * tiles * lanes, 0);
        panel.resize(std::max(panel.size(), tiles * pairs * 2 * lanes));
        for (std::size_t pair = 0; pair < pairs; ++pair) {
            for (std::size_t half = 0; half < 2; ++half) {
                u32* row = rows.data() + half * tiles * lanes;
                const std::size_t d = 2 * pair + half;
                if (d == depth()) {
                    std::fill_n(row, tiles * lanes, 0);
                    continue;
                }
                const std::size_t tap = d % taps();
                gather(group * in_per() + d / taps(), tap / s.kernel_w, tap % s.kernel_w, p0, p1, row);
            }
            kernels.interleave(rows.data(), rows.data() + tiles * lanes, tiles, pairs * 2 * lanes,
                               panel.data() + pair * 2 * lanes);
        }
    }

    void store(const u32* from, std::size_t output, std::size_t p, std::size_t n) const {
        while (n > 0) {
            const std::size_t image = p / pixels(), pixel = p % pixels(), m = std::min(n, pixels() - pixel);
            std::memcpy(y + (image * s.outputs + output) * pixels() + pixel, from, m * sizeof(u32));
            from += m, p += m, n -= m;
        }
    }

    // outputs [o0, o1) of the group at pixels [p0, p1); weight rows `stride` apart
    void by_tiles(std::size_t group, const std::int16_t* rows, std::size_t stride, std::size_t o0, std::size_t o1,
                  std::size_t p0, std::size_t p1, Buffers& buffers) const {
        const std::size_t lanes = kernels.lanes, pairs = (depth() + 1) / 2;
        pack(group, p0, p1, buffers);
        const std::vector<u32>& panel = buffers.panel;
        std::vector<u32>& out = buffers.out;
        out.resize(kernels.max_rows * lanes);
        for (std::size_t o = o0; o < o1; o += kernels.max_rows) {
            const std::size_t n = std::min(kernels.max_rows, o1 - o);
            for (std::size_t p = p0; p < p1; p += lanes) {
                kernels.tile(rows + o * stride, stride, n, panel.data() + (p - p0) / lanes * pairs * 2 * lanes, pairs,
                             out.data());
                for (std::size_t r = 0; r < n; ++r)
                    store(out.data() + r * lanes, group * out_per() + o + r, p, std::min(lanes, p1 - p));
            }
        }
    }

    // along the depth, in the weights' own order: for few pixels, and where there is no tile kernel
    void by_dots(std::size_t group, std::size_t o0, std::size_t o1, std::size_t p0, std::size_t p1,
                 Buffers& buffers) const {
        const std::size_t n = depth(), count = p1 - p0;
        auto& [panel, row, out, lo, hi] = buffers;
        lo.resize(count * n), hi.resize(count * n), row.resize(count), out.resize(4 * 2);
        for (std::size_t d = 0; d < n; ++d) {
            const std::size_t tap = d % taps();
            gather(group * in_per() + d / taps(), tap / s.kernel_w, tap % s.kernel_w, p0, p1, row.data());
            for (std::size_t p = 0; p < count; ++p) {
                lo[p * n + d] = static_cast<std::int16_t>(row[p]);
                hi[p * n + d] = static_cast<std::int16_t>((row[p] + 0x8000) >> 16);
            }
        }
        const std::int16_t* rows = w + group * out_per() * n;
        for (std::size_t o = o0; o < o1; o += 4)
            for (std::size_t p = 0; p < count; p += 2) {
                const std::size_t r = std::min<std::size_t>(4, o1 - o), m = std::min<std::size_t>(2, count - p);
                kernels.dot(rows + o * n, n, r, lo.data() + p * n, hi.data() + p * n, n, m, n, out.data());
                for (std::size_t i = 0; i < r; ++i) store(out.data() + i * m, group * out_per() + o + i, p0 + p, m);
            }
    }

    // one output plane, tap by tap: for groups too narrow to share a panel
    void by_planes(std::size_t output, std::size_t image) const {
        const std::size_t group = output / out_per();
        u32* to = y + (image * s.outputs + output) * pixels();
        std::fill_n(to, pixels(), 0);
        for (std::size_t d = 0; d < depth(); ++d) {
            const std::size_t k = d % taps() / s.kernel_w, l = d % s.kernel_w;
            const auto v = static_cast<u32>(std::int32_t{w[output * depth() + d]});
            const u32* from = plane(image, group * in_per() + d / taps());
            std::size_t j0, j1;
            inside(l, j0, j1);
            if (j0 == j1) continue;
            for (std::size_t i = 0; i < s.out_height; ++i) {
                const std::size_t row = i * s.stride_h + k;
                if (row < s.top || row - s.top >= s.height) continue;
                kernels.axpy(v, from + (row - s.top) * s.width + j0 * s.stride_w + l - s.left, s.stride_w,
                             to + i * s.out_width + j0, j1 - j0);
            }
        }
    }
};

template <class Task>
void share_out(std::size_t tasks, unsigned threads, const Task& task) {
    std::atomic<std::size_t> next{0};
    const auto run = [&] {
        Buffers buffers;
        for (std::size_t i; (i = next.fetch_add(1)) < tasks;) task(i, buffers);
    };
    std::vector<std::jthread> helpers;
    for (std::size_t i = 1; i < std::min<std::size_t>(threads, tasks); ++i) helpers.emplace_back(run);
    run();
}

}  // namespace

void conv_mod32(const ConvShape& s, const std::int16_t* w, const u32* x, u32* y, unsigned threads) {
    const Layer layer{s, w, x, y, choose()};
    const std::size_t pixels = s.batch * layer.pixels(), depth = layer.depth(), outputs = layer.out_per();
    threads = static_cast<unsigned>(std::clamp<std::size_t>(s.outputs * pixels * depth / work_per_thread, 1, threads));
    if (outputs < 4) {
        share_out(s.outputs * s.batch, threads,
                  [&](std::size_t i, Buffers&) { layer.by_planes(i / s.batch, i % s.batch); });
        return;
    }
    const std::size_t lanes = layer.kernels.lanes;
    const bool dots = layer.kernels.tile == nullptr || 2 * pixels <= lanes;
    const std::size_t tiles = dots ? 4 : panel_bytes / (8 * lanes * ((depth + 1) / 2));
    const std::size_t fit = std::max<std::size_t>(1, tiles) * lanes;
    const std::size_t chunks = (pixels + fit - 1) / fit;
    const std::size_t chunk = (((pixels + chunks - 1) / chunks) + lanes - 1) / lanes * lanes;
    // outputs are cut too where there are too few chunks of pixels for all threads
    const std::size_t step = dots ? 4 : layer.kernels.max_rows;
    const std::size_t blocks = (outputs + step - 1) / step;
    const std::size_t parts = std::clamp<std::size_t>(threads / (chunks * s.groups), 1, blocks);

    std::vector<std::int16_t> even;  // a pair kernel reads whole pairs: rows of odd depth are padded
    const std::int16_t* rows = w;
    std::size_t stride = depth;
    if (!dots && depth % 2 != 0) {
        stride = depth + 1;
        even.assign(s.outputs * stride, 0);
        for (std::size_t o = 0; o < s.outputs; ++o) std::copy_n(w + o * depth, depth, even.data() + o * stride);
        rows = even.data();
    }
    share_out(s.groups * chunks * parts, threads, [&](std::size_t i, Buffers& buffers) {
        const std::size_t group = i / (chunks * parts), c = i / parts % chunks, part = i % parts;
        const std::size_t o0 = std::min(outputs, blocks * part / parts * step),
                          o1 = std::min(outputs, blocks * (part + 1) / parts * step);
        const std::size_t p0 = std::min(pixels, c * chunk), p1 = std::min(pixels, p0 + chunk);
        if (p0 == p1) return;
        if (dots)
            layer.by_dots(group, o0, o1, p0, p1, buffers);
        else
            layer.by_tiles(group, rows + group * outputs * stride, stride, o0, o1, p0, p1, buffers);
    });
}

}  // namespace bs
