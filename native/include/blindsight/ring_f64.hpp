// Ring kernels on double-precision fused multiply-add and 32-bit multiplies, for AVX2 and NEON.
//
// A product a b mod q without wide integers: h = fl(a b), its exact error l = a b - h, k = round(fl(a (b/q))), and
// (h - k q) + l, in which every step is exact (Dekker's two-product; van der Hoeven, Lecerf, Quintin, "Modular SIMD
// arithmetic in Mathemagix", ACM TOMS 2016; the use for transforms is that of FLINT's fft_small).
//
// Bounds, for q < 2^50, a factor |b| <= q/2 from a table, and a an integer with |a| <= B q, B <= 8 (so |a| < 2^53):
// k misses a b/q by at most 1/2 + B/32 (b/q rounded) + B/16 (its product rounded), so |result| <= (1/2 + 0.094 B) q
// <= 1.26 q; with k = round(fl(h / q)) instead, which needs no second table, by 1/2 + 3B/16, |result| <= (1/2 + 0.19 B)
// q <= 2.02 q. h - k q is a multiple of ulp(h) <= 2^49 or an integer, and below 2^52, hence exact; every sum stays
// below 8q < 2^53.
//   forward:  a layer takes B to at most 1.094 B + 1/2 (1.19 B + 1/2 within vectors), one that reduces the left half to
//             1.01 + 0.094 B. From [0, q), N = 2048 on AVX2: 1, 1.6, 2.3, 3.0, 3.8, reduced 1.4, 2.0, 2.7, 3.5, 4.3,
//             then within vectors 5.6, 7.2. N = 4096: 7.3; N = 1024: 7.0; two lanes: less, one layer fewer within
//             vectors.
//   inverse:  a layer gives sums of 2B and products of 1/2 + 0.094 * 2B (0.19 within vectors). From [0, q), every
//   second
//             layer reducing its sums: 1, 2, (sums 4, reduced) 1.3, 2.6, (sums 5.1, reduced) 1.0, 2.0, (4) 0.9, 1.8, ..
// Sums of products use limbs of 25 bits, whose products of 50 bits are added up in 64: 2^13 for the middle pair.
#pragma once
#include "blindsight/ring_driver.hpp"

namespace bs {

template <class L>  // L: the lanes
struct RingF64 {
    using V = typename L::F;
    using U = typename L::U;
    using Word = double;
    static constexpr unsigned lanes = L::lanes, planes = 3;
    struct Twiddle {
        V w, ratio;
    };
    struct LaneTwiddle {
        V w;
    };
    struct Split {
        U low, high;
    };

    const double *w_, *wq_;
    V q, one_over_q;
    Twiddle scale_;

    RingF64(const NttTables &t, bool inverse)
        : w_(inverse ? t.iwd.data() : t.wd.data()),
          wq_(inverse ? t.iwq.data() : t.wq.data()),
          q(L::set(static_cast<double>(t.modulus.q))),
          one_over_q(L::set(1.0 / static_cast<double>(t.modulus.q))),
          scale_(factor(t.n_inverse, t.modulus.q)) {}

    static Twiddle factor(u64 w, u64 q) {
        const double centred = w > q / 2 ? -static_cast<double>(q - w) : static_cast<double>(w);
        return {L::set(centred), L::set(centred / static_cast<double>(q))};
    }

    Twiddle twiddle(unsigned i) const { return {L::set(w_[i]), L::set(wq_[i])}; }
    template <unsigned t>
    LaneTwiddle twiddles(unsigned i) const {
        return {L::template repeat<t>(w_ + i)};
    }
    Twiddle scale() const { return scale_; }

    V in(const u64 *p) const { return L::from_u52(L::load(p)); }
    V in(const std::int32_t *p) const { return L::from_i32(p); }
    V in(const double *p) const { return L::load(p); }
    static void put(double *p, V x) { L::store(p, x); }

