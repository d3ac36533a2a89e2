// The key owner's side of the linear-layer ring.
#include "blindsight/bits.hpp"
#include "blindsight/rlwe.hpp"
#include "blindsight/rlwe_sample.hpp"
#include "blindsight/work.hpp"

namespace bs {
namespace {

// out = a b, entry by entry
void multiply(const RingKernels &k, const NttTables &t, const u64 *a, const u64 *b, u64 *scratch, u64 *out) {
    k.mac1(t.n, row_words(t.n), scratch, true, &a, &b, 1);
    k.settle(t, scratch, out);
}

void pack_residues(const u64 *in, unsigned n, std::uint8_t *out) {
    BitWriter writer(out);
    for (unsigned i = 0; i < n; ++i) writer.put(in[i], 50);
    writer.finish();
}

}  // namespace

void LinearRing::make_secret(const std::uint8_t *seed, u64 *secret) const {
    Scratch<std::int32_t> s(n_);
    Stream stream(seed, static_cast<std::uint32_t>(Purpose::kSecret), 0);
    sample_ternary(stream, s.data(), n_);
    for (unsigned l = 0; l < primes(); ++l) ring_kernels().forward_i32(*tables_[l].tables, s.data(), secret + l * n_);
}

void LinearRing::make_public(const u64 *secret, const std::uint8_t *a_seed, const std::uint8_t *error_seed,
                             std::uint8_t *packed) const {
    const RingKernels &k = ring_kernels();
    Scratch<std::int32_t> e(n_);
    Stream stream(error_seed, static_cast<std::uint32_t>(Purpose::kKeyError), 0);
    sample_error(stream, e.data(), n_);
    Scratch<u64> a(poly_words()), b(n_), product(n_), sums(kMaxPlanes * row());
    expand(a_seed, Purpose::kKeyUniform, 0, n_, a.data());
    for (unsigned l = 0; l < primes(); ++l) {
        const NttTables &t = *tables_[l].tables;
        k.forward_i32(t, e.data(), b.data());
        multiply(k, t, secret + l * n_, a.data() + l * n_, sums.data(), product.data());
        for (unsigned i = 0; i < n_; ++i) b[i] = t.modulus.sub(0, t.modulus.add(b[i], product[i]));
        pack_residues(b.data(), n_, packed + l * packed_bytes(n_, 50));
    }
}

void LinearRing::encrypt(const u64 *secret, const std::uint8_t *public_seed, const std::uint8_t *error_seed,
                         const std::int32_t *r, std::size_t count, std::uint8_t *packed, unsigned threads) const {
    const RingKernels &k = ring_kernels();
    in_parallel(count, threads, [&](std::size_t begin, std::size_t end) {
        Scratch<std::int32_t> e(n_);
        Scratch<u64> a(poly_words()), b(poly_words()), product(n_), sums(kMaxPlanes * row());
        for (std::size_t c = begin; c < end; ++c) {
            std::uint8_t *to = packed + c * mask_bytes();
            Stream stream(error_seed, static_cast<std::uint32_t>(Purpose::kError), static_cast<std::uint32_t>(c));
            sample_error(stream, e.data(), n_);
            expand(public_seed, Purpose::kUniform, static_cast<std::uint32_t>(c), n_, a.data());
            for (unsigned l = 0; l < primes(); ++l) {
                const NttTables &t = *tables_[l].tables;
                const Modulus &q = t.modulus;
                u64 *m = b.data() + l * n_;
                for (unsigned i = 0; i < n_; ++i)
                    m[i] = q.add(q.from_signed(e[i]), q.mul(q.from_signed(r[c * n_ + i]), tables_[l].delta));
                k.forward(t, m, m);
                multiply(k, t, secret + l * n_, a.data() + l * n_, sums.data(), product.data());
                for (unsigned i = 0; i < n_; ++i) m[i] = q.sub(m[i], product[i]);
                if (b_bits_ == 0)
                    pack_residues(m, n_, to + l * packed_bytes(n_, 50));
                else
                    k.inverse(t, m, m);
            }
            if (b_bits_ == 0) continue;
            BitWriter writer(to);
            for (unsigned i = 0; i < n_; ++i) writer.put(join(b.data(), i, n_) >> (q_bits_ - b_bits_), b_bits_);
            writer.finish();
        }
    });
}

void LinearRing::open(const u64 *secret, const std::uint8_t *answers, const Listed &listed, std::uint32_t *out,
                      unsigned threads) const {
    const RingKernels &k = ring_kernels();
    const Places at_answer = places(listed);
    const unsigned d0 = q_bits_ - c0_bits_, d1 = q_bits_ - c1_bits_;
    in_parallel(listed.count.size(), threads, [&](std::size_t begin, std::size_t end) {
        Scratch<u64> c1(poly_words()), sums(kMaxPlanes * row());
        for (std::size_t i = begin; i < end; ++i) {
            const std::uint8_t *p = answers + at_answer.bytes[i];
            BitReader c1_bits(p, packed_bytes(n_, c1_bits_));
            for (unsigned j = 0; j < n_; ++j) {
                const u128 x = (c1_bits.get(c1_bits_) << d1) + (u128{1} << (d1 - 1));
                for (unsigned l = 0; l < primes(); ++l) c1[l * n_ + j] = residue(x, l);
            }
            for (unsigned l = 0; l < primes(); ++l) {
                const NttTables &t = *tables_[l].tables;
                u64 *row = c1.data() + l * n_;
                k.forward(t, row, row);
                multiply(k, t, secret + l * n_, row, sums.data(), row);
                k.inverse(t, row, row);
            }
            BitReader c0_bits(p + packed_bytes(n_, c1_bits_), packed_bytes(listed.count[i], c0_bits_));
            for (std::size_t j = 0; j < listed.count[i]; ++j) {
                const std::size_t at = static_cast<std::size_t>(listed.coefficients[listed.first[i] + j]);
                u128 v = join(c1.data(), at, n_) + (c0_bits.get(c0_bits_) << d0) +
                         (u128{1} << (d0 - 1));  // below 3q: a rounded c0 may pass q
                for (int pass = 0; pass < 2; ++pass) v -= q_ & (0 - u128{v >= q_});
                out[at_answer.shares[i] + j] = scaled(v);
            }
        }
    });
}

}  // namespace bs
