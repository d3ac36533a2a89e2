// Look-up tables: the sender's rotated, masked tables and the receiver's oblivious selection.
#include <vector>

#include "blindsight/bitslice_block.hpp"

namespace bs::bitslice {
namespace {

using i32 = std::int32_t;
constexpr unsigned MOST = 256;

// v[j] <- v[(j + turn) mod J]: one conditional rotation a bit, so that no address depends on `turn`.
template <unsigned J> [[gnu::always_inline]] inline void rotate(u32 *v, u32 turn) {
    alignas(64) u32 t[2 * J];
    for (unsigned step = 1; step < J; step <<= 1, turn >>= 1) {
        const u32 take = -(turn & 1u);
        std::memcpy(t, v, J * sizeof(u32));
        std::memcpy(t + J, v, J * sizeof(u32));
        for (unsigned j = 0; j < J; ++j) v[j] = t[j] ^ ((t[j] ^ t[j + step]) & take);
    }
}

template <unsigned K, class Isa>
[[gnu::always_inline]] inline void lut_block(Isa isa, const Lines &lines, const u32 *turn, const u32 *low, const u32 *correction, const u32 *pads,
                                             size_t n, size_t count, unsigned w, size_t W, u32 *values, u64 *messages, u32 *share) {
    constexpr unsigned J = 1u << K;
    const i32 half = 1 << (lines.shift - 1);
    alignas(64) u32 offset[64] = {}, e[64] = {};
    for (size_t i = 0; i < count; ++i) {
        u32 *v = values + i * J;
        const i32 x = static_cast<i32>(low[i]);
        for (unsigned j = 0; j < J; ++j) v[j] = static_cast<u32>((lines.base[j] + lines.slope[j] * x + half) >> lines.shift);
        rotate<J>(v, turn[i]);
        const u32 own = v[0] + pads[(correction[i] & (J - 1)) * n + i];
        share[i] = own & low_mask(w);
        offset[i] = own;
    }
    for (unsigned j = 1; j < J; ++j) {
        for (size_t i = 0; i < count; ++i) e[i] = values[i * J + j] - offset[i] + pads[((j ^ correction[i]) & (J - 1)) * n + i];
        isa.slice64(e, w, messages + static_cast<size_t>(j - 1) * w * W, W);
    }
}

template <unsigned K>
void lut_all(const Lines &lines, const u32 *turn, const u32 *low, const u32 *correction, const u32 *pads, size_t n, unsigned w, u64 *messages,
             u32 *share) {
    std::vector<u32> values(64 << K);
    u32 *scratch = values.data();
    const size_t W = words(n);
    dispatch([=](auto isa) __attribute__((always_inline)) {
        blocks(n, [&](size_t i, size_t first, size_t count) __attribute__((always_inline)) {
            lut_block<K>(isa, lines, turn + first, low + first, correction + first, pads + first, n, count, w, W, scratch, messages + i, share + first);
        });
    });
    volatile u32 *wipe = scratch; // holds rotated tables
    for (size_t i = 0; i < values.size(); ++i) wipe[i] = 0;
}

} // namespace

void lut_messages(const Lines &lines, const u32 *turn, const u32 *low, const u32 *correction, const u32 *pads, size_t n, unsigned k, unsigned w,
                  u64 *messages, u32 *share) {
    using Kernel = void (*)(const Lines &, const u32 *, const u32 *, const u32 *, const u32 *, size_t, unsigned, u64 *, u32 *);
    static constexpr Kernel kernels[8] = {lut_all<1>, lut_all<2>, lut_all<3>, lut_all<4>, lut_all<5>, lut_all<6>, lut_all<7>, lut_all<8>};
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
                    for (size_t l = 0; l < count; ++l) sum[v][l] ^= eq[j][l] & messages[(static_cast<size_t>(j - 1) * w + v) * W + i + l];
            for (unsigned v = 0; v < w; ++v)
                for (size_t l = 0; l < count; ++l) planes[v * W + i + l] = sum[v][l];
        }
    });
}

} // namespace bs::bitslice
