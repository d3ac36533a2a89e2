// The transform and the multiply-accumulate, written once for every instruction set.
//
// A set A of vector operations supplies: Word and V (its number and its vector of `lanes` numbers), `in` (loads a
// canonical residue, a signed coefficient or a Word), `put` (stores a Word), `canonical` (stores a residue), forward and
// inverse butterflies with a twiddle pair, `reduce`, the moves split<t>/merge<t> between neighbouring lanes, and for
// sums of products U, `planes`, `accumulate` and `settled`.  Lazy ranges are A's business; the places where the driver
// calls `reduce` are stated here, and each A proves that they suffice.
//
// Each of these templates is instantiated in one translation unit only, compiled for A's instruction set.
#pragma once
#include "blindsight/ntt.hpp"

namespace bs {

template <class A>
struct RingDriver {
    using V = typename A::V;
    using Word = typename A::Word;
    using Twiddle = typename A::Twiddle;
    static constexpr unsigned lanes = A::lanes;

    // Two vectors [x0, x1] of neighbours at distances t, t/2, .. 1 below the width of a vector.
    template <unsigned t>
    static void forward_within(const A &a, unsigned block, unsigned blocks, V &x0, V &x1) {
        V u, v;
        A::template split<t>(x0, x1, u, v);
        a.butterfly(u, v, a.template twiddles<t>(blocks + block));
        A::template merge<t>(u, v, x0, x1);
        if constexpr (t > 1) forward_within<t / 2>(a, 2 * block, 2 * blocks, x0, x1);
    }

    template <unsigned t>
    static void inverse_within(const A &a, unsigned block, unsigned blocks, V &x0, V &x1) {
        if constexpr (t > 1) inverse_within<t / 2>(a, 2 * block, 2 * blocks, x0, x1);
        V u, v;
        A::template split<t>(x0, x1, u, v);
        a.inverse_butterfly(u, v, a.template twiddles<t>(blocks + block));
        A::template merge<t>(u, v, x0, x1);
    }

    // One layer: m blocks, distance n / 2m.
    template <class Source>
    static void forward_one(const A &a, unsigned n, unsigned m, const Source *src, Word *dst) {
        const unsigned t = n / (2 * m);
        for (unsigned i = 0; i < m; ++i) {
            const Twiddle w = a.twiddle(m + i);
            for (unsigned j = 2 * i * t; j < (2 * i + 1) * t; j += lanes) {
                V u = a.in(src + j), v = a.in(src + j + t);
                a.butterfly(u, v, w);
                A::put(dst + j, u), A::put(dst + j + t, v);
            }
        }
    }

    // Two layers at once: m and 2m blocks.
    template <bool reduce, class Source>
    static void forward_two(const A &a, unsigned n, unsigned m, const Source *src, Word *dst) {
        const unsigned t = n / (4 * m);
        for (unsigned i = 0; i < m; ++i) {
            const Twiddle w0 = a.twiddle(m + i), w1 = a.twiddle(2 * (m + i)), w2 = a.twiddle(2 * (m + i) + 1);
            for (unsigned j = 4 * i * t; j < (4 * i + 1) * t; j += lanes) {
                V x0 = a.in(src + j), x1 = a.in(src + j + t), x2 = a.in(src + j + 2 * t), x3 = a.in(src + j + 3 * t);
                if constexpr (reduce) x0 = a.reduce(x0), x1 = a.reduce(x1), x2 = a.reduce(x2), x3 = a.reduce(x3);
                a.butterfly(x0, x2, w0), a.butterfly(x1, x3, w0);
                a.butterfly(x0, x1, w1), a.butterfly(x2, x3, w2);
                A::put(dst + j, x0), A::put(dst + j + t, x1), A::put(dst + j + 2 * t, x2), A::put(dst + j + 3 * t, x3);
            }
        }
    }

    // Layers before the last ones, which act within two vectors; `reduce` is called on everything once at most, when 8
    // or fewer layers are left.
    template <class Source>
    static void forward(const NttTables &tables, const Source *in, u64 *out) {
        const A a(tables, false);
        const unsigned n = tables.n, outer = n / (2 * lanes); // blocks when the distance is one vector
        alignas(64) Word x[4096];
        unsigned m = 1, left = tables.log_n;
        bool first = true, reduced = false;
        if (layers_before(outer) % 2 != 0) {
            forward_one(a, n, m, in, x);
            m = 2, left -= 1, first = false;
        }
        for (; m < outer; m *= 4, left -= 2) {
            if (first)
                forward_two<false>(a, n, m, in, x);
            else if (left <= 8 && !reduced)
                forward_two<true>(a, n, m, x, x), reduced = true;
            else
                forward_two<false>(a, n, m, x, x);
            first = false;
        }
        for (unsigned i = 0; i < outer; ++i) {
            Word *p = x + i * 2 * lanes;
            V x0 = first ? a.in(in + i * 2 * lanes) : a.in(p), x1 = first ? a.in(in + i * 2 * lanes + lanes) : a.in(p + lanes);
            a.butterfly(x0, x1, a.twiddle(outer + i));
            forward_within<lanes / 2>(a, 2 * i, 2 * outer, x0, x1);
            a.canonical(out + i * 2 * lanes, x0), a.canonical(out + i * 2 * lanes + lanes, x1);
        }
    }

