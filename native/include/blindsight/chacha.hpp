// The ChaCha20 keystream (RFC 8439) as an expander of 32-byte seeds: Stream(seed, purpose, index) of docs/wire.md,
// section 2, with a third nonce word for the prime where a ring has several.
#pragma once
#include <cstddef>
#include <cstdint>

namespace bs {

// Writes blocks first .. first + count - 1 of 64 bytes each to `out`.  Time independent of the seed.
void chacha20_blocks(const std::uint8_t seed[32], const std::uint32_t nonce[3], std::uint32_t first, std::size_t count,
                     std::uint8_t *out) noexcept;

// A forward-only reader of one stream, wiped when it goes.
class Stream {
  public:
    Stream(const std::uint8_t *seed, std::uint32_t purpose, std::uint32_t index, std::uint32_t part = 0) noexcept;
    ~Stream();
    Stream(const Stream &) = delete;
    Stream &operator=(const Stream &) = delete;

    void read(void *out, std::size_t bytes) noexcept;
    std::uint64_t word() noexcept;  // the next 8 bytes, little-endian

  private:
    static constexpr std::size_t kBlocks = 16;
    void refill() noexcept;
    std::uint8_t seed_[32];
    std::uint32_t nonce_[3];
    std::uint32_t next_ = 0;
    std::size_t at_ = sizeof buffer_;
    alignas(64) std::uint8_t buffer_[64 * kBlocks];
};

// Overwrites memory that held a secret; not removed by the compiler.
void wipe(void *p, std::size_t bytes) noexcept;

}  // namespace bs
