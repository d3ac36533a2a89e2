// The transform and the multiply-accumulate, written once for every instruction set.
//
// A set A of vector operations supplies: Word and V (its number and its vector of `lanes` numbers), `in` (loads a
// canonical residue, a signed coefficient or a Word), `put` (stores a Word), `canonical` (stores a residue), `multiply`
// by a twiddle for all lanes or one for each, `forward_sum`/`inverse_sum` (the additions of a butterfly), `reduce`, the
// moves between neighbouring lanes, and for sums of products U, `planes`, `add_product` and `Settler`. Lazy ranges are
// A's business; the one place where the driver calls `reduce` is stated here, and each A proves that it suffices.
//
// Butterflies are written K at a time, step by step: the processor's schedulers are too small to interleave them alone.
// Each of these templates is instantiated in one translation unit only, compiled for A's instruction set.
#pragma once
#include "blindsight/ntt.hpp"

namespace bs {

// Two vectors hold 2 * lanes neighbours. In arrangement t they are paired at distance t: lane i of the first is element
// i / t * 2t + i % t, of the second the one t further. Arrangement `lanes` is the order in memory.
constexpr unsigned element(unsigned t, unsigned lane) { return lane / t * 2 * t + lane % t; }
// Where arrangement t has an element: its lane, and `lanes` more when it is in the second vector.
constexpr unsigned place(unsigned t, unsigned lanes, unsigned element) {
    return element / (2 * t) * t + element % t + (element % (2 * t) < t ? 0 : lanes);
}

template <class A>
struct RingDriver {
    using V = typename A::V;
    using Word = typename A::Word;
    using Twiddle = typename A::Twiddle;
    static constexpr unsigned lanes = A::lanes, K = 4, W = 4;

    // m blocks of distance t = n / 2m >= K * lanes, of which blocks [first, last). The left halves are reduced first
    // where `reduce` says so: products need no reduction.
    template <bool reduce, class Source>
    static void forward_layer(const A &a, unsigned t, unsigned m, unsigned first, unsigned last, const Source *src,
                              Word *dst) {
        for (unsigned i = first; i < last; ++i) {
            const Twiddle w = a.twiddle(m + i);
            for (unsigned j = 2 * i * t; j < (2 * i + 1) * t; j += K * lanes) {
                V v[K];
                for (unsigned k = 0; k < K; ++k) v[k] = a.in(src + j + t + k * lanes);
                a.template multiply<K>(v, w);
                for (unsigned k = 0; k < K; ++k) {  // the left halves only now: there are not registers for all
                    V u = a.in(src + j + k * lanes);
                    if constexpr (reduce) u = a.reduce(u);
                    a.forward_sum(u, v[k]);
                    A::put(dst + j + k * lanes, u), A::put(dst + j + t + k * lanes, v[k]);
                }
            }
        }
    }

    template <class Source>
    static void forward_layer(const A &a, unsigned t, unsigned m, bool reduce, unsigned first, unsigned last,
                              const Source *src, Word *dst) {
        if (reduce)
            forward_layer<true>(a, t, m, first, last, src, dst);
        else
            forward_layer<false>(a, t, m, first, last, src, dst);
    }

    // The last layers but those within vectors: distances 2 * lanes and lanes.
    template <class Source>
    static void forward_pair(const A &a, unsigned m, unsigned first, unsigned last, const Source *src, Word *dst) {
        for (unsigned i = first; i < last; ++i) {
            const Twiddle w0 = a.twiddle(m + i), w1 = a.twiddle(2 * (m + i)), w2 = a.twiddle(2 * (m + i) + 1);
            const Source *s = src + 4 * i * lanes;
            Word *d = dst + 4 * i * lanes;
            V u[2] = {a.in(s), a.in(s + lanes)}, v[2] = {a.in(s + 2 * lanes), a.in(s + 3 * lanes)};
            a.template multiply<2>(v, w0);
            a.forward_sum(u[0], v[0]), a.forward_sum(u[1], v[1]);
            V x[2] = {u[0], v[0]}, y[2] = {u[1], v[1]};
            const Twiddle w[2] = {w1, w2};
            a.template multiply<2>(y, w);
            a.forward_sum(x[0], y[0]), a.forward_sum(x[1], y[1]);
            A::put(d, x[0]), A::put(d + lanes, y[0]), A::put(d + 2 * lanes, x[1]), A::put(d + 3 * lanes, y[1]);
        }
    }

