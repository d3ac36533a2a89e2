// Two doubles (or 64-bit numbers) of AArch64 Advanced SIMD.
#if defined(__aarch64__)
#include <arm_neon.h>

#include "blindsight/ring_f64.hpp"

namespace bs {
namespace {

struct NeonLanes {
    static constexpr unsigned lanes = 2;
    using F = float64x2_t;
    using U = uint64x2_t;

    static F set(double x) { return vdupq_n_f64(x); }
    static F load(const double *p) { return vld1q_f64(p); }
    static void store(double *p, F x) { vst1q_f64(p, x); }
    static F add(F a, F b) { return vaddq_f64(a, b); }
    static F sub(F a, F b) { return vsubq_f64(a, b); }
    static F mul(F a, F b) { return vmulq_f64(a, b); }
    static F product_minus(F a, F b, F c) { return vfmaq_f64(vnegq_f64(c), a, b); }
    static F minus_product(F c, F a, F b) { return vfmsq_f64(c, a, b); }
    static F round(F x) { return vrndnq_f64(x); }
    static F add_if_negative(F x, F q) {
        return vaddq_f64(x, vreinterpretq_f64_u64(vandq_u64(vreinterpretq_u64_f64(q), vcltzq_f64(x))));
    }

    static F from_u52(U x) { return vcvtq_f64_u64(x); }
    static U to_u52(F x) { return vcvtq_u64_f64(x); }
    static F from_i32(const std::int32_t *p) { return vcvtq_f64_s64(vmovl_s32(vld1_s32(p))); }

    static U zero() { return vdupq_n_u64(0); }
    static U set_u64(u64 x) { return vdupq_n_u64(x); }
    static U load(const u64 *p) { return vld1q_u64(p); }
    static void store(u64 *p, U x) { vst1q_u64(p, x); }
    static U add(U a, U b) { return vaddq_u64(a, b); }
    static U bit_and(U a, U b) { return vandq_u64(a, b); }
    static U mul32(U a, U b) { return vmull_u32(vmovn_u64(a), vmovn_u64(b)); }
    template <int k>
    static U shift_right(U a) {
        return vshrq_n_u64(a, k);
    }
    template <int k>
    static U shift_left(U a) {
        return vshlq_n_u64(a, k);
    }

    template <unsigned t>
    static F repeat(const double *p) {
        return vld1q_f64(p);
    }
    template <unsigned from, unsigned to>
    static void move(F &u, F &v) {
        const F x = u;
        u = vzip1q_f64(x, v), v = vzip2q_f64(x, v);
    }
};

}  // namespace

const RingKernels kNeonKernels = RingDriver<RingF64<NeonLanes>>::kernels("neon");

}  // namespace bs
#endif
