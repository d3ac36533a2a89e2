// The evaluator's side of the linear-layer ring: DESIGN.md, section 4, "the answer, in this order".
#include <algorithm>

#include "blindsight/bits.hpp"
#include "blindsight/cpu.hpp"
#include "blindsight/rlwe.hpp"
#include "blindsight/rlwe_sample.hpp"
#include "blindsight/work.hpp"

namespace bs {
namespace {

// How the products of one call are cut so that each cache serves what it can hold. kTerms products are added up in
// registers. The weights of kAnswers answers are transformed kUses inputs at a time (4 MiB, L3) and meet the sets of
// inputs, at most kSets, one stretch of coefficients after the other: the kStretch words of these weights and of one
// set stay in L2, so that weights are fetched once a stretch and inputs once for all answers of the block.
constexpr std::size_t kTerms = 8, kAnswers = 4, kSets = 16, kUses = 64, kStretch = 49152;

// row += e mod q, for |e| < q
inline __attribute__((always_inline)) void add_small_loop(u64 q, const std::int32_t *e, u64 *row, std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) {
        u64 x = row[i] + static_cast<u64>(static_cast<std::int64_t>(e[i])) - q;  // in [-2q, q)
        x += q & (u64{0} - (x >> 63));
        row[i] = x + (q & (u64{0} - (x >> 63)));
    }
}

void add_small_plain(u64 q, const std::int32_t *e, u64 *row, std::size_t n) { add_small_loop(q, e, row, n); }

#if defined(__x86_64__)
__attribute__((target("avx2"))) void add_small_avx2(u64 q, const std::int32_t *e, u64 *row, std::size_t n) {
    add_small_loop(q, e, row, n);
}
#endif

void add_small(u64 q, const std::int32_t *e, u64 *row, std::size_t n) {
#if defined(__x86_64__)
    if (features().avx2) return add_small_avx2(q, e, row, n);
#endif
    add_small_plain(q, e, row, n);
}

}  // namespace

bool LinearRing::load(const std::uint8_t *public_seed, const std::uint8_t *packed, std::size_t count, Purpose purpose,
                      u64 *out, unsigned threads) const {
    std::vector<std::uint8_t> good(count, 1);
    in_parallel(count, threads, [&](std::size_t begin, std::size_t end) {
        for (std::size_t c = begin; c < end; ++c) {
            u64 *b = out + 2 * c * padded_words();
            if (purpose == Purpose::kUniform && b_bits_ != 0) {
                load_rounded(packed + c * mask_bytes(), b);
                expand(public_seed, purpose, static_cast<std::uint32_t>(c), row(), b + padded_words());
                continue;
            }
            for (unsigned l = 0; l < primes(); ++l) {
                const std::size_t bytes = packed_bytes(n_, 50);
                BitReader reader(packed + c * poly_bytes() + l * bytes, bytes);
                for (unsigned i = 0; i < n_; ++i) b[l * row() + i] = static_cast<u64>(reader.get(50));
                const u64 q = tables_[l].tables->modulus.q;
                if (std::any_of(b + l * row(), b + l * row() + n_, [q](u64 x) { return x >= q; })) good[c] = 0;
            }
            expand(public_seed, purpose, static_cast<std::uint32_t>(c), row(), b + padded_words());
        }
    });
    return std::all_of(good.begin(), good.end(), [](std::uint8_t g) { return g != 0; });
}

// b from the top bits of its coefficients, half a step added back; reduced mod q, which a top step may pass.
void LinearRing::load_rounded(const std::uint8_t *packed, u64 *b) const {
    const unsigned d = q_bits_ - b_bits_;
    BitReader reader(packed, packed_bytes(n_, b_bits_));
    for (unsigned i = 0; i < n_; ++i) {
        const u128 x = (reader.get(b_bits_) << d) + (u128{1} << (d - 1));
        for (unsigned l = 0; l < primes(); ++l) b[l * row() + i] = residue(x, l);
    }
    for (unsigned l = 0; l < primes(); ++l) {
        u64 *values = b + l * row();
        ring_kernels().forward(*tables_[l].tables, values, values);
    }
}

