// Every OT kernel of this architecture gives the bytes of the portable one.  Run by tests/unit/test_ot_kernels.py, for
// ARM under qemu.
#include <cstdio>
#include <vector>

#include "blindsight/ot_kernels.hpp"

using namespace bs;

namespace {

using Bytes = std::vector<std::uint8_t>;

template <class T>
void append(Bytes &out, const std::vector<T> &v) {
    const auto *p = reinterpret_cast<const std::uint8_t *>(v.data());
    out.insert(out.end(), p, p + v.size() * sizeof(T));
}

std::vector<Column> filled(std::size_t n) {
    std::vector<Column> v(n);
    auto *p = reinterpret_cast<std::uint8_t *>(v.data());
    for (std::size_t i = 0; i < 32 * n; ++i)
        p[i] = static_cast<std::uint8_t>(i * 31 + (i >> 5) * (i >> 5) * 5 + (i >> 11));
    return v;
}

Bytes groups(const OtKernels &k) {
    Bytes out;
    std::vector<AesKey> keys;
    std::uint8_t key[16] = {1, 2, 3};
    for (int i = 0; i < 256; ++i) key[5] = static_cast<std::uint8_t>(i), keys.push_back(expand_key(key));
    std::vector<Column> rows(128 * 33), u(32);
    for (unsigned ext : {1u, 2u, 4u, 8u}) {
        k.receiver_group(ext, keys.data(), 5, 4, &u[0].v, &rows[0].v, 33);
        k.sender_group(ext, keys.data(), 9, 4, &rows[33].v, 33);
        append(out, rows), append(out, u);
    }
    return out;
}

Bytes pads(const OtKernels &k, const AesKey &s) {
    Bytes out;
    const std::vector<Column> rows = filled(128 * 33), u = filled(64);
    const std::uint8_t delta[16] = {9, 8, 7};
    for (bool ints : {false, true}) {
        for (unsigned pad_k : {1u, 3u, 4u}) {
            Bytes sent(16 * 4 * 704), got(4 * 704), choice(4 * 704);
            PadArray a{ints, pad_k, 5, 700, sent.data(), nullptr};
            std::vector<Column> tiles(128 * pad_k);
            Bytes scratch(a.scratch_bytes(1u << pad_k));
            k.sender_tiles(s, delta, &rows[0].v, 33, 77, 3, a, 0, &tiles[0].v, scratch.data());
            a.pads = got.data(), a.choice = choice.data();
            k.receiver_tiles(s, &u[0].v, &rows[0].v, 33, 77, 3, a, 0, &tiles[0].v, scratch.data());
            append(out, sent), append(out, got), append(out, choice);
            const auto *strings = reinterpret_cast<const std::uint8_t *>(rows.data());
            const std::uint8_t *column[4] = {strings, strings + 4096, strings + 8192, strings + 12288};
            k.receiver_columns(s, column, 99, a, 1, &tiles[0].v, scratch.data());
            a.pads = sent.data();
            k.sender_columns(s, delta, column, 99, a, 1, &tiles[0].v, scratch.data());
            append(out, sent), append(out, got), append(out, choice);
        }
    }
    return out;
}

Bytes silent(const OtKernels &k, const AesKey &s) {
    Bytes out, sums(16 * 11), strings(16 * 256 * 3);
    std::vector<Column> leaf(1024);
    const std::vector<Column> table = filled(500), rows = filled(128 * 33), u = filled(32);
    const std::uint8_t seed[16] = {5}, delta[16] = {7, 7};
    k.sender_tree(s, seed, delta, 11, &leaf[0].v, sums.data());
    append(out, leaf), append(out, sums);
    k.receiver_tree(s, sums.data(), 0x2A7, 11, &leaf[0].v);
    append(out, leaf);
    k.lpn_encode(s, reinterpret_cast<const std::uint8_t *>(table.data()), 1000, 64, 2048,
                 reinterpret_cast<std::uint8_t *>(leaf.data()));
    append(out, leaf);
    k.raw_tiles(&rows[0].v, 33, &u[0].v, 3, strings.data());
    append(out, strings);
    return out;
}

Bytes all(const OtKernels &k) {
    const std::uint8_t key[16] = {3, 1, 4, 1, 5};
    const AesKey s = expand_key(key);
    Bytes out(16 * 21), more;
    k.encrypt(s, out.data(), out.data(), 21);
    for (const Bytes &b : {groups(k), pads(k, s), silent(k, s)}) append(out, b);
    return out;
}

}  // namespace

int main() {
    const Bytes expected = all(ot_portable);
#if defined(__aarch64__)
    const std::vector<const OtKernels *> others = {&ot_armv8};
#else
    const std::vector<const OtKernels *> others = {&ot_kernels()};
#endif
    for (const OtKernels *k : others)
        if (all(*k) != expected) return std::puts("a kernel differs from the portable one"), 1;
    std::printf("%zu bytes the same\n", expected.size());
}
