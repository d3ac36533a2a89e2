// Kernels on ring integers: planes, truncation, multiplexer, products with a bit.
#include "blindsight/bitslice_block.hpp"

namespace bs::bitslice {
namespace {

// Bits 0..63 of a word as 64 lane masks; the constant trip count lets the compiler vectorise.
[[gnu::always_inline]] inline void spread(u64 word, u32 *mask) {
    const u32 half[2] = {static_cast<u32>(word), static_cast<u32>(word >> 32)};
    for (unsigned h = 0; h < 2; ++h)
        for (unsigned i = 0; i < 32; ++i) mask[32 * h + i] = -((half[h] >> i) & 1u);
}

// 64 elements; short blocks are copied beside zeros, so that kernels see whole blocks only
struct Block {
    alignas(64) u32 copy[64];
    [[gnu::always_inline]] inline const u32 *load(const u32 *from, size_t count) {
        if (count == 64) return from;
        std::memset(copy, 0, sizeof copy);
        std::memcpy(copy, from, count * sizeof(u32));
        return copy;
    }
};

}  // namespace

void slice(const u32 *x, size_t n, unsigned w, u64 *planes) {
    const size_t W = words(n);
    dispatch([=](auto isa) __attribute__((always_inline)) {
        blocks(
            n, [&](size_t i, size_t first, size_t count) __attribute__((always_inline)) {
                Block in;
                isa.slice64(in.load(x + first, count), w, planes + i, W);
            });
    });
}

void unslice(const u64 *planes, size_t n, unsigned w, u32 *x) {
    const size_t W = words(n);
    dispatch([=](auto isa) __attribute__((always_inline)) {
        blocks(
            n, [&](size_t i, size_t first, size_t count) __attribute__((always_inline)) {
                alignas(64) u32 out[64];
                isa.unslice64(planes + i, W, w, out);
                std::memcpy(x + first, out, count * sizeof(u32));
            });
    });
}

void truncate(const u32 *x, size_t n, u32 add, unsigned f, unsigned m, u32 *out, u64 *planes) {
    const size_t W = words(n);
    const u32 mask = low_mask(m);
    dispatch([=](auto isa) __attribute__((always_inline)) {
        blocks(
            n, [&](size_t i, size_t first, size_t count) __attribute__((always_inline)) {
                Block in;
                const u32 *v = in.load(x + first, count);
                alignas(64) u32 z[64];
                for (unsigned j = 0; j < 64; ++j) z[j] = ((v[j] + add) >> f) & mask;
                isa.slice64(z, m, planes + i, W);
                std::memcpy(out + first, z, count * sizeof(u32));
            });
    });
}

void mux_offer(const u64 *bit, const u32 *x, const u32 *pads, const u64 *choice, size_t n, unsigned m, u64 *offer) {
    const size_t W = words(n);
    dispatch([=](auto isa) __attribute__((always_inline)) {
        blocks(
            n, [&](size_t i, size_t first, size_t count) __attribute__((always_inline)) {
                Block bx, b0, b1;
                const u32 *v = bx.load(x + first, count), *p0 = b0.load(pads + first, count),
                          *p1 = b1.load(pads + n + first, count);
                alignas(64) u32 minus[64], d[64];
                spread(choice[i], minus);
                for (unsigned j = 0; j < 64; ++j) d[j] = p0[j] + ((v[j] ^ minus[j]) - minus[j]) - p1[j];
                isa.slice64(d, m, offer + W + i, W);
                offer[i] = bit[i] ^ choice[i];
            });
    });
}

void mux_finish(const u64 *mine, const u64 *theirs, const u32 *x, const u32 *pads, const u64 *choice, const u32 *got,
                size_t n, unsigned m, u32 *out) {
    const size_t W = words(n);
    const u32 mask = low_mask(m);
    dispatch([=](auto isa) __attribute__((always_inline)) {
        blocks(
            n, [&](size_t i, size_t first, size_t count) __attribute__((always_inline)) {
                Block bx, b0, bg;
                const u32 *v = bx.load(x + first, count), *p0 = b0.load(pads + first, count),
                          *g = bg.load(got + first, count);
                alignas(64) u32 d[64], own[64], flip[64], z[64];
                isa.unslice64(theirs + W + i, W, m, d);
                spread(choice[i], own);
                spread(mine[i] ^ theirs[i], flip);
                for (unsigned j = 0; j < 64; ++j) {
                    const u32 y = (own[j] & (v[j] + d[j])) - p0[j] + g[j];  // share of (random bit) * x
                    z[j] = (((y ^ flip[j]) - flip[j]) + (v[j] & flip[j])) & mask;
                }
                std::memcpy(out + first, z, count * sizeof(u32));
            });
    });
}

void product_offer(const u32 *u, const u32 *pads, size_t n, unsigned w, u64 *planes) {
    const size_t W = words(n);
    dispatch([=](auto isa) __attribute__((always_inline)) {
        blocks(
            n, [&](size_t i, size_t first, size_t count) __attribute__((always_inline)) {
                Block bu, b0, b1;
                const u32 *v = bu.load(u + first, count), *p0 = b0.load(pads + first, count),
                          *p1 = b1.load(pads + n + first, count);
                alignas(64) u32 d[64];
                for (unsigned j = 0; j < 64; ++j) d[j] = p0[j] + v[j] - p1[j];
                isa.slice64(d, w, planes + i, W);
            });
    });
}

void product_sender(const u64 *t, const u32 *u, const u32 *pads, size_t n, unsigned w, u32 *out) {
    const u32 mask = low_mask(w);
    dispatch([=](auto) __attribute__((always_inline)) {
        blocks(
            n, [&](size_t i, size_t first, size_t count) __attribute__((always_inline)) {
                alignas(64) u32 flip[64];
                spread(t[i], flip);
                for (size_t j = 0; j < count; ++j)  // t ? u + p0 : -p0
                    out[first + j] = ((((pads[first + j] ^ ~flip[j]) - ~flip[j])) + (u[first + j] & flip[j])) & mask;
            });
    });
}

void product_receiver(const u64 *t, const u64 *planes, const u64 *choice, const u32 *got, size_t n, unsigned w,
                      u32 *out) {
    const size_t W = words(n);
    const u32 mask = low_mask(w);
    dispatch([=](auto isa) __attribute__((always_inline)) {
        blocks(
            n, [&](size_t i, size_t first, size_t count) __attribute__((always_inline)) {
                alignas(64) u32 d[64], own[64], flip[64];
                isa.unslice64(planes + i, W, w, d);
                spread(choice[i], own);
                spread(t[i], flip);
                for (size_t j = 0; j < count; ++j) {
                    const u32 y = got[first + j] + (d[j] & own[j]);
                    out[first + j] = ((y ^ flip[j]) - flip[j]) & mask;
                }
            });
    });
}

}  // namespace bs::bitslice
