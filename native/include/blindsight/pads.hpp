// From correlated strings to finished pads, a pair of tiles (2 x 128 instances) at a time.
//
// An instance of 1-of-2^k OT takes k correlated OTs: the sender has q_t, the receiver v_t = q_t ^ c_t Delta.  Their
// keys are hashed first, K_t^b = H(q_t ^ b Delta; OT number), independent and uniform to whoever lacks Delta.  Then
//     k = 1: pad_j = K_0^j
//     k > 1: pad_j = H(K_0^{j_0} ^ .. ^ K_{k-1}^{j_{k-1}}; number of its first OT, domain pad, j)
// of which a pad of w bits keeps the low w bits of 32-bit word (instance mod 4).  The second hash is what makes 2^k
// pads out of 2 k keys: a plain xor would be linear, and three pads would give the fourth. Source of the construction:
// Naor and Pinkas, "Computationally secure oblivious transfer", J. Cryptology 2005 (1-of-N from log N 1-of-2).
#pragma once
#include "blindsight/hash.hpp"
#include "blindsight/transpose.hpp"

namespace bs {

constexpr std::size_t PAIR = 256;  // instances in a pair of tiles
constexpr unsigned MAX_K = 8;

// Where the pads of one draw go.  n instances; bit-sliced vectors have ceil(n / 64) words.
struct PadArray {
    bool ints;  // uint32 a pad, else w bit planes
    unsigned k, w;
    std::size_t n;
    std::uint8_t* pads;    // sender: [2^k, n] uint32 or [2^k, w, W] uint64; receiver: [n] or [w, W]
    std::uint8_t* choice;  // receiver: [k, W] uint64
    std::size_t plane() const noexcept { return (n + 63) / 64 * 8; }
    std::size_t scratch_bytes(unsigned count) const noexcept {
        return count * (ints ? 4 * PAIR : std::size_t{32} * w);
    }  // for `count` pads a pair
};

// Collects the pads of one pair of tiles, then copies what the array has room for.
template <class B>
class Sink {
  public:
    Sink(const PadArray& array, unsigned count, std::uint8_t* scratch) : a_(array), count_(count), scratch_(scratch) {}

    // Pad j of instances r .. r+7 of both tiles: 32-bit word i of lane l of `low` is instance r + i of tile l; `high`:
    // r + 4 + i.
    BS_INLINE V32 word(const V* x) {
        const V32 a = __builtin_shufflevector((V32)x[0], (V32)x[1], 0, 9, 2, 11, 4, 13, 6, 15);
        const V32 b = __builtin_shufflevector((V32)x[2], (V32)x[3], 0, 9, 2, 11, 4, 13, 6, 15);
        return __builtin_shufflevector(a, b, 0, 1, 10, 11, 4, 5, 14, 15);
    }

    [[gnu::always_inline]] void put(unsigned j, unsigned r, const V (&x)[STEP]) {
        const V32 low = word(x), high = word(x + 4);
        if (a_.ints) {
            const V32 mask = V32{} + static_cast<std::uint32_t>((std::uint64_t{1} << a_.w) - 1);
            std::uint8_t* out = scratch_ + 4 * (PAIR * j + r);
            const V32 l = low & mask, h = high & mask;
            std::memcpy(out, &l, 16);
            std::memcpy(out + 16, &h, 16);
            std::memcpy(out + 512, reinterpret_cast<const std::uint8_t*>(&l) + 16, 16);
            std::memcpy(out + 528, reinterpret_cast<const std::uint8_t*>(&h) + 16, 16);
        } else {
            std::uint8_t* out = scratch_ + 32 * (a_.w * j) + r / 8;
            for (unsigned b = 0; b < a_.w; ++b, out += 32) {
                const unsigned l = B::top_bits(low << (31 - b)), h = B::top_bits(high << (31 - b));
                out[0] = static_cast<std::uint8_t>((l & 15) | (h & 15) << 4);
                out[16] = static_cast<std::uint8_t>((l >> 4) | (h & 0xF0));
            }
        }
    }

