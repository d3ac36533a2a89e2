// Negacyclic number-theoretic transform modulo X^N + 1 and the lazy multiply-accumulate that lives beside it.
//
// Everything outside a kernel is a canonical residue: u64 in [0, q).  Transformed polynomials are in bit-reversed
// order: entry i is the value at psi^(2 brv(i) + 1), psi the smallest primitive 2N-th root of unity mod q
// (docs/wire.md, section 3; the convention of SEAL).  All kernels run in time independent of the values.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "blindsight/modulus.hpp"

namespace bs {

// N a power of two in 64 .. 4096; q prime, 2^20 < q < 2^50, q = 1 mod 2N.
class NttTables {
  public:
    NttTables(unsigned n, u64 q);  // throws std::invalid_argument

    unsigned n, log_n;
    Modulus modulus;
    u64 psi;
    // Twiddle i is psi^brv(i) (its inverse for the inverse transform).  52-bit integer kernels: w, floor(w 2^52 / q).
    std::vector<u64> w, w52, iw, iw52;
    // Floating-point kernels: w centred, w / q.
    std::vector<double> wd, wq, iwd, iwq;
    u64 n_inverse;  // 1/N
};

// Rows that are read side by side lie n + 8 words apart: n words are a multiple of 4 KiB, and all rows would compete
// for the same eight lines of L1.
inline constexpr std::size_t row_words(unsigned n) noexcept { return n + 8; }

// Accumulators of sums of products, before the one reduction at the end: `planes` rows of n words, row_words(n) apart,
// layout private to a kernel set.  At most kMaxTerms products may be added before settle().
inline constexpr unsigned kMaxTerms = 4096;
inline constexpr unsigned kMaxPlanes = 3;

// One set of kernels an instruction set; all give the same residues.
struct RingKernels {
    const char *name;
    unsigned planes;
    // In place is allowed.  Any u64 in [0, q) in, canonical out.
    void (*forward)(const NttTables &, const u64 *in, u64 *out);
    // The same from signed coefficients, |x| < q and 2^31.
    void (*forward_i32)(const NttTables &, const std::int32_t *in, u64 *out);
    void (*inverse)(const NttTables &, const u64 *in, u64 *out);
    // acc[p] (+)= sum over k < terms of weights[k] * ciphers[k][p], `count` entries (a multiple of 16), for one
    // polynomial or for the two of each cipher, which lie `stride` words apart; `row`: words between planes of
    // accumulators. fresh: start from zero.
    void (*mac1)(std::size_t count, std::size_t row, u64 *acc, bool fresh, const u64 *const *weights,
                 const u64 *const *ciphers, std::size_t terms);
    void (*mac2)(std::size_t count, std::size_t row, u64 *acc, bool fresh, const u64 *const *weights,
                 const u64 *const *ciphers, std::size_t stride, std::size_t terms);
    // From accumulators row_words(N) apart.
    void (*settle)(const NttTables &, const u64 *acc, u64 *out);
};

extern const RingKernels kPortableKernels;
#if defined(__x86_64__)
extern const RingKernels kAvx2Kernels, kIfmaKernels;
#elif defined(__aarch64__)
extern const RingKernels kNeonKernels;
#endif

// The fastest set that features() allows.
const RingKernels &ring_kernels() noexcept;

// Tables of (n, q), made once a process and never freed.
const NttTables &ntt_tables(unsigned n, u64 q);

}  // namespace bs