    // Distances t / 2 down to 1, from arrangement t, in W neighbouring pairs of vectors, of which the first is `block`.
    template <unsigned t>
    static void forward_within(const A &a, unsigned block, unsigned blocks, V (&u)[W], V (&v)[W]) {
        if constexpr (t > 1) {
            typename A::LaneTwiddle w[W];
            for (unsigned k = 0; k < W; ++k) A::template move<t, t / 2>(u[k], v[k]);
            for (unsigned k = 0; k < W; ++k) w[k] = a.template twiddles<t / 2>(blocks + block + k * (2 * lanes / t));
            a.template multiply<W>(v, w);
            for (unsigned k = 0; k < W; ++k) a.forward_sum(u[k], v[k]);
            forward_within<t / 2>(a, 2 * block, 2 * blocks, u, v);
        } else {
            for (unsigned k = 0; k < W; ++k) A::template move<1, lanes>(u[k], v[k]);
        }
    }

    // Layers from the widest distance to the narrowest. Of those before the last pair, the third from the end reduces.
    // A ring larger than L1 is done half by half after its first layer.
    template <class Source>
    static void forward(const NttTables &tables, const Source *in, u64 *out) {
        const A a(tables, false);
        const unsigned n = tables.n, single = layers_before_pair(n), halves = n > 2048 ? 2 : 1;
        alignas(64) Word x[4096];
        if (single == 0)
            forward_pair(a, 1, 0, 1, in, x);
        else
            forward_layer(a, n / 2, 1, single == 3, 0, 1, in, x);
        for (unsigned half = 0; half < halves; ++half) {
            for (unsigned layer = 1; layer < single; ++layer) {
                const unsigned m = 1u << layer, part = m / halves;
                forward_layer(a, n / (2 * m), m, single - layer == 3, half * part, (half + 1) * part, x, x);
            }
            const unsigned pairs = n / (4 * lanes) / halves, blocks = n / (2 * lanes) / halves;
            if (single != 0) forward_pair(a, n / (4 * lanes), half * pairs, (half + 1) * pairs, x, x);
            for (unsigned i = half * blocks; i < (half + 1) * blocks; i += W) {
                V u[W], v[W];
                for (unsigned k = 0; k < W; ++k)
                    u[k] = a.in(x + (i + k) * 2 * lanes), v[k] = a.in(x + (i + k) * 2 * lanes + lanes);
                forward_within<lanes>(a, 2 * i, n / lanes, u, v);
                for (unsigned k = 0; k < W; ++k)
                    a.canonical(out + (i + k) * 2 * lanes, u[k]), a.canonical(out + (i + k) * 2 * lanes + lanes, v[k]);
            }
        }
    }

    // Distances 1 up to t / 2, to arrangement t.
    template <unsigned t>
    static void inverse_within(const A &a, unsigned block, unsigned blocks, V (&u)[W], V (&v)[W]) {
        if constexpr (t > 1) {
            inverse_within<t / 2>(a, 2 * block, 2 * blocks, u, v);
            typename A::LaneTwiddle w[W];
            for (unsigned k = 0; k < W; ++k) w[k] = a.template twiddles<t / 2>(blocks + block + k * (2 * lanes / t));
            for (unsigned k = 0; k < W; ++k) a.template inverse_sum<t / 2 % 3 == 2>(u[k], v[k]);
            a.template multiply<W>(v, w);
            for (unsigned k = 0; k < W; ++k) A::template move<t / 2, t>(u[k], v[k]);
        } else {
            for (unsigned k = 0; k < W; ++k) A::template move<lanes, 1>(u[k], v[k]);
        }
    }

    // m blocks of distance t.
    template <bool reduce, unsigned k_>
    static void inverse_layer(const A &a, unsigned t, unsigned m, Word *x) {
        for (unsigned i = 0; i < m; ++i) {
            const Twiddle w = a.twiddle(m + i);
            for (unsigned j = 2 * i * t; j < (2 * i + 1) * t; j += k_ * lanes) {
                V u[k_], v[k_];
                for (unsigned k = 0; k < k_; ++k) u[k] = a.in(x + j + k * lanes), v[k] = a.in(x + j + t + k * lanes);
                for (unsigned k = 0; k < k_; ++k) a.template inverse_sum<reduce>(u[k], v[k]);
                a.template multiply<k_>(v, w);
                for (unsigned k = 0; k < k_; ++k) A::put(x + j + k * lanes, u[k]), A::put(x + j + t + k * lanes, v[k]);
            }
        }
    }

