// What both sides of the linear-layer ring share: parameters, Chinese remainder, scaling, expansion.
#include <bit>
#include <stdexcept>
#include <string>

#include "blindsight/bits.hpp"
#include "blindsight/rlwe.hpp"
#include "blindsight/rlwe_sample.hpp"

namespace bs {

LinearRing::LinearRing(unsigned n, const std::vector<u64> &primes, unsigned c0_bits, unsigned c1_bits, unsigned b_bits)
    : n_(n), c0_bits_(c0_bits), c1_bits_(c1_bits), b_bits_(b_bits) {
    if (primes.empty() || primes.size() > 2) throw std::invalid_argument("a linear ring has one or two primes");
    for (u64 p : primes) {
        if (p >> 49 == 0)
            throw std::invalid_argument("a prime of a linear ring has 50 bits, " + std::to_string(p) + " has not");
        q_ *= p;
    }
    if (primes.size() == 2 && primes[0] <= primes[1])
        throw std::invalid_argument("the two primes of a linear ring go from the larger to the smaller");
    if ((q_ - 1) % (u128{1} << 32) != 0) throw std::invalid_argument("the modulus of a linear ring is 1 mod 2^32");
    q_bits_ = q_ >> 64 == 0 ? static_cast<unsigned>(std::bit_width(static_cast<u64>(q_)))
                            : 64 + static_cast<unsigned>(std::bit_width(static_cast<u64>(q_ >> 64)));
    for (unsigned bits : {c0_bits, c1_bits, b_bits == 0 ? c0_bits : b_bits})
        if (bits < 16 || bits >= q_bits_)
            throw std::invalid_argument("16 bits or more of a coefficient are kept, fewer than the modulus has");
    const u128 delta = (q_ - 1) >> 32;
    for (u64 p : primes) {
        const NttTables &t = ntt_tables(n, p);
        tables_.push_back({&t, t.modulus.factor(static_cast<u64>(delta % p)), t.modulus.factor(1),
                           t.modulus.factor(t.modulus.pow(2, 50))});
    }
    if (primes.size() == 2) {
        const Modulus &m = tables_[1].tables->modulus;
        p1_inverse_ = m.factor(m.inverse(primes[0] % m.q));
    }
    u128 rest = 0;  // long division of a power of two
    for (unsigned i = primes.size() == 1 ? 96 : 163, bit = 1;; --i, bit = 0) {
        rest = 2 * rest + bit, reciprocal_ *= 2;
        if (rest >= q_) rest -= q_, reciprocal_ += 1;
        if (i == 0) break;
    }
}

std::size_t LinearRing::poly_bytes() const noexcept { return tables_.size() * packed_bytes(n_, 50); }

std::size_t LinearRing::mask_bytes() const noexcept { return b_bits_ == 0 ? poly_bytes() : packed_bytes(n_, b_bits_); }

std::size_t LinearRing::answer_bytes(std::size_t listed) const noexcept {
    return packed_bytes(n_, c1_bits_) + packed_bytes(listed, c0_bits_);
}

LinearRing::Places LinearRing::places(const Listed &listed) const {
    Places p{{0}, {0}};
    for (std::size_t count : listed.count) {
        p.bytes.push_back(p.bytes.back() + answer_bytes(count));
        p.shares.push_back(p.shares.back() + count);
    }
    return p;
}

void LinearRing::expand(const std::uint8_t *seed, Purpose purpose, std::uint32_t index, std::size_t row,
                        u64 *out) const {
    for (unsigned l = 0; l < primes(); ++l) {
        Stream stream(seed, static_cast<std::uint32_t>(purpose), index, l);
        sample_uniform(tables_[l].tables->modulus.q, stream, out + l * row, n_);
    }
}

u64 LinearRing::residue(u128 x, unsigned prime) const noexcept {
    const Prime &p = tables_[prime];
    const Modulus &m = p.tables->modulus;
    if (tables_.size() == 1) return m.add(static_cast<u64>(x), 0);  // below 2q
    const u64 low = static_cast<u64>(x) & ((u64{1} << 50) - 1), high = static_cast<u64>(x >> 50);
    return m.add(m.mul(low, p.one), m.mul(high, p.two50));
}

std::uint32_t LinearRing::scaled(u128 v) const noexcept {
    // an estimate that is right or one short, then the remainder decides; all without branches
    u64 y;
    if (tables_.size() == 1)
        y = static_cast<u64>((v * reciprocal_) >> 64);
    else
        y = static_cast<u64>((u128{static_cast<u64>(v >> 36)} * reciprocal_) >> 95);
    u128 rest = (v << 32) - q_ * y;
    const u64 short_by_one = rest >= q_;
    rest -= q_ & (0 - u128{short_by_one});
    return static_cast<std::uint32_t>(y + short_by_one + (2 * rest >= q_));
}

}  // namespace bs
