// The evaluator's side of the linear-layer ring: DESIGN.md, section 4, "the answer, in this order".
#include <algorithm>

#include "blindsight/bits.hpp"
#include "blindsight/cpu.hpp"
#include "blindsight/rlwe.hpp"
#include "blindsight/rlwe_sample.hpp"
#include "blindsight/work.hpp"

namespace bs {
namespace {

constexpr std::size_t kTile = 8;  // weight polynomials transformed at a time: 128 KiB at N = 2048, which stays in L2

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
    const RingKernels &k = ring_kernels();
    const Places at_answer = places(listed);
    const std::size_t sum_words = 2 * std::size_t{k.planes} * row();  // one prime's sums of both polynomials
    // few answers and many sets: the sets are divided too, at the price of transforming the weights once a part
    const std::size_t parts = std::min<std::size_t>(
        sets, weights.answers == 0 ? 1 : (std::max(1u, threads) + weights.answers - 1) / weights.answers);
    in_parallel(weights.answers * parts, threads, [&](std::size_t begin, std::size_t end) {
        std::vector<std::int32_t> dense(n_);
        std::vector<u64> tile(weights.prepared != nullptr ? 0 : kTile * padded_words());
        std::vector<u64> sums((sets + parts - 1) / parts * primes() * sum_words);
        const u64 *w[kTile], *c[kTile];
        for (std::size_t task = begin; task < end; ++task) {
            const std::size_t a = task / parts, part = task % parts, first_set = sets * part / parts,
                              last_set = sets * (part + 1) / parts;
            for (std::size_t u = 0; u < weights.uses; u += kTile) {
                const std::size_t terms = std::min(kTile, weights.uses - u);
                const u64 *base = weights.prepared != nullptr
                                      ? weights.prepared + (a * weights.uses + u) * padded_words()
                                      : tile.data();
                if (weights.prepared == nullptr)
                    for (std::size_t i = 0; i < terms; ++i)
                        weight(weights, a, u + i, dense.data(), tile.data() + i * padded_words());
                for (std::size_t g = first_set; g < last_set; ++g)
                    for (unsigned l = 0; l < primes(); ++l) {
                        for (std::size_t i = 0; i < terms; ++i) {
                            w[i] = base + i * padded_words() + l * row();
                            c[i] = ciphers +
                                   2 * static_cast<std::size_t>(uses[g * weights.uses + u + i]) * padded_words() +
                                   l * row();
                        }
                        k.mac2(n_, sums.data() + ((g - first_set) * primes() + l) * sum_words, u == 0, w, c,
                               padded_words(), terms);
                    }
            }
            for (std::size_t g = first_set; g < last_set; ++g) {
                const std::size_t i = g * weights.answers + a;
                u64 *sum = sums.data() + (g - first_set) * primes() * sum_words;
                // the encryption of zero under the owner's public key: u (b, a) joins the sums, e0 and e1 follow
                Scratch<std::int32_t> small(n_);
                Scratch<u64> transformed(n_);
                Stream stream(seed, static_cast<std::uint32_t>(Purpose::kZeroU), static_cast<std::uint32_t>(i));
                sample_ternary(stream, small.data(), n_);
                for (unsigned l = 0; l < primes(); ++l) {
                    k.forward_i32(*tables_[l].tables, small.data(), transformed.data());
                    const u64 *one = transformed.data(), *key = public_key + l * row();
                    k.mac2(n_, sum + l * sum_words, weights.uses == 0, &one, &key, padded_words(), 1);
                }
                finish(sum, seed, static_cast<std::uint32_t>(i), listed.coefficients + listed.first[i], listed.count[i],
                       answers + at_answer.bytes[i], shares + at_answer.shares[i]);
            }
        }
    });
}

// e0, e1, R, rounding, packing.
void LinearRing::finish(const u64 *sums, const std::uint8_t *seed, std::uint32_t index, const std::int32_t *listed,
                        std::size_t listed_count, std::uint8_t *packed, std::uint32_t *shares) const {
    const RingKernels &k = ring_kernels();
    const std::size_t half = std::size_t{k.planes} * row();  // words of one polynomial's sums
    const unsigned d0 = q_bits_ - c0_bits_, d1 = q_bits_ - c1_bits_;
    Scratch<std::int32_t> e(n_);
    Scratch<u64> poly(poly_words()), mask(listed_count * primes()), masked(listed_count * primes());
    const auto polynomial = [&](unsigned which, Purpose error) {
        Stream stream(seed, static_cast<std::uint32_t>(error), index);
        sample_error(stream, e.data(), n_);
        for (unsigned l = 0; l < primes(); ++l) {
            const NttTables &t = *tables_[l].tables;
            u64 *row = poly.data() + l * n_;
            k.settle(t, sums + (2 * l + which) * half, row);
            k.inverse(t, row, row);
            add_small(t.modulus.q, e.data(), row, n_);
        }
    };

    polynomial(1, Purpose::kZeroE1);
    BitWriter c1(packed);
    for (unsigned i = 0; i < n_; ++i) c1.put(join(poly.data(), i, n_) >> d1, c1_bits_);
    c1.finish();

    polynomial(0, Purpose::kZeroE0);
    for (unsigned l = 0; l < primes(); ++l) {
        const Modulus &q = tables_[l].tables->modulus;
        Stream stream(seed, static_cast<std::uint32_t>(Purpose::kMask), index, l);
        sample_uniform(q.q, stream, mask.data() + l * listed_count, listed_count);
        for (std::size_t j = 0; j < listed_count; ++j)
            masked[l * listed_count + j] =
                q.add(poly[l * n_ + static_cast<std::size_t>(listed[j])], mask[l * listed_count + j]);
    }
    BitWriter c0(packed + packed_bytes(n_, c1_bits_));
    for (std::size_t j = 0; j < listed_count; ++j) {
        c0.put(join(masked.data(), j, listed_count) >> d0, c0_bits_);
        shares[j] = 0u - scaled(join(mask.data(), j, listed_count));
    }
    c0.finish();
}

}  // namespace bs