    // Layers from the narrowest distance to the widest; every second one, of distance 2, 8, 32, .. (those that are 2
    // mod 3), reduces its sums.
    static void inverse(const NttTables &tables, const u64 *in, u64 *out) {
        const A a(tables, true);
        const unsigned n = tables.n;
        alignas(64) Word x[4096];
        for (unsigned i = 0; i < n / (2 * lanes); i += W) {
            V u[W], v[W];
            for (unsigned k = 0; k < W; ++k)
                u[k] = a.in(in + (i + k) * 2 * lanes), v[k] = a.in(in + (i + k) * 2 * lanes + lanes);
            inverse_within<lanes>(a, 2 * i, n / lanes, u, v);
            for (unsigned k = 0; k < W; ++k)
                A::put(x + (i + k) * 2 * lanes, u[k]), A::put(x + (i + k) * 2 * lanes + lanes, v[k]);
        }
        unsigned t = lanes;
        for (; t < n; t *= 2) {
            const bool reduce = t % 3 == 2;
            if (t < K * lanes)
                reduce ? inverse_layer<true, 1>(a, t, n / (2 * t), x) : inverse_layer<false, 1>(a, t, n / (2 * t), x);
            else
                reduce ? inverse_layer<true, K>(a, t, n / (2 * t), x) : inverse_layer<false, K>(a, t, n / (2 * t), x);
        }
        const Twiddle scale = a.scale();
        for (unsigned j = 0; j < n; j += K * lanes) {
            V y[K];
            for (unsigned k = 0; k < K; ++k) y[k] = a.in(x + j + k * lanes);
            a.template multiply<K>(y, scale);
            for (unsigned k = 0; k < K; ++k) a.canonical(out + j + k * lanes, y[k]);
        }
    }

    // P sums of products at once: each weight is loaded and prepared once for P polynomials.
    template <unsigned P>
    static void accumulate(std::size_t count, std::size_t row, u64 *acc, bool fresh, const u64 *const *weights,
                           const u64 *const *ciphers, std::size_t stride, std::size_t terms) {
        constexpr unsigned planes = A::planes;
        for (std::size_t j = 0; j < count; j += lanes) {
            typename A::U sum[P][planes];
            for (unsigned p = 0; p < P; ++p)
                for (unsigned l = 0; l < planes; ++l)
                    sum[p][l] = fresh ? A::zero() : A::load(acc + (p * planes + l) * row + j);
            for (std::size_t k = 0; k < terms; ++k) {
                const typename A::Split w = A::split_factor(weights[k] + j);
                for (unsigned p = 0; p < P; ++p)
                    A::add_product(sum[p], w, A::split_factor(ciphers[k] + p * stride + j));
            }
            for (unsigned p = 0; p < P; ++p)
                for (unsigned l = 0; l < planes; ++l) A::store(acc + (p * planes + l) * row + j, sum[p][l]);
        }
    }

    static void mac1(std::size_t count, std::size_t row, u64 *acc, bool fresh, const u64 *const *weights,
                     const u64 *const *ciphers, std::size_t terms) {
        accumulate<1>(count, row, acc, fresh, weights, ciphers, 0, terms);
    }
    static void mac2(std::size_t count, std::size_t row, u64 *acc, bool fresh, const u64 *const *weights,
                     const u64 *const *ciphers, std::size_t stride, std::size_t terms) {
        accumulate<2>(count, row, acc, fresh, weights, ciphers, stride, terms);
    }

    static void settle(const NttTables &tables, const u64 *acc, u64 *out) {
        const typename A::Settler s(tables);
        for (unsigned j = 0; j < tables.n; j += K * lanes) s.template settle<K>(acc + j, row_words(tables.n), out + j);
    }

    static constexpr RingKernels kernels(const char *name) {
        return {name, A::planes, forward<u64>, forward<std::int32_t>, inverse, mac1, mac2, settle};
    }

  private:
    static unsigned layers_before_pair(unsigned n) noexcept {
        unsigned layers = 0;
        while ((n >> layers) > 4 * lanes) ++layers;
        return layers;
    }
};

}  // namespace bs