    void flush(std::size_t pair) {
        const std::size_t chunk = a_.ints ? 4 * PAIR : 32, row = a_.ints ? 4 * a_.n : a_.plane(), at = pair * chunk;
        const std::size_t rows = a_.ints ? count_ : count_ * a_.w, bytes = row - at < chunk ? row - at : chunk;
        for (std::size_t i = 0; i < rows; ++i) std::memcpy(a_.pads + i * row + at, scratch_ + i * chunk, bytes);
    }

  private:
    const PadArray& a_;
    unsigned count_;
    std::uint8_t* scratch_;
};

BS_INLINE V tweak(std::uint64_t index, std::uint64_t domain) { return V{index, domain, index + 128, domain}; }

// q[t * 128 + r]: OT t of instance r of both tiles.  `ot` is the number of the first OT of the pair; the OTs of the
// pair are numbered ot + 256 t + r, the second tile's 128 on.
template <class B>
static void sender_pair(const AesKey& s, const V& delta, const V* q, std::uint64_t ot, unsigned k, Sink<B>& sink) {
    for (unsigned r = 0; r < 128; r += STEP) {
        V x[STEP] = {}, y[STEP] = {}, base[STEP] = {}, step[MAX_K][STEP];
        for (unsigned t = 0; t < k; ++t) {
            for (unsigned i = 0; i < STEP; ++i) {
                const V in = q[128 * t + r + i],
                        id = tweak(ot + PAIR * t + r + i, static_cast<std::uint64_t>(Domain::key));
                x[i] = sigma(in) ^ id;
                y[i] = sigma(in ^ delta) ^ id;
            }
            feed_forward<B>(s, x);
            feed_forward<B>(s, y);
            if (k == 1) break;
            for (unsigned i = 0; i < STEP; ++i) {
                base[i] ^= sigma(x[i]);
                step[t][i] = sigma(x[i] ^ y[i]);
            }
        }
        if (k == 1) {
            sink.put(0, r, x);
            sink.put(1, r, y);
            continue;
        }
        for (unsigned g = 0; g < 1u << k; ++g) {  // in Gray order: one key changes at a time
            if (g) {
                const unsigned t = static_cast<unsigned>(__builtin_ctz(g));
                for (unsigned i = 0; i < STEP; ++i) base[i] ^= step[t][i];
            }
            const unsigned j = g ^ g >> 1;
            for (unsigned i = 0; i < STEP; ++i)
                x[i] = base[i] ^ tweak(ot + r + i, static_cast<std::uint64_t>(Domain::pad) | j);
            feed_forward<B>(s, x);
            sink.put(j, r, x);
        }
    }
}

// v as q above; u[t]: the choice bits of OT t, 128 of each tile.
template <class B>
static void receiver_pair(const AesKey& s, const V* v, const V* u, std::uint64_t ot, unsigned k, Sink<B>& sink) {
    for (unsigned r = 0; r < 128; r += STEP) {
        V x[STEP] = {}, sum[STEP] = {};
        for (unsigned t = 0; t < k; ++t) {
            for (unsigned i = 0; i < STEP; ++i)
                x[i] =
                    sigma(v[128 * t + r + i]) ^ tweak(ot + PAIR * t + r + i, static_cast<std::uint64_t>(Domain::key));
            feed_forward<B>(s, x);
            for (unsigned i = 0; i < STEP; ++i) sum[i] ^= x[i];
        }
        if (k > 1) {
            for (unsigned i = 0; i < STEP; ++i) {
                V id = tweak(ot + r + i, static_cast<std::uint64_t>(Domain::pad));
                const unsigned half = (r + i) / 64, bit = (r + i) % 64;
                for (unsigned t = 0; t < k; ++t) {  // the chosen j, without a branch on it
                    const V c = half ? __builtin_shufflevector(u[t], u[t], 1, 1, 3, 3)
                                     : __builtin_shufflevector(u[t], u[t], 0, 0, 2, 2);
                    id |= (c >> bit & 1) << t & V{0, ~0ull, 0, ~0ull};
                }
                x[i] = sigma(sum[i]) ^ id;
            }
            feed_forward<B>(s, x);
        }
        sink.put(0, r, x);
    }
}

}  // namespace bs
