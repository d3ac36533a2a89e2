// libFuzzer harness of the lattice messages between the servers: encryptions and public keys as the evaluator loads
// them, answers as the key's owner opens them. Buffers are exactly as large as the interface says, so that
// AddressSanitizer sees a step too far; residues out of range must be refused, not computed on.
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "blindsight/rlwe.hpp"

namespace {

using bs::LinearRing;
using bs::u64;

// One or two primes, b exact or rounded to its top bits.
const LinearRing &ring(unsigned which) {
    static const LinearRing rings[] = {
        LinearRing(2048, {1125844072267777}, 32, 38),
        LinearRing(4096, {1125899906826241, 1125852930654209}, 40, 48),
        LinearRing(2048, {1125844072267777}, 32, 38, 36),
        LinearRing(4096, {1125899906826241, 1125852930654209}, 40, 48, 44),
    };
    return rings[which % 4];
}

// `size` bytes on the heap, the input repeated: no more, no less.
std::unique_ptr<std::uint8_t[]> exactly(const std::uint8_t *data, std::size_t have, std::size_t size) {
    auto out = std::make_unique<std::uint8_t[]>(size);
    for (std::size_t i = 0; i < size; i++) out[i] = have ? data[i % have] : 0;
    return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
    if (size < 40) return 0;
    const LinearRing &r = ring(data[0]);
    const auto seed = exactly(data + 8, 32, 32);
    const auto *body = data + 40;
    const std::size_t have = size - 40, count = 1 + (data[0] >> 2 & 1);
    if (data[1] & 1) {
        const auto packed = exactly(body, have, count * r.mask_bytes());
        std::vector<u64> out(count * 2 * r.padded_words());
        const bool ok = r.load(seed.get(), packed.get(), count, bs::Purpose::kUniform, out.data(), 1);
        if (ok) {
            for (std::size_t k = 0; k < count * 2 * r.primes(); k++) {
                for (unsigned i = 0; i < r.n(); i++) {
                    if (out[k * r.row() + i] >> 51) std::abort();  // not a residue of a 50-bit prime
                }
            }
        }
        return 0;
    }
    std::vector<std::int32_t> listed;
    for (std::size_t i = 0; i <= data[2] % 16; i++) {
        const unsigned at = (data[3 + i % 5] | i << 8) % r.n();
        if (listed.empty() || static_cast<unsigned>(listed.back()) < at)
            listed.push_back(static_cast<std::int32_t>(at));
    }
    std::vector<u64> secret(r.padded_words());
    r.make_secret(seed.get(), secret.data());
    const auto answer = exactly(body, have, r.answer_bytes(listed.size()));
    std::vector<std::uint32_t> out(listed.size());
    bs::Listed places{listed.data(), {0}, {listed.size()}};
    r.open(secret.data(), answer.get(), places, out.data(), 1);
    return 0;
}