    // |x| <= 8q -> |result| <= 0.51 q
    V reduce(V x) const { return L::minus_product(x, L::round(L::mul(x, one_over_q)), q); }
    template <unsigned K>
    void multiply(V (&x)[K], const LaneTwiddle (&t)[K]) const {
        V h[K], k[K];
        for (unsigned i = 0; i < K; ++i) h[i] = L::mul(x[i], t[i].w);
        for (unsigned i = 0; i < K; ++i) k[i] = L::mul(h[i], one_over_q);
        for (unsigned i = 0; i < K; ++i) x[i] = L::product_minus(x[i], t[i].w, h[i]);
        for (unsigned i = 0; i < K; ++i) k[i] = L::round(k[i]);
        for (unsigned i = 0; i < K; ++i) h[i] = L::minus_product(h[i], k[i], q);
        for (unsigned i = 0; i < K; ++i) x[i] = L::add(h[i], x[i]);
    }
    template <unsigned K>
    void multiply(V (&x)[K], const Twiddle (&t)[K]) const {
        V h[K], k[K];
        for (unsigned i = 0; i < K; ++i) h[i] = L::mul(x[i], t[i].w);
        for (unsigned i = 0; i < K; ++i) k[i] = L::mul(x[i], t[i].ratio);
        for (unsigned i = 0; i < K; ++i) k[i] = L::round(k[i]);
        for (unsigned i = 0; i < K; ++i) x[i] = L::product_minus(x[i], t[i].w, h[i]);
        for (unsigned i = 0; i < K; ++i) h[i] = L::minus_product(h[i], k[i], q);
        for (unsigned i = 0; i < K; ++i) x[i] = L::add(h[i], x[i]);
    }
    template <unsigned K>
    void multiply(V (&x)[K], const Twiddle &t) const {
        V h[K], k[K];
        for (unsigned i = 0; i < K; ++i) h[i] = L::mul(x[i], t.w);
        for (unsigned i = 0; i < K; ++i) k[i] = L::mul(x[i], t.ratio);
        for (unsigned i = 0; i < K; ++i) k[i] = L::round(k[i]);
        for (unsigned i = 0; i < K; ++i) x[i] = L::product_minus(x[i], t.w, h[i]);
        for (unsigned i = 0; i < K; ++i) h[i] = L::minus_product(h[i], k[i], q);
        for (unsigned i = 0; i < K; ++i) x[i] = L::add(h[i], x[i]);
    }
    void forward_sum(V &u, V &v) const {
        const V x = u;
        u = L::add(x, v), v = L::sub(x, v);
    }
    template <bool reduced>
    void inverse_sum(V &u, V &v) const {
        const V d = L::sub(u, v), s = L::add(u, v);
        u = reduced ? reduce(s) : s, v = d;
    }
    void canonical(u64 *p, V x) const { L::store(p, L::to_u52(L::add_if_negative(reduce(x), q))); }
    template <unsigned from, unsigned to>
    static void move(V &u, V &v) {
        L::template move<from, to>(u, v);
    }

    static U zero() { return L::zero(); }
    static U load(const u64 *p) { return L::load(p); }
    static void store(u64 *p, U x) { L::store(p, x); }
    static Split split_factor(const u64 *p) {
        const U x = L::load(p);
        return {L::bit_and(x, L::set_u64((u64{1} << 25) - 1)), L::template shift_right<25>(x)};
    }
    static void add_product(U *sum, Split a, Split b) {
        sum[0] = L::add(sum[0], L::mul32(a.low, b.low));
        sum[1] = L::add(L::add(sum[1], L::mul32(a.low, b.high)), L::mul32(a.high, b.low));
        sum[2] = L::add(sum[2], L::mul32(a.high, b.high));
    }

    // low + 2^25 middle + 2^50 high mod q
    struct Settler {
        RingF64 a;
        Twiddle c50, c82;
        explicit Settler(const NttTables &t)
            : a(t, false),
              c50(factor(t.modulus.pow(2, 50), t.modulus.q)),
              c82(factor(t.modulus.pow(2, 82), t.modulus.q)) {}
        template <unsigned K>
        void settle(const u64 *acc, std::size_t row, u64 *out) const {
            const U mask = L::set_u64((u64{1} << 25) - 1), half = L::set_u64(0xffffffff);
            V x[K], y[K], rest[K];
            for (unsigned k = 0; k < K; ++k) {
                const u64 *p = acc + k * lanes;
                const U low = L::load(p), middle = L::add(L::load(p + row), L::template shift_right<25>(low));
                const U high = L::add(L::load(p + 2 * row), L::template shift_right<25>(middle));
                const U below =
                    L::add(L::template shift_left<25>(L::bit_and(middle, mask)), L::bit_and(low, mask));  // < 2^50
                rest[k] = L::from_u52(below), x[k] = L::from_u52(L::bit_and(high, half)),
                y[k] = L::from_u52(L::template shift_right<32>(high));
            }
            a.template multiply<K>(x, c50), a.template multiply<K>(y, c82);
            for (unsigned k = 0; k < K; ++k)
                a.canonical(out + k * lanes, L::add(a.reduce(rest[k]), L::add(x[k], y[k])));
        }
    };
};

}  // namespace bs
