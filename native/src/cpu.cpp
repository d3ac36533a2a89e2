#include "blindsight/cpu.hpp"

#include <stdexcept>
#include <string>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#ifndef HWCAP_AES
#define HWCAP_AES (1 << 3)
#endif
#endif

namespace bs {
namespace {

#if defined(__x86_64__)
unsigned long long enabled_state() noexcept {  // XCR0: which registers the operating system saves
    unsigned lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (static_cast<unsigned long long>(hi) << 32) | lo;
}
#endif

Features machine() noexcept {
    Features f;
#if defined(__x86_64__)
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return f;
    const auto bit = [](unsigned reg, int i) { return ((reg >> i) & 1) != 0; };
    const bool clmul = bit(c, 1), fma = bit(c, 12), sse41 = bit(c, 19), aesni = bit(c, 25), osxsave = bit(c, 27),
               avx = bit(c, 28);
    const unsigned long long xcr0 = osxsave ? enabled_state() : 0;
    const bool ymm = avx && (xcr0 & 0x06) == 0x06, zmm = ymm && (xcr0 & 0xE0) == 0xE0;
    unsigned b7 = 0, c7 = 0;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) b7 = b, c7 = c;
    f.aes = aesni && clmul && sse41;
    f.avx2 = ymm && fma && bit(b7, 5) && bit(b7, 8);
    f.vaes = f.avx2 && f.aes && bit(c7, 9) && bit(c7, 10);
    f.avx512 = zmm && f.avx2 && bit(b7, 16) && bit(b7, 17) && bit(b7, 30) && bit(b7, 31);
    f.avx512_ifma = f.avx512 && bit(b7, 21);
    f.avx512_vbmi = f.avx512 && bit(c7, 1);
    f.avx512_vnni = f.avx512 && bit(c7, 11);
#elif defined(__aarch64__)
    f.neon = true;
#if defined(__linux__)
    f.aes = (getauxval(AT_HWCAP) & HWCAP_AES) != 0;
#elif defined(__APPLE__)
    f.aes = true;
#endif
#endif
    return f;
}

const Features found = machine();

struct State {
    Features allowed;
    std::string_view name;
};
State state{found, "native"};

bool known(std::string_view name) noexcept {
    return name == "portable" || name == "avx2" || name == "vaes" || name == "avx512" || name == "neon" ||
           name == "native";
}

bool runs_here(std::string_view name) noexcept {
    if (name == "avx2") return found.avx2 && found.aes;
    if (name == "vaes") return found.vaes;
    if (name == "avx512") return found.avx512;
    if (name == "neon") return found.neon;
    return true;
}

Features capped(std::string_view name) noexcept {
    Features f;
    if (name == "native" || name == "avx512" || name == "neon") return found;
    if (name == "avx2" || name == "vaes") f.avx2 = found.avx2, f.aes = found.aes;
    if (name == "vaes") f.vaes = found.vaes;
    return f;
}

}  // namespace

const Features& features() noexcept { return state.allowed; }

std::string_view isa() noexcept { return state.name; }

std::vector<std::string_view> isas() {
    std::vector<std::string_view> out;
    for (std::string_view name : {"portable", "neon", "avx2", "vaes", "avx512", "native"})
        if (runs_here(name)) out.push_back(name);
    return out;
}

void set_isa(std::string_view name) {
    if (!known(name))
        throw std::invalid_argument("unknown instruction set '" + std::string(name) +
                                    "': portable, avx2, vaes, avx512, neon or native");
    if (!runs_here(name))
        throw std::invalid_argument("this machine cannot run instruction set '" + std::string(name) + "'");
    // string_views into literals: keep ours, not the caller's
    for (std::string_view own : isas())
        if (own == name) state = {capped(own), own};
}

}  // namespace bs
