// Look-up tables: the sender's rotated, masked tables and the receiver's oblivious selection.
#include <vector>

#include "blindsight/bitslice_block.hpp"

namespace bs::bitslice {
namespace {

using i32 = std::int32_t;
constexpr unsigned MOST = 256;
constexpr size_t LANES = 16;  // instances worked on together: their tables fill half of the first-level cache
using Row = u32[LANES];

// 64 instances' pads, copied together, and 16 instances' tables.  The odd row length spreads pads over all cache sets.
template <unsigned J>
struct Scratch {
    static constexpr size_t PADS = 64 + 16;
    std::vector<u32> pads = std::vector<u32>(J * PADS), values = std::vector<u32>((J + J / 2) * LANES),
                     e = std::vector<u32>(J * 64);
    ~Scratch() {
        for (auto *v : {&pads, &values, &e}) {
            volatile u32 *p = v->data();
            for (size_t i = 0; i < v->size(); ++i) p[i] = 0;
        }
    }
};

// v[j][i] <- v[(j + turn[i]) mod J][i]: one conditional rotation a bit, so that no address depends on `turn`.  J/2 rows
// of room behind.
template <unsigned J>
[[gnu::always_inline]] inline void rotate(Row *v, const u32 *turn) {
    for (unsigned bit = 0; 1u << bit < J; ++bit) {
        const unsigned step = 1u << bit;
        alignas(64) Row take;
        for (size_t i = 0; i < LANES; ++i) take[i] = -((turn[i] >> bit) & 1u);
        std::memcpy(v + J, v, step * sizeof(Row));
        for (unsigned j = 0; j < J; ++j)
            for (size_t i = 0; i < LANES; ++i) v[j][i] ^= (v[j][i] ^ v[j + step][i]) & take[i];
    }
}

template <unsigned K, class Isa>
[[gnu::always_inline]] inline void lut_block(Isa isa, const Lines &lines, const u32 *turn, const u32 *low,
                                             const u32 *correction, const u32 *pads, size_t n, size_t count, unsigned w,
                                             size_t W, Scratch<1u << K> &scratch, u64 *messages, u32 *share) {
    constexpr unsigned J = 1u << K;
    constexpr size_t PADS = Scratch<J>::PADS;
    const i32 half = 1 << (lines.shift - 1);
    u32 *pad = scratch.pads.data(), *e = scratch.e.data();
    Row *v = reinterpret_cast<Row *>(scratch.values.data());
    for (unsigned j = 0; j < J; ++j) std::memcpy(pad + j * PADS, pads + j * n, count * sizeof(u32));
    for (size_t first = 0; first < count; first += LANES) {
        const size_t here = count - first < LANES ? count - first : LANES;
        alignas(64) u32 turns[LANES] = {}, offset[LANES], asked[LANES] = {};
        alignas(64) i32 x[LANES] = {};
        std::memcpy(turns, turn + first, here * sizeof(u32));
        std::memcpy(x, low + first, here * sizeof(u32));
        for (size_t i = 0; i < here; ++i) asked[i] = correction[first + i] & (J - 1);
        for (unsigned j = 0; j < J; ++j)
            for (size_t i = 0; i < LANES; ++i)
                v[j][i] = static_cast<u32>((lines.base[j] + lines.slope[j] * x[i] + half) >> lines.shift);
        rotate<J>(v, turns);
        for (size_t i = 0; i < LANES; ++i) offset[i] = v[0][i] + pad[asked[i] * PADS + first + i];
        for (size_t i = 0; i < here; ++i) share[first + i] = offset[i] & low_mask(w);
        for (unsigned j = 1; j < J; ++j)
            for (size_t i = 0; i < LANES; ++i)
                e[64 * j + first + i] = v[j][i] - offset[i] + pad[(j ^ asked[i]) * PADS + first + i];
    }
    for (unsigned j = 1; j < J; ++j) {
        for (size_t i = count; i < 64; ++i) e[64 * j + i] = 0;
        isa.slice64(e + 64 * j, w, messages + static_cast<size_t>(j - 1) * w * W, W);
    }
}

template <unsigned K>
void lut_all(const Lines &lines, const u32 *turn, const u32 *low, const u32 *correction, const u32 *pads, size_t n,
             unsigned w, u64 *messages, u32 *share) {
    Scratch<1u << K> scratch;
    const size_t W = words(n);
    dispatch([&, n, w, W ](auto isa) __attribute__((always_inline)) {
        blocks(
            n, [&](size_t i, size_t first, size_t count) __attribute__((always_inline)) {
                lut_block<K>(isa, lines, turn + first, low + first, correction + first, pads + first, n, count, w, W,
                             scratch, messages + i, share + first);
            });
    });
}

}  // namespace

void lut_messages(const Lines &lines, const u32 *turn, const u32 *low, const u32 *correction, const u32 *pads, size_t n,
                  unsigned k, unsigned w, u64 *messages, u32 *share) {
    using Kernel =
        void (*)(const Lines &, const u32 *, const u32 *, const u32 *, const u32 *, size_t, unsigned, u64 *, u32 *);
    static constexpr Kernel kernels[8] = {lut_all<1>, lut_all<2>, lut_all<3>, lut_all<4>,
                                          lut_all<5>, lut_all<6>, lut_all<7>, lut_all<8>};
    kernels[k - 1](lines, turn, low, correction, pads, n, w, messages, share);
}

void lut_select(const u64 *index, const u64 *messages, size_t W, unsigned k, unsigned w, u64 *planes) {
    dispatch([=](auto) __attribute__((always_inline)) {
        constexpr size_t L = 4;
        for (size_t i = 0; i < W; i += L) {
            const size_t count = W - i < L ? W - i : L;
            u64 eq[MOST][L], sum[32][L] = {};
            for (size_t l = 0; l < L; ++l) eq[0][l] = ~0ULL;
            for (unsigned b = 0; b < k; ++b)
                for (unsigned j = 1u << b; j-- > 0;)
                    for (size_t l = 0; l < L; ++l) {
                        const u64 d = l < count ? index[b * W + i + l] : 0;
                        eq[j + (1u << b)][l] = eq[j][l] & d;
                        eq[j][l] &= ~d;
                    }
            for (unsigned j = 1; j < 1u << k; ++j)
                for (unsigned v = 0; v < w; ++v)
                    for (size_t l = 0; l < count; ++l)
                        sum[v][l] ^= eq[j][l] & messages[(static_cast<size_t>(j - 1) * w + v) * W + i + l];
            for (unsigned v = 0; v < w; ++v)
                for (size_t l = 0; l < count; ++l) planes[v * W + i + l] = sum[v][l];
        }
    });
}

}  // namespace bs::bitslice
