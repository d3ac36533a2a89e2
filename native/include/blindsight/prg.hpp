// One repetition group of SoftSpoken's small-field VOLE, straight from AES in counter mode.
//
// Leaf y of a group has its own key; its stream over block p is AES_key[y](p).  With r_y the streams of 2^k leaves,
//     u = xor of all r_y (who holds all of them),   v_b = xor of the r_y whose index has bit b.
// Who misses one leaf orders its leaves by y = leaf ^ Delta_g, so the missing one is y = 0, which no v_b contains:
//     w_b = v_b ^ (u & Delta_g[b]).
#pragma once
#include "blindsight/aes.hpp"
#include "blindsight/vec.hpp"

namespace bs {

constexpr std::size_t STEP_BLOCKS = 2 * STEP;  // a step of the kernel covers 16 blocks of 128 OTs

// rows[b * stride + i] (^)= v_b over blocks first + 2 i, first + 2 i + 1; for the sender rows start as what is there.
template <class B, int K, bool Receiver>
static void group_rows(const AesKey* keys, std::uint64_t first, std::size_t steps, V* u, V* rows, std::size_t stride) {
    for (std::size_t s = 0; s < steps; ++s) {
        V counter[STEP], all[STEP], acc[K][STEP];
        for (int i = 0; i < STEP; ++i) {
            const std::uint64_t p = first + STEP_BLOCKS * s + 2 * static_cast<unsigned>(i);
            counter[i] = V{p, 0, p + 1, 0};
            all[i] = V{};
            for (int b = 0; b < K; ++b)
                acc[b][i] =
                    Receiver ? V{} : rows[static_cast<std::size_t>(b) * stride + STEP * s + static_cast<unsigned>(i)];
        }
        for (int y = Receiver ? 0 : 1; y < 1 << K; ++y) {
            V x[STEP];
            for (int i = 0; i < STEP; ++i) x[i] = counter[i];
            B::encrypt(keys[y], x);
            for (int i = 0; i < STEP; ++i)
                if constexpr (Receiver) all[i] ^= x[i];
            for (int b = 0; b < K; ++b)
                if (y >> b & 1)
                    for (int i = 0; i < STEP; ++i) acc[b][i] ^= x[i];
        }
        for (int i = 0; i < STEP; ++i) {
            if constexpr (Receiver) u[STEP * s + static_cast<unsigned>(i)] = all[i];
            for (int b = 0; b < K; ++b)
                rows[static_cast<std::size_t>(b) * stride + STEP * s + static_cast<unsigned>(i)] = acc[b][i];
        }
    }
}

}  // namespace bs
