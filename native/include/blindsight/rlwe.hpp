// RLWE for linear layers (DESIGN.md, section 4): seeded symmetric encryption of masks, and answers to them.
//
// A ring is Z[X]/(X^N + 1) modulo q = p1 or p1 p2; a polynomial is one row of N residues a prime, [primes][N], in the
// transformed domain unless a line says otherwise.  Plaintexts are integers mod 2^32 in the coefficients, scaled by
// delta = (q - 1) / 2^32; q = 1 mod 2^32.
//
// Every secret value comes from a 32-byte seed expanded by Stream(seed, purpose, index, prime); the purposes below keep
// them apart.  Seeds of `a` are public, all others secret and used for one call only.
#pragma once
#include <cstdint>
#include <vector>

#include "blindsight/ntt.hpp"

namespace bs {

enum class Purpose : std::uint32_t {
    kUniform = 32,     // a of an encryption, index = polynomial (public seed)
    kSecret = 33,      // the ternary secret
    kKeyError = 34,    // e of the public key
    kKeyUniform = 35,  // a of the public key (public seed)
    kError = 36,       // e of an encryption, index = polynomial
    kZeroU = 40,       // encryption of zero: u, e0, e1; index = answer
    kZeroE0 = 41,
    kZeroE1 = 42,
    kMask = 43,  // R, index = answer
};

// Where the weight polynomials of a group come from: A answers of U polynomials each.
struct Weights {
    std::size_t answers = 0, uses = 0;
    const std::int32_t *dense = nullptr;      // [A][U][N]
    const u64 *prepared = nullptr;            // [A][U][primes][row]
    const std::int32_t *positions = nullptr;  // [U][P], -1: none
    const std::int32_t *values = nullptr;     // [A][U][P]
    std::size_t taps = 0;                     // P
};

// Which coefficients of which answer are sent: answer i lists `coefficients` first[i] .. first[i] + count[i] - 1.
// Answers may share a list.
struct Listed {
    const std::int32_t *coefficients = nullptr;
    std::vector<std::size_t> first, count;
};

class LinearRing {
  public:
    // Throws std::invalid_argument.
    // b_bits: how many of the top bits of b of an encryption travel; 0: b exactly, as residues.
    LinearRing(unsigned n, const std::vector<u64> &primes, unsigned c0_bits, unsigned c1_bits, unsigned b_bits = 0);

    unsigned n() const noexcept { return n_; }
    unsigned primes() const noexcept { return static_cast<unsigned>(tables_.size()); }
    std::size_t poly_words() const noexcept { return std::size_t{n_} * tables_.size(); }
    // Ciphertexts, the public key and prepared weights are [.., primes][row]: rows of N words and some that are unused.
    std::size_t row() const noexcept { return row_words(n_); }
    std::size_t padded_words() const noexcept { return row() * tables_.size(); }
    std::size_t poly_bytes() const noexcept;                      // exact polynomial, 50 bits a residue
    std::size_t mask_bytes() const noexcept;                      // b of an encryption, rounded where b_bits says so
    std::size_t answer_bytes(std::size_t listed) const noexcept;  // packed c1 || packed listed c0

    // Uniform residues, their rows `row` words apart
    void expand(const std::uint8_t *seed, Purpose purpose, std::uint32_t index, std::size_t row, u64 *out) const;

    // --- key owner
    void make_secret(const std::uint8_t *seed, u64 *secret) const;
    // b = -(a s + e), packed
    void make_public(const u64 *secret, const std::uint8_t *a_seed, const std::uint8_t *error_seed,
                     std::uint8_t *packed) const;
    // b_k = -(a_k s) + e_k + delta r_k for r int32 [K][N], packed one after another: transformed, or where b_bits says
    // so the top bits of each coefficient
    void encrypt(const u64 *secret, const std::uint8_t *public_seed, const std::uint8_t *error_seed,
                 const std::int32_t *r, std::size_t count, std::uint8_t *packed, unsigned threads) const;
    // round(2^32 v / q) mod 2^32 at the listed coefficients of each answer, one answer after another
    void open(const u64 *secret, const std::uint8_t *answers, const Listed &listed, std::uint32_t *out,
              unsigned threads) const;

    // --- evaluator
    // (b_k, a_k) as [K][2][primes][row].  False when a residue is out of range.
    bool load(const std::uint8_t *public_seed, const std::uint8_t *packed, std::size_t count, Purpose purpose, u64 *out,
              unsigned threads) const;
    void prepare(const Weights &weights, u64 *out, unsigned threads) const;
    // For each of G sets of inputs (uses [G][U] into `ciphers`) and each answer: the sequence of DESIGN.md, section 4.
    // Answer g A + a of `listed`, `answers` and `shares` is that of set g; shares are -round(2^32 R / q) mod 2^32.
    void answer(const u64 *public_key, const u64 *ciphers, const std::int32_t *uses, std::size_t sets,
                const Weights &weights, const Listed &listed, const std::uint8_t *seed, std::uint8_t *answers,
                std::uint32_t *shares, unsigned threads) const;

  private:
    // Where each answer's bytes and its shares begin; the last entry is the end.
    struct Places {
        std::vector<std::size_t> bytes, shares;
    };
    Places places(const Listed &listed) const;
    struct Prime {
        const NttTables *tables;
        Factor delta, one, two50;
    };
    // Chinese remainder of entry `at` of rows of `row` residues
    u128 join(const u64 *residues, std::size_t at, std::size_t row) const noexcept {
        const u64 x1 = residues[at];
        if (tables_.size() == 1) return x1;
        const Modulus &m = tables_[1].tables->modulus;
        const u64 digit = m.mul(residues[row + at] + 2 * m.q - x1, p1_inverse_);  // p1 < 2 p2
        return u128{x1} + u128{tables_[0].tables->modulus.q} * digit;
    }
    u64 residue(u128 x, unsigned prime) const noexcept;  // x < 2^100
    void load_rounded(const std::uint8_t *packed, u64 *b) const;
    std::uint32_t scaled(u128 v) const noexcept;  // round(2^32 v / q) mod 2^32
    void weight(const Weights &weights, std::size_t answer, std::size_t use, std::int32_t *dense, u64 *out) const;
    // One call of answer().
    struct Call {
        const u64 *public_key, *ciphers;
        const std::int32_t *uses;
        const Weights &weights;
        const Listed &listed;
        const std::uint8_t *seed;
        std::uint8_t *answers;
        std::uint32_t *shares;
        Places places;
    };
    std::size_t sum_words() const noexcept { return 2 * std::size_t{ring_kernels().planes} * padded_words(); }
    void answer_part(const Call &call, std::size_t a0, std::size_t a1, std::size_t g0, std::size_t g1) const;
    void products(const Call &call, std::size_t set, unsigned prime, std::size_t u0, std::size_t terms,
                  std::size_t first, std::size_t count, const u64 *transformed, u64 *sums) const;
    void finish(const Call &call, std::size_t index, u64 *sums) const;

    unsigned n_;
    std::vector<Prime> tables_;
    u128 q_ = 1;
    unsigned q_bits_ = 0, c0_bits_, c1_bits_, b_bits_;
    Factor p1_inverse_;   // mod p2
    u64 reciprocal_ = 0;  // floor(2^96 / q), or floor(2^163 / q) for two primes
};

}  // namespace bs
