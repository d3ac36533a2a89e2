#include "blindsight/rlwe_sample.hpp"

#include <bit>
#include <cstring>

namespace bs {
namespace {

// The number of ones, without a table: __builtin_popcountll is one where the compiler may not assume the instruction.
u64 ones(u64 x) noexcept {
    x -= (x >> 1) & 0x5555555555555555;
    x = (x & 0x3333333333333333) + ((x >> 2) & 0x3333333333333333);
    x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0f;
    return (x * 0x0101010101010101) >> 56;
}

} // namespace

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
    constexpr u64 mask = (u64{1} << 42) - 1;
    for (std::size_t i = 0; i < n; i += 32) {
        std::uint8_t bits[32 * 42 / 8 + 8] = {}; // eight more, so that every window can be read whole
        from.read(bits, 32 * 42 / 8);
        for (std::size_t j = 0; j < 32; ++j) {
            u64 window;
            std::memcpy(&window, bits + 42 * j / 8, 8);
            out[i + j] = static_cast<std::int32_t>(ones((window >> (42 * j % 8)) & mask)) - 21;
        }
        wipe(bits, sizeof bits);
    }
}

} // namespace bs