// Polynomial (answer, use) in the transformed domain; `dense` is scratch.
void LinearRing::weight(const Weights &weights, std::size_t answer, std::size_t use, std::int32_t *dense,
                        u64 *out) const {
    const std::int32_t *from = dense;
    if (weights.dense != nullptr) {
        from = weights.dense + (answer * weights.uses + use) * n_;
    } else {
        std::fill(dense, dense + n_, 0);
        const std::int32_t *position = weights.positions + use * weights.taps,
                           *value = weights.values + (answer * weights.uses + use) * weights.taps;
        for (std::size_t p = 0; p < weights.taps; ++p)
            if (position[p] >= 0) dense[position[p]] = value[p];
    }
    for (unsigned l = 0; l < primes(); ++l) ring_kernels().forward_i32(*tables_[l].tables, from, out + l * row());
}

void LinearRing::prepare(const Weights &weights, u64 *out, unsigned threads) const {
    in_parallel(weights.answers * weights.uses, threads, [&](std::size_t begin, std::size_t end) {
        std::vector<std::int32_t> dense(n_);
        for (std::size_t i = begin; i < end; ++i)
            weight(weights, i / weights.uses, i % weights.uses, dense.data(), out + i * padded_words());
    });
}

void LinearRing::answer(const u64 *public_key, const u64 *ciphers, const std::int32_t *uses, std::size_t sets,
                        const Weights &weights, const Listed &listed, const std::uint8_t *seed, std::uint8_t *answers,
                        std::uint32_t *shares, unsigned threads) const {
    const Call call{public_key, ciphers, uses, weights, listed, seed, answers, shares, places(listed)};
    // with fewer answers than threads the sets are divided, at the price of transforming the weights once a thread
    const bool by_sets = weights.answers < threads && weights.answers < sets;
    in_parallel(by_sets ? sets : weights.answers, threads, [&](std::size_t begin, std::size_t end) {
        if (by_sets)
            answer_part(call, 0, weights.answers, begin, end);
        else
            answer_part(call, begin, end, 0, sets);
    });
}

// Answers [a0, a1) to sets [g0, g1).
void LinearRing::answer_part(const Call &call, std::size_t a0, std::size_t a1, std::size_t g0, std::size_t g1) const {
    const Weights &weights = call.weights;
    const std::size_t used = weights.uses, block = std::min(kAnswers, a1 - a0), group = std::min(kSets, g1 - g0);
    const std::size_t chunk = std::max<std::size_t>(1, std::min(kUses, used));
    std::size_t stretch = n_;
    while (stretch > 64 && stretch * chunk * (block + 2) > kStretch) stretch /= 2;
    std::vector<std::int32_t> dense(n_);
    std::vector<u64> transformed(weights.prepared != nullptr ? 0 : block * chunk * padded_words());
    std::vector<u64> all_sums(block * group * sum_words());
    for (std::size_t g = g0; g < g1; g += group) {
        const std::size_t end = std::min(g + group, g1);
        const auto sums = [&](std::size_t set, std::size_t i) {
            return &all_sums[(i * group + set - g) * sum_words()];
        };
        for (std::size_t a = a0; a < a1; a += block) {
            const std::size_t together = std::min(block, a1 - a);
            for (std::size_t u = 0; u < used; u += chunk) {
                const std::size_t terms = std::min(chunk, used - u);
                const u64 *w[kAnswers];  // of each answer: the transformed weights for inputs u, u + 1, ..
                for (std::size_t i = 0; i < together; ++i) {
                    if (weights.prepared != nullptr) {
                        w[i] = weights.prepared + ((a + i) * used + u) * padded_words();
                        continue;
                    }
                    u64 *to = &transformed[i * chunk * padded_words()];
                    for (std::size_t k = 0; k < terms; ++k)
                        weight(weights, a + i, u + k, dense.data(), to + k * padded_words());
                    w[i] = to;
                }
                for (unsigned l = 0; l < primes(); ++l)
                    for (std::size_t first = 0; first < n_; first += stretch)
                        for (std::size_t set = g; set < end; ++set)
                            for (std::size_t i = 0; i < together; ++i)
                                products(call, set, l, u, terms, first, stretch, w[i], sums(set, i));
            }
            for (std::size_t set = g; set < end; ++set)
                for (std::size_t i = 0; i < together; ++i) finish(call, set * weights.answers + a + i, sums(set, i));
        }
    }
}

