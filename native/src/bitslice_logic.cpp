// Kernels on bit vectors: comparison leaves and AND gates.
#include "blindsight/bitslice_block.hpp"

namespace bs::bitslice {
namespace {

// L words are worked on together; K leaf bits and V message bits are compile-time, so all loops unroll.
constexpr size_t L = 4;
using Lane = u64[L];

template <unsigned K>
[[gnu::always_inline]] inline void equals(const u64 *digit, size_t W, size_t count, Lane *eq) {
    // eq[j] = [digit == j], by doubling
    for (size_t l = 0; l < L; ++l) eq[0][l] = ~0ULL;
    for (unsigned b = 0; b < K; ++b)
        for (unsigned j = 1u << b; j-- > 0;)
            for (size_t l = 0; l < L; ++l) {
                const u64 d = l < count ? digit[b * W + l] : 0;
                eq[j + (1u << b)][l] = eq[j][l] & d;
                eq[j][l] &= ~d;
            }
}

template <unsigned K, unsigned V>
[[gnu::always_inline]] inline void messages_block(const u64 *digit, const u64 *correction, const u64 *pads, size_t W,
                                                  size_t count, u64 *messages, u64 *share) {
    constexpr unsigned J = 1u << K;
    Lane eq[J], pad[J];
    equals<K>(digit, W, count, eq);
    for (unsigned v = 0; v < V; ++v) {
        for (unsigned j = 0; j < J; ++j)
            for (size_t l = 0; l < L; ++l) pad[j][l] = l < count ? pads[(j * V + v) * W + l] : 0;
        for (unsigned b = 0; b < K; ++b)  // pad[j] <- pad[j ^ correction]
            for (unsigned j = 0; j < J; ++j)
                if ((j >> b & 1) == 0)
                    for (size_t l = 0; l < L; ++l) {
                        const u64 swap = (pad[j][l] ^ pad[j | 1u << b][l]) & (l < count ? correction[b * W + l] : 0);
                        pad[j][l] ^= swap;
                        pad[j | 1u << b][l] ^= swap;
                    }
        Lane own, less;
        for (size_t l = 0; l < L; ++l) {
            own[l] = pad[0][l] ^ (v == 1 ? eq[0][l] : 0);  // makes message 0 zero
            less[l] = 0;
        }
        for (unsigned j = 1; j < J; ++j)
            for (size_t l = 0; l < L; ++l) {
                less[l] ^= eq[j - 1][l];  // [a < j]
                const u64 message = (v == 0 ? less[l] : eq[j][l]) ^ own[l] ^ pad[j][l];
                if (l < count) messages[((j - 1) * V + v) * W + l] = message;
            }
        for (size_t l = 0; l < count; ++l) share[v * W + l] = own[l];
    }
}

template <unsigned K, unsigned V>
[[gnu::always_inline]] inline void select_block(const u64 *digit, const u64 *pad, const u64 *messages, size_t W,
                                                size_t count, u64 *share) {
    constexpr unsigned J = 1u << K;
    Lane eq[J];
    equals<K>(digit, W, count, eq);
    for (unsigned v = 0; v < V; ++v) {
        Lane sum;
        for (size_t l = 0; l < L; ++l) sum[l] = l < count ? pad[v * W + l] : 0;
        for (unsigned j = 1; j < J; ++j)
            for (size_t l = 0; l < L; ++l) sum[l] ^= eq[j][l] & (l < count ? messages[((j - 1) * V + v) * W + l] : 0);
        for (size_t l = 0; l < count; ++l) share[v * W + l] = sum[l];
    }
}

template <class Body>
[[gnu::always_inline]] inline void groups(size_t W, const Body &body) {
    size_t i = 0;
    for (; i + L <= W; i += L) body(i, L);
    if (i < W) body(i, W - i);
}

template <unsigned K, unsigned V>
void messages_all(const u64 *digit, const u64 *correction, const u64 *pads, size_t W, u64 *messages, u64 *share) {
    dispatch([=](auto) __attribute__((always_inline)) {
        groups(
            W, [=](size_t i, size_t count) __attribute__((always_inline)) {
                messages_block<K, V>(digit + i, correction + i, pads + i, W, count, messages + i, share + i);
            });
    });
}

template <unsigned K, unsigned V>
void select_all(const u64 *digit, const u64 *pad, const u64 *messages, size_t W, u64 *share) {
    dispatch([=](auto) __attribute__((always_inline)) {
        groups(
            W, [=](size_t i, size_t count) __attribute__((always_inline)) {
                select_block<K, V>(digit + i, pad + i, messages + i, W, count, share + i);
            });
    });
}

}  // namespace

void leaf_messages(const u64 *digit, const u64 *correction, const u64 *pads, size_t W, unsigned k, unsigned w,
                   u64 *messages, u64 *share) {
    using Kernel = void (*)(const u64 *, const u64 *, const u64 *, size_t, u64 *, u64 *);
    static constexpr Kernel kernels[4][2] = {{messages_all<1, 1>, messages_all<1, 2>},
                                             {messages_all<2, 1>, messages_all<2, 2>},
                                             {messages_all<3, 1>, messages_all<3, 2>},
                                             {messages_all<4, 1>, messages_all<4, 2>}};
    kernels[k - 1][w - 1](digit, correction, pads, W, messages, share);
}

void leaf_select(const u64 *digit, const u64 *pad, const u64 *messages, size_t W, unsigned k, unsigned w, u64 *share) {
    using Kernel = void (*)(const u64 *, const u64 *, const u64 *, size_t, u64 *);
    static constexpr Kernel kernels[4][2] = {{select_all<1, 1>, select_all<1, 2>},
                                             {select_all<2, 1>, select_all<2, 2>},
                                             {select_all<3, 1>, select_all<3, 2>},
                                             {select_all<4, 1>, select_all<4, 2>}};
    kernels[k - 1][w - 1](digit, pad, messages, W, share);
}

void and_open(const u64 *x, const u64 *y, const AndGate &gate, size_t W, unsigned w, u64 *opening) {
    dispatch([=](auto) __attribute__((always_inline)) {
        for (size_t i = 0; i < W; ++i) opening[i] = x[i] ^ gate.a[i];
        for (unsigned v = 0; v < w; ++v) {
            const u64 *p0 = gate.pads + v * gate.pad_row, *p1 = p0 + gate.pad_rows;
            u64 *e = opening + (1 + v) * W;
            for (size_t i = 0; i < W; ++i) e[i] = y[v * W + i] ^ p0[i] ^ p1[i];
        }
    });
}

void and_combine(const u64 *mine, const u64 *theirs, const AndGate &gate, size_t W, unsigned w, bool first, u64 *out) {
    const u64 once = first ? ~0ULL : 0;
    dispatch([=](auto) __attribute__((always_inline)) {
        for (unsigned v = 0; v < w; ++v) {
            const u64 *p0 = gate.pads + v * gate.pad_row, *p1 = p0 + gate.pad_rows, *g = gate.got + v * gate.got_row;
            const u64 *e0 = mine + (1 + v) * W, *e1 = theirs + (1 + v) * W;
            for (size_t i = 0; i < W; ++i) {
                const u64 d = mine[i] ^ theirs[i], e = e0[i] ^ e1[i], b = p0[i] ^ p1[i], a = gate.a[i];
                out[v * W + i] = p0[i] ^ g[i] ^ (a & b) ^ (d & b) ^ (e & a) ^ (d & e & once);
            }
        }
    });
}

}  // namespace bs::bitslice
