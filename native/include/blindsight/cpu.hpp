// Which instructions this process may use: found once, and capped by tests.
//
// Kernels with variants are ordinary functions with __attribute__((target(...))); a front function asks features() and
// picks one.  Nothing is compiled with -march, so one build runs on every machine of an architecture.
#pragma once
#include <string_view>
#include <vector>

namespace bs {

struct Features {
    bool avx2 = false;         // AVX2, BMI2 and FMA
    bool aes = false;          // AES-NI and SSE4.1, PCLMULQDQ; on ARM: the AES extension of ARMv8
    bool vaes = false;         // VAES and VPCLMULQDQ on 256-bit registers (implies avx2 and aes)
    bool avx512 = false;       // AVX-512 F, DQ, BW and VL
    bool avx512_ifma = false;  // 52-bit multiply-add
    bool avx512_vnni = false;  // 8-bit dot products
    bool avx512_vbmi = false;
    bool neon = false;  // AArch64 Advanced SIMD
};

// What kernels may use now: what the machine has, below the cap set by set_isa.
const Features& features() noexcept;

// Cap the instruction set: "portable", "avx2" (with AES-NI), "vaes" (adds VAES-256), "avx512", "neon", or "native" (all
// that the machine has).  Throws std::invalid_argument for a name that is unknown or that this machine cannot run.
// Meant for tests and benchmarks: not to be called while another thread computes.
void set_isa(std::string_view name);

// The cap in force, and every cap that this machine can run, slowest first.
std::string_view isa() noexcept;
std::vector<std::string_view> isas();

}  // namespace bs
