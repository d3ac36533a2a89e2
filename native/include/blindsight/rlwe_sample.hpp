// Samplers of the linear-layer ring.  All but sample_uniform run in constant time.
#pragma once
#include <cstddef>
#include <cstdint>

#include "blindsight/chacha.hpp"
#include "blindsight/modulus.hpp"

namespace bs {

// Uniform mod q: successive 64-bit words, masked to the bits of q, kept when below q.  What is kept is independent of
// how many were refused.
void sample_uniform(u64 q, Stream &from, u64 *out, std::size_t n) noexcept;

// Uniform in {-1, 0, 1}: eight values from each 64-bit word f: f' = 3 f, the value is floor(f' / 2^64) - 1, f = f' mod
// 2^64.  Within 3^8 / 2^64 of uniform a word.  n a multiple of 8.
void sample_ternary(Stream &from, std::int32_t *out, std::size_t n) noexcept;

// Centred binomial, eta = 21 (variance 10.5): bits 42 i .. 42 i + 41 of the stream, their sum less 21.  n a multiple
// of 32.
void sample_error(Stream &from, std::int32_t *out, std::size_t n) noexcept;

}  // namespace bs
