#include "blindsight/cpu.hpp"
#include "blindsight/ntt.hpp"

namespace bs {

const RingKernels &ring_kernels() noexcept {
#if defined(__x86_64__)
    if (features().avx512_ifma) return kIfmaKernels;
    if (features().avx2) return kAvx2Kernels;
#elif defined(__aarch64__)
    if (features().neon) return kNeonKernels;
#endif
    return kPortableKernels;
}

}  // namespace bs
