// 128 x 128 bit transposition of two neighbouring tiles at once, one in each 128-bit lane (Eklundh's method: exchange
// blocks of halving size).  Bit c of vector r becomes bit r of vector c.
#pragma once
#include "blindsight/vec.hpp"

namespace bs {

template <int S>
BS_INLINE void exchange_blocks(V& a, V& b) {  // the high S columns of a with the low S columns of b
    if constexpr (S == 64) {
        const V low = __builtin_shufflevector(a, b, 0, 4, 2, 6), high = __builtin_shufflevector(a, b, 1, 5, 3, 7);
        a = low, b = high;
    } else {
        constexpr std::uint64_t mask = ~0ull / ((1ull << S) + 1);
        const V t = ((a >> S) ^ b) & mask;
        b ^= t;
        a ^= t << S;
    }
}

// Three levels (distances 4S, 2S, S) on eight vectors held in registers.
template <int S>
BS_INLINE void exchange_eight(V* x) {
    V v[8];
    for (int i = 0; i < 8; ++i) v[i] = x[i * S];
    for (int i = 0; i < 4; ++i) exchange_blocks<4 * S>(v[i], v[i + 4]);
    for (int i = 0; i < 8; ++i)
        if (!(i & 2)) exchange_blocks<2 * S>(v[i], v[i + 2]);
    for (int i = 0; i < 8; i += 2) exchange_blocks<S>(v[i], v[i + 1]);
    for (int i = 0; i < 8; ++i) x[i * S] = v[i];
}

BS_INLINE void transpose_pair(V (&x)[128]) {
    for (int i = 0; i < 16; ++i) exchange_eight<16>(x + i);
    for (int i = 0; i < 128; i += 16) exchange_eight<2>(x + i), exchange_eight<2>(x + i + 1);
    for (int i = 0; i < 128; i += 2) exchange_blocks<1>(x[i], x[i + 1]);
}

}  // namespace bs
