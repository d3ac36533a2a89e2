// Scratch memory and threads of the lattice kernels.
#pragma once
#include <algorithm>
#include <cstddef>
#include <thread>
#include <vector>

#include "blindsight/chacha.hpp"

namespace bs {

// A vector that is overwritten when it goes: for anything that depends on a secret.
template <class T>
class Scratch : public std::vector<T> {
  public:
    explicit Scratch(std::size_t n) : std::vector<T>(n) {}
    ~Scratch() { wipe(this->data(), this->size() * sizeof(T)); }
    Scratch(const Scratch &) = delete;
    Scratch &operator=(const Scratch &) = delete;
};

// run(begin, end) on contiguous parts of [0, count), on at most `threads` threads, this one among them.
template <class Run>
void in_parallel(std::size_t count, unsigned threads, const Run &run) {
    const std::size_t parts = std::min<std::size_t>(std::max(1u, threads), count);
    std::vector<std::jthread> others;
    for (std::size_t p = 1; p < parts; ++p)
        others.emplace_back([&run, p, parts, count] { run(count * p / parts, count * (p + 1) / parts); });
    if (parts != 0) run(0, count / parts);
}

}  // namespace bs
