// Arithmetic modulo a prime below 2^50, one word at a time: set-up of tables and everything that is not a hot loop.
#pragma once
#include <cstdint>

namespace bs {

using u64 = std::uint64_t;
using u128 = unsigned __int128;

// A fixed factor w with floor(w * 2^64 / q): products with it need no division (Shoup).
struct Factor {
    u64 w = 0, quotient = 0;
};

struct Modulus {
    u64 q = 0;

    u64 add(u64 a, u64 b) const noexcept { return cut(a + b); }
    u64 sub(u64 a, u64 b) const noexcept { return cut(a + q - b); }
    u64 mul(u64 a, u64 b) const noexcept { return static_cast<u64>(u128{a} * b % q); }
    u64 pow(u64 a, u64 e) const noexcept {
        u64 r = 1;
        for (; e != 0; e >>= 1, a = mul(a, a))
            if (e & 1) r = mul(r, a);
        return r;
    }
    u64 inverse(u64 a) const noexcept { return pow(a, q - 2); }

    Factor factor(u64 w) const noexcept { return {w, static_cast<u64>((u128{w} << 64) / q)}; }
    // x * f mod q for any 64-bit x, without branches.
    u64 mul(u64 x, Factor f) const noexcept {
        return cut(x * f.w - static_cast<u64>((u128{x} * f.quotient) >> 64) * q);
    }

    // A signed number of magnitude below q, as a residue, without branches.
    u64 from_signed(std::int64_t x) const noexcept { return static_cast<u64>(x) + (q & static_cast<u64>(x >> 63)); }

  private:
    // [0, 2q) to [0, q) without a branch
    u64 cut(u64 x) const noexcept {
        const u64 d = x - q;
        return d + (q & (0 - (d >> 63)));
    }
};

}  // namespace bs
