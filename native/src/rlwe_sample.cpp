#include "blindsight/rlwe_sample.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

#include "blindsight/cpu.hpp"

namespace bs {
namespace {

constexpr std::size_t kAtOnce = 512;  // coefficients whose bits are read together

// The number of ones, without a table: __builtin_popcountll is one where the compiler may not assume the instruction.
u64 ones(u64 x) noexcept {
    x -= (x >> 1) & 0x5555555555555555;
    x = (x & 0x3333333333333333) + ((x >> 2) & 0x3333333333333333);
    x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0f;
    return (x * 0x0101010101010101) >> 56;
}

// The j-th 42 bits; eight readable bytes follow them.
inline __attribute__((always_inline)) u64 window(const std::uint8_t *bits, std::size_t j) noexcept {
    u64 x;
    std::memcpy(&x, bits + 42 * j / 8, 8);
    return (x >> (42 * j % 8)) & ((u64{1} << 42) - 1);
}

void sums(const std::uint8_t *bits, std::int32_t *out, std::size_t n) noexcept {
    for (std::size_t j = 0; j < n; ++j) out[j] = static_cast<std::int32_t>(ones(window(bits, j))) - 21;
}

#if defined(__x86_64__)
__attribute__((target("popcnt"))) void sums_popcnt(const std::uint8_t *bits, std::int32_t *out,
                                                   std::size_t n) noexcept {
    for (std::size_t j = 0; j < n; ++j) out[j] = __builtin_popcountll(window(bits, j)) - 21;
}
#endif

}  // namespace

void sample_uniform(u64 q, Stream &from, u64 *out, std::size_t n) noexcept {
    const u64 mask = (u64{1} << std::bit_width(q)) - 1;
    for (std::size_t i = 0; i < n;) {
        out[i] = from.word() & mask;
        i += out[i] < q;
    }
}

void sample_ternary(Stream &from, std::int32_t *out, std::size_t n) noexcept {
    for (std::size_t i = 0; i < n; i += 8) {
        u64 f = from.word();
        for (std::size_t j = 0; j < 8; ++j) {
            const u128 tripled = u128{f} * 3;
            out[i + j] = static_cast<std::int32_t>(tripled >> 64) - 1;
            f = static_cast<u64>(tripled);
        }
    }
}

void sample_error(Stream &from, std::int32_t *out, std::size_t n) noexcept {
    auto run = sums;
#if defined(__x86_64__)
    if (features().avx2) run = sums_popcnt;  // every processor with AVX2 has it
#endif
    std::uint8_t bits[kAtOnce * 42 / 8 + 8] = {};  // eight more, so that every window can be read whole
    for (std::size_t i = 0; i < n; i += kAtOnce) {
        const std::size_t count = std::min(kAtOnce, n - i);
        from.read(bits, count * 42 / 8);
        run(bits, out + i, count);
    }
    wipe(bits, sizeof bits);
}

}  // namespace bs
