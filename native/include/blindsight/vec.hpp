// 256-bit vectors of the compiler's own kind: two AES blocks each.  Every OT kernel is written once with them and
// compiled once per instruction set; only AES itself and a few moves are written with intrinsics (the backends of
// aes_*.hpp).
//
// Everything here has internal linkage on purpose: a translation unit compiled for AVX2 must not lend its copy of a
// function to one compiled for the baseline.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__GNUC__)
#pragma GCC diagnostic ignored \
    "-Wpsabi"  // a vector passed by value: all such functions are inlined, no ABI is involved
#endif
#define BS_INLINE [[maybe_unused, gnu::always_inline]] static inline

namespace bs {

typedef std::uint64_t V __attribute__((vector_size(32), may_alias));
typedef std::uint32_t V32 __attribute__((vector_size(32), may_alias));
typedef std::uint16_t V16 __attribute__((vector_size(32), may_alias));
typedef std::uint8_t V8 __attribute__((vector_size(32), may_alias));

struct alignas(32) Column {  // a vector as an element of a container
    V v;
};

constexpr int STEP = 8;  // vectors a step of every kernel: 16 AES blocks in flight

BS_INLINE V load(const void* p) {
    V x;
    std::memcpy(&x, p, sizeof x);
    return x;
}

BS_INLINE void store(void* p, const V& x) { std::memcpy(p, &x, sizeof x); }

// One 16-byte block in both halves.
BS_INLINE V twice(const std::uint8_t* p) {
    std::uint64_t b[2];
    std::memcpy(b, p, 16);
    return V{b[0], b[1], b[0], b[1]};
}

// The halves of each 128-bit lane change places.
BS_INLINE V swap_halves(const V& x) { return __builtin_shufflevector(x, x, 1, 0, 3, 2); }

}  // namespace bs
