// The OT kernels compiled for avx2, aes, vaes, sse4.1.  The standard headers come before the target is raised, so that
// nothing inline of theirs is compiled for it.
#if defined(__x86_64__)
#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,aes,vaes,sse4.1"))), apply_to = function)
#else
#pragma GCC target("avx2,aes,vaes,sse4.1")
#endif

#include "blindsight/aes_vaes.hpp"
#include "blindsight/ot_kernels.hpp"

namespace bs {
const OtKernels ot_vaes = table_of<VaesBackend>();
}

#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
