// Inner loops of Ferret: correlated GGM trees, the local code of LPN, and raw correlations from SoftSpoken.
//
// A correlated OT is a 16-byte string: the sender's has bit 0 clear, Delta has it set, so bit 0 of the receiver's
// string is its choice.
//
// Trees (Guo, Yang, Wang, Zhang, Xie, Zhang, Liu, "Half-tree", EUROCRYPT 2023): the children of x are H(x)
// and H(x) ^ x, H the circular correlation robust hash sigma(x) -> AES(sigma(x)) ^ sigma(x); the two nodes of level 1
// add up to Delta, hence so does every level.  Level i keeps all left children at 0 .. 2^i - 1 and all right ones
// above, so bit i of a leaf's number is its turn at level i, and a level is expanded in place.
#pragma once
#include "blindsight/hash.hpp"
#include "blindsight/transpose.hpp"

namespace bs {

typedef std::uint64_t B128 __attribute__((vector_size(16), may_alias));

constexpr unsigned LPN_WEIGHT = 10;    // ones in a row of the local code
constexpr std::size_t LPN_GROUP = 32;  // outputs whose positions are made together: 320 words, 80 AES blocks

BS_INLINE B128 load_block(const void* p) {
    B128 x;
    std::memcpy(&x, p, 16);
    return x;
}

BS_INLINE B128 fold(const V& x) { return B128{x[0] ^ x[2], x[1] ^ x[3]}; }

template <class B>
BS_INLINE void ccr(const AesKey& key, V (&x)[STEP]) {
    for (int i = 0; i < STEP; ++i) x[i] = sigma(x[i]);
    feed_forward<B>(key, x);
}

// One level: 2 n vectors out of the first n.  `before(i)` is xored to vector i first; returns the xor of the parents
// and of the left children.
struct LevelSums {
    V parents = {}, left = {};
};

template <class B, class Before>
BS_INLINE LevelSums expand_level(const AesKey& key, V* node, std::size_t n, const Before& before) {
    LevelSums sums;
    if (n < STEP) {  // the first levels are shorter than a step
        V x[STEP] = {}, parent[STEP] = {};
        for (std::size_t i = 0; i < n; ++i) parent[i] = x[i] = node[i] ^ before(i);
        ccr<B>(key, x);
        for (std::size_t i = 0; i < n; ++i) {
            node[i] = x[i];
            node[n + i] = x[i] ^ parent[i];
            sums.parents ^= parent[i];
            sums.left ^= x[i];
        }
        return sums;
    }
    for (std::size_t s = 0; s < n; s += STEP) {
        V x[STEP], parent[STEP];
        for (std::size_t i = 0; i < STEP; ++i) parent[i] = x[i] = node[s + i] ^ before(s + i);
        ccr<B>(key, x);
        for (std::size_t i = 0; i < STEP; ++i) {
            node[s + i] = x[i];
            node[n + s + i] = x[i] ^ parent[i];
            sums.parents ^= parent[i];
            sums.left ^= x[i];
        }
    }
    return sums;
}

// The sender's tree of 2^depth leaves from its first left node; sums[i] = xor of the left children of level i + 1, for
// the message.
template <class B>
static void sender_tree(const AesKey& key, const std::uint8_t* seed, const std::uint8_t* delta, unsigned depth, V* node,
                        std::uint8_t* sums) {
    const V first = twice(seed), d = twice(delta);
    node[0] = first ^ (d & V{0, 0, ~0ull, ~0ull});
    std::memcpy(sums, seed, 16);
    for (unsigned level = 1; level < depth; ++level) {
        const LevelSums s = expand_level<B>(key, node, std::size_t{1} << (level - 1), [](std::size_t) { return V{}; });
        const B128 left = fold(s.left);
        std::memcpy(sums + 16 * level, &left, 16);
    }
    for (std::size_t i = 0; i < std::size_t{1} << (depth - 1); ++i) node[i] &= V{~1ull, ~0ull, ~1ull, ~0ull};
}

// The receiver's tree.  known[i]: the sum at level i + 1 of the side away from the punctured leaf; bit i of `missing`:
// that leaf's turn. Leaf `missing` becomes the sender's leaf ^ Delta.  No branch and no address depends on `missing`.
template <class B>
static void receiver_tree(const AesKey& key, const std::uint8_t* known, std::uint64_t missing, unsigned depth,
                          V* node) {
    V zero_hash[STEP] = {};
    ccr<B>(key, zero_hash);
    const V garbage = zero_hash[0];  // what both children of an unknown (zero) node come out as
    const auto turn = [&](unsigned level) { return V{} - (missing >> level & 1); };
    V fix_left = {}, fix_right = {};  // pending corrections of the two children on the path, `at` in either half
    std::uint64_t at = 0;
    const V first = twice(known);
    node[0] = first & (turn(0) ^ V{0, 0, ~0ull, ~0ull});  // turn 1: the left node is known
    for (unsigned level = 1; level < depth; ++level) {
        const std::size_t n = std::size_t{1} << (level - 1), half = n / 2;
        const V where = V{} + at;
        const auto pending = [&](std::size_t i) {
            const std::uint64_t b = 2 * (i & (half - 1));
            return (V)(V{b, b, b + 1, b + 1} == where) & (i < half ? fix_left : fix_right);
        };
        const LevelSums s = level == 1 ? expand_level<B>(key, node, n, [](std::size_t) { return V{}; })
                                       : expand_level<B>(key, node, n, pending);
        const B128 left = fold(s.left), parents = fold(s.parents);
        const V all_left = {left[0], left[1], left[0], left[1]},
                all_parents = {parents[0], parents[1], parents[0], parents[1]};
        const V t = turn(level), value = twice(known + 16 * level) ^ garbage ^ all_left ^ (all_parents & ~t);
        const V unknown = level + 1 == depth
                              ? all_parents ^ value
                              : V{};  // of the leaves all but one are known: their sum is the last ^ Delta
        fix_left = garbage ^ (value & t) ^ (unknown & ~t);
        fix_right = garbage ^ (value & ~t) ^ (unknown & t);
        at = missing & ((std::uint64_t{1} << level) - 1);
    }
    const std::size_t half = std::size_t{1} << (depth - 2);
    const V t = turn(depth - 1), one = V{1, 0, 1, 0}, where = V{} + at;
    for (std::size_t i = 0; i < half; ++i) {
        const std::uint64_t b = 2 * i;
        const V hit = (V)(V{b, b, b + 1, b + 1} == where);
        node[i] = ((node[i] ^ (hit & fix_left)) & ~one) | (hit & ~t & one);
        node[half + i] = ((node[half + i] ^ (hit & fix_right)) & ~one) | (hit & t & one);
    }
}

// z[i] ^= xor of LPN_WEIGHT entries of the table, of k, at positions floor(k r / 2^32), r the 32-bit words
// of AES in counter mode under the public code key.  count is a multiple of LPN_GROUP.
template <class B>
static void lpn_encode(const AesKey& matrix, const std::uint8_t* table, std::uint32_t k, std::uint64_t first,
                       std::size_t count, std::uint8_t* z) {
    constexpr std::size_t WORDS = LPN_GROUP * LPN_WEIGHT;
    alignas(32) std::uint32_t at[WORDS];  // in bytes: k < 2^28
    for (std::size_t done = 0; done < count; done += LPN_GROUP, z += 16 * LPN_GROUP) {
        const std::uint64_t group = (first + done) / LPN_GROUP * (WORDS / 4);
        for (std::size_t s = 0; s < WORDS / 4; s += 2 * STEP) {
            V x[STEP];
            for (unsigned i = 0; i < STEP; ++i) x[i] = V{group + s + 2 * i, 0, group + s + 2 * i + 1, 0};
            B::encrypt(matrix, x);
            for (unsigned i = 0; i < STEP; ++i) store(at + 4 * s + 8 * i, (V)(B::scale((V32)x[i], k) << 4));
        }
        for (std::size_t i = 0; i < LPN_GROUP; ++i) {
            B128 sum = load_block(z + 16 * i);
#pragma GCC unroll 10
            for (unsigned j = 0; j < LPN_WEIGHT; ++j) sum ^= load_block(table + at[LPN_WEIGHT * i + j]);
            std::memcpy(z + 16 * i, &sum, 16);
        }
    }
}

// Raw correlations out of SoftSpoken's rows: 256 strings a column, bit 0 cleared (u null: the sender) or set to the
// choice.
BS_INLINE void raw_column(const V* rows, std::size_t stride, const V* u, std::uint8_t* out) {
    V x[128];
    for (std::size_t r = 0; r < 128; ++r) x[r] = rows[r * stride];
    transpose_pair(x);
    for (unsigned r = 0; r < 128; ++r) {
        V y = x[r] & V{~1ull, ~0ull, ~1ull, ~0ull};
        if (u) {
            const V c =
                r < 64 ? __builtin_shufflevector(*u, *u, 0, 0, 2, 2) : __builtin_shufflevector(*u, *u, 1, 1, 3, 3);
            y |= c >> (r & 63) & V{1, 0, 1, 0};
        }
        std::memcpy(out + 16 * r, &y, 16);
        std::memcpy(out + 16 * (128 + r), reinterpret_cast<const std::uint8_t*>(&y) + 16, 16);
    }
}

template <class B>
static void raw_tiles(const V* rows, std::size_t stride, const V* u, std::size_t columns, std::uint8_t* out) {
    for (std::size_t c = 0; c < columns; ++c, out += 16 * 256) raw_column(rows + c, stride, u ? u + c : nullptr, out);
}

// 256 strings as a pair of tiles; returns the choice bits (bit 0 of each) of both tiles.
BS_INLINE V load_column(const std::uint8_t* z, V* q) {
    V low = {}, high = {};
    for (unsigned r = 0; r < 128; ++r) {
        const B128 a = load_block(z + 16 * r), b = load_block(z + 16 * (128 + r));
        q[r] = V{a[0], a[1], b[0], b[1]};
        (r < 64 ? low : high) |= (q[r] & V{1, 0, 1, 0}) << (r & 63);
    }
    return __builtin_shufflevector(low, high, 0, 4, 2, 6);
}

}  // namespace bs
