// Ferret: silent OT extension from LPN with regular noise.
//
// Yang, Weng, Lan, Zhang, Wang, "Ferret: fast extension for correlated OT with small communication" (CCS 2020),
// semi-honest, with the correlated trees of "Half-tree" (EUROCRYPT 2023).  An iteration turns k + t d correlated OTs
// into n = t 2^d: tree i hides one noisy position among 2^d; the outputs are leaf + (row of a public local code) * (k
// base strings).  Its first `reserve()` trees become the base of the next iteration.  The sender's message, 16 d bytes
// a tree, is all that is sent: a noisy position is the complement of the receiver's (random) choices of the tree's OTs,
// so the receiver says nothing.
//
// Adversary: semi-honest.  Assumptions: LPN over F_2 with regular noise for the 10-local code and these parameters
// (their estimate is held by tests/unit/test_ot_ferret.py), circular correlation robustness of H (AES as an ideal
// permutation), and those of the OTs that make the first base.  Delta has 127 random bits: bit 0 is one.
#pragma once
#include <cstdint>
#include <vector>

#include "blindsight/pads.hpp"
#include "blindsight/softspoken.hpp"

namespace bs {

struct FerretParameters {
    unsigned trees;   // t: noise weight, one in each tree
    unsigned depth;   // d: 2^d positions a tree, at least one column of 256
    std::uint32_t k;  // LPN dimension

    std::size_t base() const noexcept {
        return k + std::size_t{trees} * depth;
    }  // correlated OTs an iteration consumes
    std::size_t leaves() const noexcept { return std::size_t{1} << depth; }
    std::size_t reserve() const noexcept {
        return (base() + leaves() - 1) / leaves();
    }                                                                           // trees that make the next base
    std::size_t columns() const noexcept { return leaves() / 256; }             // of a tree
    std::size_t base_columns() const noexcept { return (base() + 255) / 256; }  // SoftSpoken columns of the first base
    void check() const;                                                         // throws std::invalid_argument
};

class Ferret {
  public:
    // keys: three public AES keys, for pads, trees and code, 16 bytes each; both ends the same.
    Ferret(const FerretParameters& parameters, const std::uint8_t* keys);
    ~Ferret();
    Ferret(const Ferret&) = delete;
    Ferret& operator=(const Ferret&) = delete;

    // Bytes of the sender's message for the next `pairs` pairs of 1-of-2^pad_k instances; depends on how far the last
    // tree is used.
    std::size_t message_bytes(std::size_t pairs, unsigned pad_k) const noexcept;
    const FerretParameters& parameters() const noexcept { return p_; }
    // Where the first base goes: base_columns() * 256 strings of 16 bytes.
    std::uint8_t* next_base() noexcept { return reinterpret_cast<std::uint8_t*>(next_.data()); }

  protected:
    // Calls open() for tree after tree until a fresh column of 256 strings lies ready; returns it.
    template <class Open>
    const std::uint8_t* next_column(const Open& open);
    template <class Open>
    void open_tree(const Open& open);

    FerretParameters p_;
    AesKey pad_key_, tree_key_, code_key_;
    std::vector<Column> base_, next_, leaf_;
    std::size_t tree_, column_;  // next tree of the iteration, next column of the open tree
    std::uint64_t ot_ = 0;
};

class FerretSender : public Ferret {
  public:
    // seed: 16 secret bytes, uniform; delta: bit 0 set
    FerretSender(const FerretParameters& parameters, const std::uint8_t* keys, const std::uint8_t* delta,
                 const std::uint8_t* seed);
    ~FerretSender();
    void extend(const PadArray& out, std::size_t pair, std::size_t pairs, std::uint8_t* message);

  private:
    std::uint8_t delta_[16];
    AesKey seed_;
    std::uint64_t opened_ = 0;
};

class FerretReceiver : public Ferret {
  public:
    using Ferret::Ferret;
    void extend(const PadArray& out, std::size_t pair, std::size_t pairs, const std::uint8_t* message);
};

}  // namespace bs
