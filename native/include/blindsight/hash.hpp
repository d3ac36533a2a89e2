// The hash of the OT extension: fixed-key AES in Matyas-Meyer-Oseas mode with the orthomorphism sigma and a tweak,
//
//     H_s(x; t) = AES_s(y) ^ y,   y = sigma(x) ^ t,   sigma(lo || hi) = hi || (lo ^ hi)
//
// (the MMO-hat of Guo, Katz, Wang, Yu, IEEE S&P 2020, as used per session by Guo, Katz, Wang, Weng, Yu,
// CRYPTO 2020). s is public and fresh for every session, so that precomputation and many sessions gain an adversary
// nothing. t = (index, domain) is never used twice under one s and one direction.
//
// Assumption: AES under a public random key behaves as an ideal permutation; then H is (circular) correlation robust:
// pads H(q_i ^ Delta; t_i) are pseudorandom to whoever knows q_i but not Delta.  The adversary is semi-honest, so the
// q_i are pseudorandom and it cannot choose inputs for which two different (x, t) collide in y.
#pragma once
#include "blindsight/aes.hpp"
#include "blindsight/vec.hpp"

namespace bs {

enum class Domain : std::uint64_t { key = 0, pad = 1ull << 32 };  // pad: the low bits carry the pad's number j

BS_INLINE V sigma(const V& x) { return swap_halves(x) ^ (x & V{0, ~0ull, 0, ~0ull}); }

// x[i] = AES_s(x[i]) ^ x[i]
template <class B>
BS_INLINE void feed_forward(const AesKey& s, V (&x)[STEP]) {
    V y[STEP];
    for (int i = 0; i < STEP; ++i) y[i] = x[i];
    B::encrypt(s, x);
    for (int i = 0; i < STEP; ++i) x[i] ^= y[i];
}

}  // namespace bs
