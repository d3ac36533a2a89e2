#include <map>
#include <mutex>
#include <stdexcept>
#include <string>

#include "blindsight/ntt.hpp"

namespace bs {
namespace {

unsigned reversed(unsigned i, unsigned bits) noexcept {
    unsigned r = 0;
    for (unsigned b = 0; b < bits; ++b) r |= ((i >> b) & 1) << (bits - 1 - b);
    return r;
}

// The smallest element of order exactly 2n; 0 when there is none (q not prime).
u64 smallest_root(const Modulus &m, unsigned n) {
    u64 psi = 0;
    for (u64 g = 2; g < 1000 && psi == 0; ++g) {
        const u64 candidate = m.pow(g, (m.q - 1) / (2 * n));
        if (m.pow(candidate, n) == m.q - 1) psi = candidate;
    }
    if (psi == 0) return 0;
    const u64 step = m.mul(psi, psi);
    u64 best = psi, power = psi;
    for (unsigned i = 1; i < n; ++i) {
        power = m.mul(power, step);
        if (power < best) best = power;
    }
    return best;
}

}  // namespace

NttTables::NttTables(unsigned n_, u64 q) : n(n_), log_n(0), modulus{q} {
    if (n < 64 || n > 4096 || (n & (n - 1)) != 0)
        throw std::invalid_argument("ring degree " + std::to_string(n) + ": a power of two in 64 .. 4096 is needed");
    if (q >> 50 != 0 || q >> 20 == 0 || (q - 1) % (2 * n) != 0)
        throw std::invalid_argument("modulus " + std::to_string(q) + ": a prime of 21 to 50 bits, 1 mod " +
                                    std::to_string(2 * n) + ", is needed");
    while ((1u << log_n) < n) ++log_n;
    psi = smallest_root(modulus, n);
    if (psi == 0) throw std::invalid_argument("modulus " + std::to_string(q) + " is not prime");
    n_inverse = modulus.inverse(n);

    const u64 psi_inverse = modulus.inverse(psi);
    const auto fill = [&](u64 root, std::vector<u64> &integers, std::vector<u64> &quotients,
                          std::vector<double> &centred, std::vector<double> &ratios) {
        integers.resize(n), quotients.resize(n), centred.resize(n), ratios.resize(n);
        u64 power = 1;
        for (unsigned e = 0; e < n; ++e, power = modulus.mul(power, root)) {
            const unsigned i = reversed(e, log_n);
            integers[i] = power;
            quotients[i] = static_cast<u64>((u128{power} << 52) / q);
            centred[i] = static_cast<double>(static_cast<std::int64_t>(power > q / 2 ? power - q : power));
            ratios[i] = centred[i] / static_cast<double>(q);
        }
    };
    fill(psi, w, w52, wd, wq);
    fill(psi_inverse, iw, iw52, iwd, iwq);
}

const NttTables &ntt_tables(unsigned n, u64 q) {
    static std::mutex lock;
    static std::map<std::pair<unsigned, u64>, std::unique_ptr<NttTables>> made;
    const std::lock_guard guard(lock);
    auto &slot = made[{n, q}];
    if (!slot) slot = std::make_unique<NttTables>(n, q);
    return *slot;
}

}  // namespace bs
