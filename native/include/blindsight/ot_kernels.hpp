// The inner loops of OT as one table of functions for each instruction set.
#pragma once
#include "blindsight/ferret_kernels.hpp"
#include "blindsight/pads.hpp"
#include "blindsight/prg.hpp"

namespace bs {

struct OtKernels {
    void (*encrypt)(const AesKey& key, const std::uint8_t* in, std::uint8_t* out, std::size_t blocks);
    // group_rows of prg.hpp for k = 1, 2, 4 or 8
    void (*receiver_group)(unsigned k, const AesKey* keys, std::uint64_t first, std::size_t steps, V* u, V* rows,
                           std::size_t stride);
    void (*sender_group)(unsigned k, const AesKey* keys, std::uint64_t first, std::size_t steps, V* rows,
                         std::size_t stride);
    // 128 rows of correlation -> pads of `pairs` pairs of tiles, the first being `pair` of the array.  Vector column p
    // * k + t of the rows is OT t of pair p.  `q` holds 128 k vectors, `scratch` what Sink asks for.
    void (*sender_tiles)(const AesKey& s, const std::uint8_t* delta, const V* rows, std::size_t stride,
                         std::uint64_t ot, std::size_t pairs, const PadArray& out, std::size_t pair, V* q,
                         std::uint8_t* scratch);
    void (*receiver_tiles)(const AesKey& s, const V* u, const V* rows, std::size_t stride, std::uint64_t ot,
                           std::size_t pairs, const PadArray& out, std::size_t pair, V* q, std::uint8_t* scratch);
    // The same from k strings of each instance: columns of 256 strings, column[t] is OT t of the pair
    // (ferret_kernels.hpp).
    void (*sender_columns)(const AesKey& s, const std::uint8_t* delta, const std::uint8_t* const* column,
                           std::uint64_t ot, const PadArray& out, std::size_t pair, V* q, std::uint8_t* scratch);
    void (*receiver_columns)(const AesKey& s, const std::uint8_t* const* column, std::uint64_t ot, const PadArray& out,
                             std::size_t pair, V* q, std::uint8_t* scratch);
    void (*sender_tree)(const AesKey& key, const std::uint8_t* seed, const std::uint8_t* delta, unsigned depth, V* node,
                        std::uint8_t* sums);
    void (*receiver_tree)(const AesKey& key, const std::uint8_t* known, std::uint64_t missing, unsigned depth, V* node);
    void (*lpn_encode)(const AesKey& matrix, const std::uint8_t* table, std::uint32_t k, std::uint64_t first,
                       std::size_t count, std::uint8_t* z);
    void (*raw_tiles)(const V* rows, std::size_t stride, const V* u, std::size_t columns, std::uint8_t* out);
};

// The fastest table that features() allows.
const OtKernels& ot_kernels() noexcept;

extern const OtKernels ot_portable;
#if defined(__x86_64__)
extern const OtKernels ot_aesni, ot_vaes;
#elif defined(__aarch64__)
extern const OtKernels ot_armv8;
#endif

// --- what each translation unit instantiates for its backend B ---

template <class B>
static void encrypt_blocks(const AesKey& key, const std::uint8_t* in, std::uint8_t* out, std::size_t blocks) {
    for (; blocks >= STEP_BLOCKS; in += 16 * STEP_BLOCKS, out += 16 * STEP_BLOCKS, blocks -= STEP_BLOCKS) {
        V x[STEP];
        std::memcpy(x, in, sizeof x);
        B::encrypt(key, x);
        std::memcpy(out, x, sizeof x);
    }
    if (blocks > 0) {
        V x[STEP] = {};
        std::memcpy(x, in, 16 * blocks);
        B::encrypt(key, x);
        std::memcpy(out, x, 16 * blocks);
    }
}

template <class B, bool Receiver>
static void any_group(unsigned k, const AesKey* keys, std::uint64_t first, std::size_t steps, V* u, V* rows,
                      std::size_t stride) {
    if (k == 1) group_rows<B, 1, Receiver>(keys, first, steps, u, rows, stride);
    if (k == 2) group_rows<B, 2, Receiver>(keys, first, steps, u, rows, stride);
    if (k == 4) group_rows<B, 4, Receiver>(keys, first, steps, u, rows, stride);
    if (k == 8) group_rows<B, 8, Receiver>(keys, first, steps, u, rows, stride);
}

template <class B>
static void sender_group(unsigned k, const AesKey* keys, std::uint64_t first, std::size_t steps, V* rows,
                         std::size_t stride) {
    any_group<B, false>(k, keys, first, steps, nullptr, rows, stride);
}

BS_INLINE void load_tiles(const V* rows, std::size_t stride, unsigned k, V* q) {
    for (unsigned t = 0; t < k; ++t) {
        V(&x)[128] = *reinterpret_cast<V(*)[128]>(q + 128 * t);
        for (std::size_t r = 0; r < 128; ++r) x[r] = rows[r * stride + t];
        transpose_pair(x);
    }
}

template <class B>
static void sender_tiles(const AesKey& s, const std::uint8_t* delta, const V* rows, std::size_t stride,
                         std::uint64_t ot, std::size_t pairs, const PadArray& out, std::size_t pair, V* q,
                         std::uint8_t* scratch) {
    Sink<B> sink(out, 1u << out.k, scratch);
    const V d = twice(delta);
    for (std::size_t p = 0; p < pairs; ++p, ot += PAIR * out.k) {
        load_tiles(rows + p * out.k, stride, out.k, q);
        sender_pair<B>(s, d, q, ot, out.k, sink);
        sink.flush(pair + p);
    }
}

BS_INLINE void store_choices(const PadArray& out, std::size_t pair, const V* u) {
    const std::size_t at = 32 * pair, left = out.plane() - at;
    for (unsigned t = 0; t < out.k; ++t) std::memcpy(out.choice + t * out.plane() + at, u + t, left < 32 ? left : 32);
}

template <class B>
static void receiver_tiles(const AesKey& s, const V* u, const V* rows, std::size_t stride, std::uint64_t ot,
                           std::size_t pairs, const PadArray& out, std::size_t pair, V* q, std::uint8_t* scratch) {
    Sink<B> sink(out, 1, scratch);
    for (std::size_t p = 0; p < pairs; ++p, ot += PAIR * out.k) {
        load_tiles(rows + p * out.k, stride, out.k, q);
        receiver_pair<B>(s, q, u + p * out.k, ot, out.k, sink);
        sink.flush(pair + p);
        store_choices(out, pair + p, u + p * out.k);
    }
}

template <class B>
static void sender_columns(const AesKey& s, const std::uint8_t* delta, const std::uint8_t* const* column,
                           std::uint64_t ot, const PadArray& out, std::size_t pair, V* q, std::uint8_t* scratch) {
    Sink<B> sink(out, 1u << out.k, scratch);
    for (unsigned t = 0; t < out.k; ++t) load_column(column[t], q + 128 * t);
    sender_pair<B>(s, twice(delta), q, ot, out.k, sink);
    sink.flush(pair);
}

template <class B>
static void receiver_columns(const AesKey& s, const std::uint8_t* const* column, std::uint64_t ot, const PadArray& out,
                             std::size_t pair, V* q, std::uint8_t* scratch) {
    Sink<B> sink(out, 1, scratch);
    V u[MAX_K];
    for (unsigned t = 0; t < out.k; ++t) u[t] = load_column(column[t], q + 128 * t);
    receiver_pair<B>(s, q, u, ot, out.k, sink);
    sink.flush(pair);
    store_choices(out, pair, u);
}

template <class B>
constexpr OtKernels table_of() {
    return {encrypt_blocks<B>, any_group<B, true>, sender_group<B>,     sender_tiles<B>,
            receiver_tiles<B>, sender_columns<B>,  receiver_columns<B>, sender_tree<B>,
            receiver_tree<B>,  lpn_encode<B>,      raw_tiles<B>};
}

}  // namespace bs
