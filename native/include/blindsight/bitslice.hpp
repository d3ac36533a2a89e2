// The local arithmetic of the two-party protocols, in a few passes over memory.
//
// A bit vector of n bits is W = words(n) 64-bit words, bit i = bit i % 64 of word i / 64; the bits past n are ordinary
// instances.  "Planes" are w bit vectors one after the other: plane j holds bit j of n integers.  Integers travel as
// planes, so that w bits cost exactly w bits.  Every function is branch-free in its data (the addresses too), so its
// time depends on sizes alone.  Which correlation each argument comes from: src/blindsight/mpc.
#pragma once
#include <cstddef>
#include <cstdint>

namespace bs::bitslice {

using u32 = std::uint32_t;
using u64 = std::uint64_t;
using std::size_t;

constexpr size_t words(size_t n) { return (n + 63) / 64; }

// planes[j][i] = bit j of x[i], j < w <= 32.  Bits past n are zero.
void slice(const u32 *x, size_t n, unsigned w, u64 *planes);
// The inverse: x[i] < 2^w.
void unslice(const u64 *planes, size_t n, unsigned w, u32 *x);

// F_TR on one party's share: low m bits of (x + add) >> f, as integers and as planes.
void truncate(const u32 *x, size_t n, u32 add, unsigned f, unsigned m, u32 *out, u64 *planes);

// 1-of-2^k comparison leaf, k <= 4; w = 1 (lt) or 2 (lt, eq).  Sender holds digit a, receiver digit b.
// messages[j-1], 0 < j < 2^k, are ([a<j], [a==j]) under the sender's new share and pads[j ^ correction]; message 0 is
// zero by the choice of that share, and is not sent.
void leaf_messages(const u64 *digit, const u64 *correction, const u64 *pads, size_t W, unsigned k, unsigned w,
                   u64 *messages, u64 *share);
// share = message b ^ pad.  digit: the receiver's b.
void leaf_select(const u64 *digit, const u64 *pad, const u64 *messages, size_t W, unsigned k, unsigned w, u64 *share);

// F_AND of one bit x with w bits y.  a, got: choice and pad of the OT received; pads [2][w][W] of the OT sent (plane j
// of pad v at pads + v*pad_rows + j*pad_row; the same row distance for got).  b = pads0 ^ pads1 and c = pads0 ^ got ^
// a&b complete the triple.
struct AndGate {
    const u64 *a, *pads, *got;
    size_t pad_rows, pad_row, got_row;
};
void and_open(const u64 *x, const u64 *y, const AndGate &gate, size_t W, unsigned w,
              u64 *opening);  // opening [1 + w][W]
void and_combine(const u64 *mine, const u64 *theirs, const AndGate &gate, size_t W, unsigned w, bool first, u64 *out);

// F_MUX mod 2^m on a random bit.  offer [1 + m][W]: t = bit ^ choice, then the planes of pads0 + (choice ? -x : x) -
// pads1.
void mux_offer(const u64 *bit, const u32 *x, const u32 *pads, const u64 *choice, size_t n, unsigned m, u64 *offer);
// This party's share of bit * x, given both offers.
void mux_finish(const u64 *mine, const u64 *theirs, const u32 *x, const u32 *pads, const u64 *choice, const u32 *got,
                size_t n, unsigned m, u32 *out);

// Product mod 2^w of an integer u of the OT's sender and a bit of its receiver, who opens t = bit ^ choice.
void product_offer(const u32 *u, const u32 *pads, size_t n, unsigned w, u64 *planes);  // pads0 + u - pads1
void product_sender(const u64 *t, const u32 *u, const u32 *pads, size_t n, unsigned w, u32 *out);
void product_receiver(const u64 *t, const u64 *planes, const u64 *choice, const u32 *got, size_t n, unsigned w,
                      u32 *out);

// F_LUT, 1-of-2^k OT of w-bit integers, k <= 8.  Value j of instance i is V = (base + slope * low[i] + half) >> shift
// at index (turn[i] + j) mod 2^k of two public int32 tables of 2^k entries.  `correction` (the receiver's index xor its
// choice) is public, turn and low are secret.  messages [2^k - 1][w][W]: those of j = 1 .. 2^k - 1; message 0 is zero
// by the choice of `share`.
struct Lines {
    const std::int32_t *base, *slope;
    unsigned shift;
};
void lut_messages(const Lines &lines, const u32 *turn, const u32 *low, const u32 *correction, const u32 *pads, size_t n,
                  unsigned k, unsigned w, u64 *messages, u32 *share);
// planes [w][W] of message `index` (planes [k][W], secret); zero for index 0.
void lut_select(const u64 *index, const u64 *messages, size_t W, unsigned k, unsigned w, u64 *planes);

}  // namespace bs::bitslice