    // Mirror image.  `reduce` is called on every number after the layers within two vectors, and on the sum of sums
    // after every two layers.
    static void inverse(const NttTables &tables, const u64 *in, u64 *out) {
        const A a(tables, true);
        const unsigned n = tables.n, outer = n / (2 * lanes);
        alignas(64) Word x[4096];
        for (unsigned i = 0; i < outer; ++i) {
            V x0 = a.reduce(a.in(in + i * 2 * lanes)), x1 = a.reduce(a.in(in + i * 2 * lanes + lanes));
            inverse_within<lanes / 2>(a, 2 * i, 2 * outer, x0, x1);
            a.inverse_butterfly(x0, x1, a.twiddle(outer + i));
            A::put(x + i * 2 * lanes, a.reduce(x0)), A::put(x + i * 2 * lanes + lanes, a.reduce(x1));
        }
        unsigned m = outer;
        for (; m > 2; m /= 4) {
            const unsigned low = m / 4, t = n / m; // layers m/2 and m/4
            for (unsigned i = 0; i < low; ++i) {
                const Twiddle w0 = a.twiddle(low + i), w1 = a.twiddle(2 * (low + i)), w2 = a.twiddle(2 * (low + i) + 1);
                for (unsigned j = 4 * i * t; j < (4 * i + 1) * t; j += lanes) {
                    V x0 = a.in(x + j), x1 = a.in(x + j + t), x2 = a.in(x + j + 2 * t), x3 = a.in(x + j + 3 * t);
                    a.inverse_butterfly(x0, x1, w1), a.inverse_butterfly(x2, x3, w2);
                    a.inverse_butterfly(x0, x2, w0), a.inverse_butterfly(x1, x3, w0);
                    A::put(x + j, a.reduce(x0)), A::put(x + j + t, x1), A::put(x + j + 2 * t, x2), A::put(x + j + 3 * t, x3);
                }
            }
        }
        const Twiddle scale = a.scale();
        if (m == 2) { // one layer left
            const Twiddle w = a.twiddle(1);
            for (unsigned j = 0; j < n / 2; j += lanes) {
                V u = a.in(x + j), v = a.in(x + j + n / 2);
                a.inverse_butterfly(u, v, w);
                A::put(x + j, u), A::put(x + j + n / 2, v);
            }
        }
        for (unsigned j = 0; j < n; j += lanes) a.canonical(out + j, a.multiply(a.in(x + j), scale));
    }

    // P sums of products at once: each weight is loaded and prepared once for P polynomials.
    template <unsigned P>
    static void accumulate(unsigned n, u64 *acc, bool fresh, const u64 *const *weights, const u64 *const *ciphers, std::size_t stride,
                           std::size_t terms) {
        constexpr unsigned planes = A::planes;
        for (unsigned j = 0; j < n; j += lanes) {
            typename A::U sum[P][planes];
            for (unsigned p = 0; p < P; ++p)
                for (unsigned l = 0; l < planes; ++l) sum[p][l] = fresh ? A::zero() : A::load(acc + (p * planes + l) * n + j);
            for (std::size_t k = 0; k < terms; ++k) {
                const typename A::Split w = A::split_factor(weights[k] + j);
                for (unsigned p = 0; p < P; ++p) A::add_product(sum[p], w, A::split_factor(ciphers[k] + p * stride + j));
            }
            for (unsigned p = 0; p < P; ++p)
                for (unsigned l = 0; l < planes; ++l) A::store(acc + (p * planes + l) * n + j, sum[p][l]);
        }
    }

    static void mac1(unsigned n, u64 *acc, bool fresh, const u64 *const *weights, const u64 *const *ciphers, std::size_t terms) {
        accumulate<1>(n, acc, fresh, weights, ciphers, 0, terms);
    }
    static void mac2(unsigned n, u64 *acc, bool fresh, const u64 *const *weights, const u64 *const *ciphers, std::size_t stride,
                     std::size_t terms) {
        accumulate<2>(n, acc, fresh, weights, ciphers, stride, terms);
    }

    static void settle(const NttTables &tables, const u64 *acc, u64 *out) {
        const typename A::Settler s(tables);
        for (unsigned j = 0; j < tables.n; j += lanes) s.settle(acc + j, tables.n, out + j);
    }

    static constexpr RingKernels kernels(const char *name) {
        return {name, A::planes, forward<u64>, forward<std::int32_t>, inverse, mac1, mac2, settle};
    }

  private:
    static unsigned layers_before(unsigned outer) noexcept {
        unsigned layers = 0;
        while ((1u << layers) < outer) ++layers;
        return layers;
    }
};

} // namespace bs
