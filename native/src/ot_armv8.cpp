// The OT kernels for ARMv8 with the AES extension.
#if defined(__aarch64__)
#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("aes"))), apply_to = function)
#else
#pragma GCC target("+crypto")
#endif

#include <arm_neon.h>

#include "blindsight/aes.hpp"
#include "blindsight/ot_kernels.hpp"

namespace bs {
namespace {

struct ArmBackend {
    BS_INLINE void encrypt(const AesKey& key, V (&v)[STEP]) {
        uint8x16_t x[2 * STEP];
        std::memcpy(x, v, sizeof x);
        for (int r = 0; r < 9; ++r) {
            const uint8x16_t k = vld1q_u8(key.round[r]);
            for (int i = 0; i < 2 * STEP; ++i) x[i] = vaesmcq_u8(vaeseq_u8(x[i], k));
        }
        const uint8x16_t k9 = vld1q_u8(key.round[9]), k10 = vld1q_u8(key.round[10]);
        for (int i = 0; i < 2 * STEP; ++i) x[i] = veorq_u8(vaeseq_u8(x[i], k9), k10);
        std::memcpy(v, x, sizeof x);
    }

    BS_INLINE unsigned top_bits(const V32& x) {
        const int32x4_t low = {0, 1, 2, 3}, high = {4, 5, 6, 7};
        uint32x4_t half[2];
        std::memcpy(half, &x, sizeof half);
        return vaddvq_u32(vshlq_u32(vshrq_n_u32(half[0], 31), low)) +
               vaddvq_u32(vshlq_u32(vshrq_n_u32(half[1], 31), high));
    }

    // floor(k x / 2^32) of every entry.
    BS_INLINE V32 scale(const V32& x, std::uint32_t k) {
        V32 y;
        for (int i = 0; i < 8; ++i) y[i] = static_cast<std::uint32_t>(static_cast<std::uint64_t>(x[i]) * k >> 32);
        return y;
    }
};

}  // namespace

const OtKernels ot_armv8 = table_of<ArmBackend>();

}  // namespace bs

#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
