#include "blindsight/chacha.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

#include "blindsight/cpu.hpp"

static_assert(std::endian::native == std::endian::little, "byte order of the keystream");

namespace bs {
namespace {

using Row = std::uint32_t __attribute__((vector_size(32)));  // one word of the state in eight blocks

#define BS_INLINE inline __attribute__((always_inline))

template <int k>
BS_INLINE void turn(Row &x) {
    x = (x << k) | (x >> (32 - k));
}

BS_INLINE void quarter(Row &a, Row &b, Row &c, Row &d) {
    a += b, d ^= a, turn<16>(d);
    c += d, b ^= c, turn<12>(b);
    a += b, d ^= a, turn<8>(d);
    c += d, b ^= c, turn<7>(b);
}

BS_INLINE void eight_blocks(const std::uint32_t state[16], std::uint8_t *out) {
    Row x[16], lane = {0, 1, 2, 3, 4, 5, 6, 7};
    for (int i = 0; i < 16; ++i) x[i] = Row{} + state[i];
    x[12] += lane;
    const Row counter = x[12];
    for (int round = 0; round < 10; ++round) {
        quarter(x[0], x[4], x[8], x[12]), quarter(x[1], x[5], x[9], x[13]), quarter(x[2], x[6], x[10], x[14]),
            quarter(x[3], x[7], x[11], x[15]);
        quarter(x[0], x[5], x[10], x[15]), quarter(x[1], x[6], x[11], x[12]), quarter(x[2], x[7], x[8], x[13]),
            quarter(x[3], x[4], x[9], x[14]);
    }
    alignas(32) std::uint32_t words[16][8];
    for (int i = 0; i < 16; ++i) {
        const Row sum = x[i] + (i == 12 ? counter : Row{} + state[i]);
        std::memcpy(words[i], &sum, sizeof sum);
    }
    for (int block = 0; block < 8; ++block)
        for (int i = 0; i < 16; ++i) std::memcpy(out + 64 * block + 4 * i, &words[i][block], 4);
}

using EightBlocks = void (*)(const std::uint32_t state[16], std::uint8_t *out);

void eight_blocks_plain(const std::uint32_t state[16], std::uint8_t *out) { eight_blocks(state, out); }

#if defined(__x86_64__)
__attribute__((target("avx2"))) void eight_blocks_avx2(const std::uint32_t state[16], std::uint8_t *out) {
    eight_blocks(state, out);
}
#endif

EightBlocks chosen() noexcept {
#if defined(__x86_64__)
    if (features().avx2) return eight_blocks_avx2;
#endif
    return eight_blocks_plain;
}

#undef BS_INLINE

}  // namespace

void chacha20_blocks(const std::uint8_t seed[32], const std::uint32_t nonce[3], std::uint32_t first, std::size_t count,
                     std::uint8_t *out) noexcept {
    const EightBlocks run = chosen();
    std::uint32_t state[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
    std::memcpy(state + 4, seed, 32);
    std::memcpy(state + 13, nonce, 12);
    for (std::size_t done = 0; done < count; done += 8) {
        state[12] = first + static_cast<std::uint32_t>(done);
        if (count - done >= 8) {
            run(state, out + 64 * done);
        } else {
            std::uint8_t last[512];
            run(state, last);
            std::memcpy(out + 64 * done, last, 64 * (count - done));
            wipe(last, sizeof last);
        }
    }
    wipe(state, sizeof state);
}

Stream::Stream(const std::uint8_t *seed, std::uint32_t purpose, std::uint32_t index, std::uint32_t part) noexcept
    : nonce_{purpose, index, part} {
    std::memcpy(seed_, seed, 32);
}

Stream::~Stream() {
    wipe(seed_, sizeof seed_);
    wipe(buffer_, sizeof buffer_);
}

void Stream::refill() noexcept {
    chacha20_blocks(seed_, nonce_, next_, kBlocks, buffer_);
    next_ += kBlocks;
    at_ = 0;
}

void Stream::read(void *out, std::size_t bytes) noexcept {
    auto *to = static_cast<std::uint8_t *>(out);
    while (bytes != 0) {
        if (at_ == sizeof buffer_) refill();
        const std::size_t take = std::min(bytes, sizeof buffer_ - at_);
        std::memcpy(to, buffer_ + at_, take);
        at_ += take, to += take, bytes -= take;
    }
}

std::uint64_t Stream::word() noexcept {
    std::uint64_t x;
    if (sizeof buffer_ - at_ >= 8) [[likely]] {
        std::memcpy(&x, buffer_ + at_, 8);
        at_ += 8;
    } else {
        read(&x, 8);
    }
    return x;
}

void wipe(void *p, std::size_t bytes) noexcept {
    std::memset(p, 0, bytes);
    __asm__ volatile("" : : "r"(p) : "memory");
}

}  // namespace bs
