// Runs one set of ring kernels (-DKERNELS=..) on what comes in on standard input: for N, q and T from the command line,
// x u64 [N], small i32 [N], a u64 [T][N + 8], b u64 [T][2][N + 8]. Writes the forward transforms of x and of small, the
// inverse transform of x, and the two sums of products, u64 [5][N].
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "blindsight/ntt.hpp"

int main(int argc, char** argv) {
    if (argc != 4) return 2;
    const unsigned n = static_cast<unsigned>(std::atoi(argv[1])), terms = static_cast<unsigned>(std::atoi(argv[3]));
    const bs::NttTables& t = bs::ntt_tables(n, std::strtoull(argv[2], nullptr, 10));
    const bs::RingKernels& k = bs::KERNELS;
    const std::size_t row = bs::row_words(n), half = k.planes * row;
    std::vector<bs::u64> x(n), a(terms * row), b(terms * 2 * row), sums(2 * half), out(5 * n);
    std::vector<std::int32_t> small(n);
    const auto read = [](auto& v) { return std::fread(v.data(), sizeof v[0], v.size(), stdin) == v.size(); };
    if (!read(x) || !read(small) || !read(a) || !read(b)) return 3;
    k.forward(t, x.data(), out.data());
    k.forward_i32(t, small.data(), out.data() + n);
    k.inverse(t, x.data(), out.data() + 2 * n);
    std::vector<const bs::u64*> weights, ciphers;
    for (unsigned i = 0; i < terms; ++i) weights.push_back(&a[i * row]), ciphers.push_back(&b[2 * i * row]);
    k.mac2(n, row, sums.data(), true, weights.data(), ciphers.data(), row, 1);  // the rest is added to what is there
    k.mac2(n, row, sums.data(), false, weights.data() + 1, ciphers.data() + 1, row, terms - 1);
    for (unsigned p = 0; p < 2; ++p) k.settle(t, &sums[p * half], &out[(3 + p) * n]);
    return std::fwrite(out.data(), 8, out.size(), stdout) == out.size() ? 0 : 4;
}
