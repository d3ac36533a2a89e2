// SoftSpokenOT: OT extension from a (2^k - 1)-of-2^k base, k in {1, 2, 4, 8}; k = 1 is IKNP.
//
// Roy, "SoftSpokenOT: quieter OT extension from small-field silent VOLE in the Minicrypt model", CRYPTO 2022: the
// small-field VOLE and the subspace VOLE built on it, with the [128/k, 1, 128/k] repetition code over GF(2^k), in the
// semi-honest version: no consistency check.  (128/k - 1)/8 bytes a random OT on the wire, 2^k/k AES blocks a party.
//
// Adversary: semi-honest.  Assumption: AES is a pseudorandom function for the streams, correlation robustness of the
// hash for the pads (hash.hpp).  The receiver learns v_i, the sender q_i = v_i ^ u_i Delta; the one message, d_g = u_g
// ^ u_0, is uniform to the sender, for each u_g contains the stream of the leaf it does not know.
#pragma once
#include <cstdint>
#include <vector>

#include "blindsight/aes.hpp"
#include "blindsight/pads.hpp"

namespace bs {

// What both ends hold: the keys of all leaves, the hash key and the number of the next unused block of 128 OTs.
class SoftSpoken {
  public:
    // seeds: 128/k groups of 2^k seeds of 16 bytes.  Throws std::invalid_argument for another k.
    SoftSpoken(unsigned k, const std::uint8_t* seeds, const std::uint8_t* hash_key);
    ~SoftSpoken();
    SoftSpoken(const SoftSpoken&) = delete;
    SoftSpoken& operator=(const SoftSpoken&) = delete;

    // Bytes of the message that carries `pairs` pairs of tiles of 1-of-2^pad_k instances.
    std::size_t message_bytes(std::size_t pairs, unsigned pad_k) const noexcept {
        return (groups() - 1) * 32 * pairs * pad_k;
    }
    unsigned k() const noexcept { return k_; }
    std::size_t groups() const noexcept { return 128 / k_; }

  protected:
    struct Buffers;

    unsigned k_;
    std::vector<AesKey> keys_;
    AesKey hash_;
    std::uint64_t block_ = 0;
};

class SoftSpokenReceiver : public SoftSpoken {
  public:
    using SoftSpoken::SoftSpoken;
    // Fills pairs [pair, pair + pairs) of the array (choice and pads) and writes the message.  Consumes 2 k blocks a
    // pair.
    void extend(const PadArray& out, std::size_t pair, std::size_t pairs, std::uint8_t* message);
    // 256 * columns unhashed strings v_i, bit 0 replaced by the choice u_i (Delta's bit 0 must be set): the base of
    // Ferret.
    void correlate(std::size_t columns, std::uint8_t* out, std::uint8_t* message);

  private:
    void make_rows(Buffers& buf, std::size_t columns, std::uint8_t* message);
};

class SoftSpokenSender : public SoftSpoken {
  public:
    // seeds of each group ordered by y = leaf ^ Delta_g, entry 0 unknown (any value); delta: 128 bits, group g's k bits
    // from bit g k on
    SoftSpokenSender(unsigned k, const std::uint8_t* seeds, const std::uint8_t* hash_key, const std::uint8_t* delta);
    ~SoftSpokenSender();
    void extend(const PadArray& out, std::size_t pair, std::size_t pairs, const std::uint8_t* message);
    // 256 * columns unhashed strings q_i, bit 0 cleared.
    void correlate(std::size_t columns, std::uint8_t* out, const std::uint8_t* message);
    const std::uint8_t* delta() const noexcept { return delta_; }

  private:
    void make_rows(Buffers& buf, std::size_t columns, const std::uint8_t* message);
    std::uint8_t delta_[16];
};

}  // namespace bs
