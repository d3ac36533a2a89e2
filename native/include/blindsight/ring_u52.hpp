// Ring kernels on 52-bit integer multiply-add (AVX-512-IFMA, or any type with the same operations).
//
// Butterflies after Harvey, "Faster arithmetic for number-theoretic transforms" (J. Symb. Comp. 2014), with quotients
// of 52 bits: for x < 2^52, Q = floor(x w' / 2^52) gives x w - Q q in [0, 2q).  q < 2^50, so 4q < 2^52. Ranges: forward
// numbers stay in [0, 4q), inverse ones in [0, 2q). Sums of products keep the low and the high 52 bits of each product
// apart: 4,096 of each fit 64 bits.
#pragma once
#include "blindsight/ring_driver.hpp"

namespace bs {

template <class L>  // L: the lanes
struct RingU52 {
    using V = typename L::V;
    using U = V;
    using Word = u64;
    static constexpr unsigned lanes = L::lanes, planes = 2;
    struct Twiddle {
        V w, quotient;
    };
    using LaneTwiddle = Twiddle;
    using Split = V;
    static constexpr u64 kMask = (u64{1} << 52) - 1;

    const u64 *w_, *w52_;
    V q, q2, minus_q, mask;
    Twiddle scale_;

    RingU52(const NttTables &t, bool inverse)
        : w_(inverse ? t.iw.data() : t.w.data()),
          w52_(inverse ? t.iw52.data() : t.w52.data()),
          q(L::set(t.modulus.q)),
          q2(L::set(2 * t.modulus.q)),
          minus_q(L::set((kMask + 1) - t.modulus.q)),
          mask(L::set(kMask)),
          scale_(factor(t.n_inverse, t.modulus.q)) {}

    static Twiddle factor(u64 w, u64 q) { return {L::set(w), L::set(static_cast<u64>((u128{w} << 52) / q))}; }

    Twiddle twiddle(unsigned i) const { return {L::set(w_[i]), L::set(w52_[i])}; }
    template <unsigned t>
    Twiddle twiddles(unsigned i) const {
        return {L::template repeat<t>(w_ + i), L::template repeat<t>(w52_ + i)};
    }
    Twiddle scale() const { return scale_; }

    V in(const u64 *p) const { return L::load(p); }
    V in(const std::int32_t *p) const { return L::load_signed(p, q); }
    static void put(u64 *p, V x) { L::store(p, x); }
    V reduce(V x) const { return x; }

    // x < 2^52 -> [0, 2q)
    template <unsigned K>
    void multiply(V (&x)[K], const Twiddle (&t)[K]) const {
        V h[K];
        for (unsigned k = 0; k < K; ++k) h[k] = L::madd_hi(L::zero(), x[k], t[k].quotient);
        for (unsigned k = 0; k < K; ++k) x[k] = L::madd_lo(L::zero(), x[k], t[k].w);
        for (unsigned k = 0; k < K; ++k) x[k] = L::madd_lo(x[k], h[k], minus_q);
        for (unsigned k = 0; k < K; ++k) x[k] = L::bit_and(x[k], mask);
    }
    template <unsigned K>
    void multiply(V (&x)[K], const Twiddle &t) const {
        V h[K];
        for (unsigned k = 0; k < K; ++k) h[k] = L::madd_hi(L::zero(), x[k], t.quotient);
        for (unsigned k = 0; k < K; ++k) x[k] = L::madd_lo(L::zero(), x[k], t.w);
        for (unsigned k = 0; k < K; ++k) x[k] = L::madd_lo(x[k], h[k], minus_q);
        for (unsigned k = 0; k < K; ++k) x[k] = L::bit_and(x[k], mask);
    }
    // u, v = u + v, u - v for v a product
    void forward_sum(V &u, V &v) const {
        const V x = L::cut(u, q2), y = v;
        u = L::add(x, y), v = L::sub(L::add(x, q2), y);
    }
    // u, v = u + v, u - v; v is multiplied next
    template <bool>
    void inverse_sum(V &u, V &v) const {
        const V d = L::sub(L::add(u, q2), v);
        u = L::cut(L::add(u, v), q2), v = d;
    }
    void canonical(u64 *p, V x) const { L::store(p, L::cut(L::cut(x, q2), q)); }
    template <unsigned from, unsigned to>
    static void move(V &u, V &v) {
        L::template move<from, to>(u, v);
    }

    static U zero() { return L::zero(); }
    static U load(const u64 *p) { return L::load(p); }
    static void store(u64 *p, U x) { L::store(p, x); }
    static Split split_factor(const u64 *p) { return L::load(p); }
    static void add_product(U *sum, Split a, Split b) {
        sum[0] = L::madd_lo(sum[0], a, b);
        sum[1] = L::madd_hi(sum[1], a, b);
    }

    // lo + 2^52 hi mod q, lo and hi any 64-bit numbers
    struct Settler {
        RingU52 a;
        Twiddle one, c52, c104;
        explicit Settler(const NttTables &t)
            : a(t, false),
              one(factor(1, t.modulus.q)),
              c52(factor(t.modulus.pow(2, 52), t.modulus.q)),
              c104(factor(t.modulus.pow(2, 104), t.modulus.q)) {}
        template <unsigned K>
        void settle(const u64 *acc, std::size_t row, u64 *out) const {
            V x[K], y[K], z[K];
            for (unsigned k = 0; k < K; ++k) {
                const V lo = L::load(acc + k * lanes),
                        hi = L::add(L::load(acc + k * lanes + row), L::shift52(lo));  // below 2^61
                x[k] = L::bit_and(lo, a.mask), y[k] = L::bit_and(hi, a.mask), z[k] = L::shift52(hi);
            }
            a.template multiply<K>(x, one), a.template multiply<K>(y, c52), a.template multiply<K>(z, c104);
            for (unsigned k = 0; k < K; ++k) {  // below 6q
                const V sum = L::cut(L::add(L::add(x[k], y[k]), z[k]), L::add(a.q2, a.q2));
                a.canonical(out + k * lanes, sum);
            }
        }
    };
};

}  // namespace bs
