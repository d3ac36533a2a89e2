// Little-endian bit streams: value i of width w occupies bits i w .. i w + w - 1 (docs/wire.md, section 3).
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "blindsight/modulus.hpp"

namespace bs {

inline std::size_t packed_bytes(std::size_t count, unsigned width) noexcept { return (count * width + 7) / 8; }

class BitWriter {
  public:
    explicit BitWriter(std::uint8_t *out) noexcept : out_(out) {}
    // value < 2^width, width 1 .. 114
    void put(u128 value, unsigned width) noexcept {
        if (width > 64) {
            put_word(static_cast<u64>(value) & ((u64{1} << 50) - 1), 50);
            value >>= 50, width -= 50;
        }
        put_word(static_cast<u64>(value), width);
    }
    // Writes what is held, its last byte filled with zeros.
    void finish() noexcept { std::memcpy(out_, &held_, (bits_ + 7) / 8); }

  private:
    void put_word(u64 value, unsigned width) noexcept {
        held_ |= value << bits_;
        bits_ += width;
        if (bits_ >= 64) {
            std::memcpy(out_, &held_, 8);
            out_ += 8, bits_ -= 64;
            held_ = bits_ == 0 ? 0 : value >> (width - bits_);
        }
    }
    std::uint8_t *out_;
    u64 held_ = 0;
    unsigned bits_ = 0;
};

// Reads exactly `bytes` bytes, never one more.
class BitReader {
  public:
    BitReader(const std::uint8_t *in, std::size_t bytes) noexcept : in_(in), left_(bytes) {}
    u128 get(unsigned width) noexcept {  // width 1 .. 114
        if (width <= 64) return get_word(width);
        const u128 low = get_word(50);
        return low | (u128{get_word(width - 50)} << 50);
    }

  private:
    u64 get_word(unsigned width) noexcept {
        u64 value = held_;
        if (bits_ >= width) {
            held_ >>= width, bits_ -= width;
        } else {
            u64 more = 0;
            const std::size_t take = left_ < 8 ? left_ : 8;
            std::memcpy(&more, in_, take);
            in_ += take, left_ -= take;
            value |= more << bits_;
            const unsigned used = width - bits_;  // of `more`, 1 .. 64
            held_ = used == 64 ? 0 : more >> used, bits_ = 64 - used;
        }
        return value & (~u64{0} >> (64 - width));
    }
    const std::uint8_t *in_;
    std::size_t left_;
    u64 held_ = 0;
    unsigned bits_ = 0;  // at most 63
};

}  // namespace bs