// Adds to one answer's sums its products with inputs [u0, u0 + terms), modulo one prime, a stretch of coefficients.
void LinearRing::products(const Call &call, std::size_t set, unsigned prime, std::size_t u0, std::size_t terms,
                          std::size_t first, std::size_t count, const u64 *transformed, u64 *sums) const {
    const RingKernels &k = ring_kernels();
    const std::size_t at = prime * row() + first;
    const std::int32_t *inputs = call.uses + set * call.weights.uses + u0;
    u64 *sum = sums + prime * 2 * k.planes * row() + first;
    const u64 *w[kTerms], *c[kTerms];
    for (std::size_t u = 0; u < terms; u += kTerms) {
        const std::size_t now = std::min(kTerms, terms - u);
        for (std::size_t i = 0; i < now; ++i) {
            w[i] = transformed + (u + i) * padded_words() + at;
            c[i] = call.ciphers + 2 * static_cast<std::size_t>(inputs[u + i]) * padded_words() + at;
        }
        k.mac2(count, row(), sum, u0 + u == 0, w, c, padded_words(), now);
    }
}

// Answer `index` from its sums: the encryption of zero under the owner's public key, R, rounding, packing.
void LinearRing::finish(const Call &call, std::size_t index, u64 *sums) const {
    const RingKernels &k = ring_kernels();
    const std::size_t half = std::size_t{k.planes} * row();  // words of one polynomial's sums
    const unsigned d0 = q_bits_ - c0_bits_, d1 = q_bits_ - c1_bits_;
    const auto stream_index = static_cast<std::uint32_t>(index);
    const std::int32_t *listed = call.listed.coefficients + call.listed.first[index];
    const std::size_t count = call.listed.count[index];
    std::uint8_t *packed = call.answers + call.places.bytes[index];
    std::uint32_t *shares = call.shares + call.places.shares[index];
    Scratch<std::int32_t> small(n_);
    Scratch<u64> poly(poly_words()), mask(count * primes()), masked(count * primes());

    Stream ternary(call.seed, static_cast<std::uint32_t>(Purpose::kZeroU), stream_index);
    sample_ternary(ternary, small.data(), n_);
    for (unsigned l = 0; l < primes(); ++l) {  // u (b, a) joins the sums
        k.forward_i32(*tables_[l].tables, small.data(), poly.data());
        const u64 *u = poly.data(), *key = call.public_key + l * row();
        k.mac2(n_, row(), sums + 2 * l * half, call.weights.uses == 0, &u, &key, padded_words(), 1);
    }
    const auto polynomial = [&](unsigned which, Purpose error) {  // .. and e0, e1 their coefficients
        Stream stream(call.seed, static_cast<std::uint32_t>(error), stream_index);
        sample_error(stream, small.data(), n_);
        for (unsigned l = 0; l < primes(); ++l) {
            const NttTables &t = *tables_[l].tables;
            u64 *coefficients = poly.data() + l * n_;
            k.settle(t, sums + (2 * l + which) * half, coefficients);
            k.inverse(t, coefficients, coefficients);
            add_small(t.modulus.q, small.data(), coefficients, n_);
        }
    };

    polynomial(1, Purpose::kZeroE1);
    BitWriter c1(packed);
    for (unsigned i = 0; i < n_; ++i) c1.put(join(poly.data(), i, n_) >> d1, c1_bits_);
    c1.finish();

    polynomial(0, Purpose::kZeroE0);
    for (unsigned l = 0; l < primes(); ++l) {
        const Modulus &q = tables_[l].tables->modulus;
        Stream stream(call.seed, static_cast<std::uint32_t>(Purpose::kMask), stream_index, l);
        sample_uniform(q.q, stream, mask.data() + l * count, count);
        for (std::size_t j = 0; j < count; ++j)
            masked[l * count + j] = q.add(poly[l * n_ + static_cast<std::size_t>(listed[j])], mask[l * count + j]);
    }
    BitWriter c0(packed + packed_bytes(n_, c1_bits_));
    for (std::size_t j = 0; j < count; ++j) {
        c0.put(join(masked.data(), j, count) >> d0, c0_bits_);
        shares[j] = 0u - scaled(join(mask.data(), j, count));
    }
    c0.finish();
}

}  // namespace bs
