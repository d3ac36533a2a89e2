#include "blindsight/aes.hpp"

#include "blindsight/aes_sbox.hpp"
#include "blindsight/cpu.hpp"
#include "blindsight/ot_kernels.hpp"

namespace bs {
namespace {

// SubWord on four bytes through the circuit: plane u[0] is the top bit.
void sub_word(std::uint8_t (&w)[4]) noexcept {
    std::uint8_t u[8] = {};
    for (int b = 0; b < 8; ++b)
        for (int i = 0; i < 4; ++i) u[7 - b] = static_cast<std::uint8_t>(u[7 - b] | (w[i] >> b & 1) << i);
    std::uint32_t planes[8];
    for (int b = 0; b < 8; ++b) planes[b] = u[b];
    sub_bytes(planes);
    for (int i = 0; i < 4; ++i) {
        w[i] = 0;
        for (int b = 0; b < 8; ++b) w[i] = static_cast<std::uint8_t>(w[i] | (planes[7 - b] >> i & 1) << b);
    }
}

}  // namespace

AesKey expand_key(const std::uint8_t key[16]) noexcept {
    AesKey out;
    std::memcpy(out.round[0], key, 16);
    std::uint8_t constant = 1;
    for (int r = 1; r <= 10; ++r) {
        const std::uint8_t* last = out.round[r - 1];
        std::uint8_t w[4] = {last[13], last[14], last[15], last[12]};
        sub_word(w);
        w[0] ^= constant;
        constant = static_cast<std::uint8_t>(constant << 1 ^ (constant >> 7) * 0x1B);
        for (int i = 0; i < 16; ++i) {
            w[i & 3] = static_cast<std::uint8_t>(w[i & 3] ^ last[i]);
            out.round[r][i] = w[i & 3];
        }
    }
    return out;
}

void aes_encrypt(const AesKey& key, const std::uint8_t* in, std::uint8_t* out, std::size_t blocks) noexcept {
    ot_kernels().encrypt(key, in, out, blocks);
}

const OtKernels& ot_kernels() noexcept {
    const Features& f = features();
#if defined(__x86_64__)
    if (f.vaes) return ot_vaes;
    if (f.avx2 && f.aes) return ot_aesni;
#elif defined(__aarch64__)
    if (f.aes) return ot_armv8;
#endif
    (void)f;
    return ot_portable;
}

}  // namespace bs
