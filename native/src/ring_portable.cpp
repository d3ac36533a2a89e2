// Eight lanes of 52-bit multiply-add in plain C++: the portable kernels, and the same algorithm as the AVX-512-IFMA
// ones run where there is no such processor.
#include "blindsight/ring_u52.hpp"

namespace bs {
namespace {

struct PlainLanes {
    static constexpr unsigned lanes = 8;
    struct V {
        u64 v[8];
    };
    template <class F>
    static V each(F f) {
        V r;
        for (unsigned i = 0; i < lanes; ++i) r.v[i] = f(i);
        return r;
    }
    static V set(u64 x) {
        return each([&](unsigned) { return x; });
    }
    static V zero() { return set(0); }
    static V load(const u64 *p) {
        return each([&](unsigned i) { return p[i]; });
    }
    static V load_signed(const std::int32_t *p, V q) {
        return each([&](unsigned i) {
            return static_cast<u64>(static_cast<std::int64_t>(p[i])) + (q.v[i] & (0 - u64{p[i] < 0}));
        });
    }
    static void store(u64 *p, V x) {
        for (unsigned i = 0; i < lanes; ++i) p[i] = x.v[i];
    }
    static V add(V a, V b) {
        return each([&](unsigned i) { return a.v[i] + b.v[i]; });
    }
    static V sub(V a, V b) {
        return each([&](unsigned i) { return a.v[i] - b.v[i]; });
    }
    static V bit_and(V a, V b) {
        return each([&](unsigned i) { return a.v[i] & b.v[i]; });
    }
    static V shift52(V a) {
        return each([&](unsigned i) { return a.v[i] >> 52; });
    }
    // a - m where a >= m, for a, m < 2^63
    static V cut(V a, V m) {
        return each([&](unsigned i) {
            const u64 d = a.v[i] - m.v[i];
            return d + (m.v[i] & (0 - (d >> 63)));
        });
    }
    // c + the low (high) 52 bits of the product of the low 52 bits
    static V madd_lo(V c, V a, V b) {
        constexpr u64 mask = (u64{1} << 52) - 1;
        return each([&](unsigned i) { return c.v[i] + ((a.v[i] * b.v[i]) & mask); });
    }
    static V madd_hi(V c, V a, V b) {
        return each([&](unsigned i) { return c.v[i] + static_cast<u64>((u128{a.v[i]} * b.v[i]) >> 52); });
    }
    template <unsigned t>
    static V repeat(const u64 *p) {
        return each([&](unsigned i) { return p[i / t]; });
    }
    template <unsigned from, unsigned to>
    static void move(V &u, V &v) {
        const auto at = [x = u, y = v](unsigned e) {
            const unsigned p = place(from, lanes, e);
            return p < lanes ? x.v[p] : y.v[p - lanes];
        };
        u = each([&](unsigned i) { return at(element(to, i)); });
        v = each([&](unsigned i) { return at(element(to, i) + to); });
    }
};

}  // namespace

const RingKernels kPortableKernels = RingDriver<RingU52<PlainLanes>>::kernels("portable");

}  // namespace bs
