// AES-128 (FIPS 197), encryption only, constant-time on every path: no table is indexed by a secret.
#pragma once
#include <cstddef>
#include <cstdint>

namespace bs {

// The eleven round keys, in the byte order of the standard.  Wipe what is secret.
struct AesKey {
    alignas(16) std::uint8_t round[11][16];
};

AesKey expand_key(const std::uint8_t key[16]) noexcept;

// ECB of whole blocks with the fastest implementation allowed; in and out may be the same.
void aes_encrypt(const AesKey& key, const std::uint8_t* in, std::uint8_t* out, std::size_t blocks) noexcept;

}  // namespace bs
