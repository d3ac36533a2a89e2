// Ring and linear-layer encryption for Python.  Arrays cross without copies; the GIL is released while kernels run.
// The callers in blindsight.he check ranges; here every length is checked against the ring.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <stdexcept>
#include <string>

#include "blindsight/bits.hpp"
#include "blindsight/ntt.hpp"
#include "blindsight/rlwe.hpp"
#include "blindsight/rlwe_sample.hpp"

namespace nb = nanobind;
using namespace nb::literals;
using bs::LinearRing, bs::Purpose, bs::u64;

namespace {

template <class T>
using In = nb::ndarray<const T, nb::c_contig, nb::device::cpu>;
template <class T>
using Out = nb::ndarray<T, nb::c_contig, nb::device::cpu>;

void need(bool holds, const char *what) {
    if (!holds) throw std::invalid_argument(what);
}

const std::uint8_t *seed32(const nb::bytes &seed) {
    need(seed.size() == 32, "a seed has 32 bytes");
    return reinterpret_cast<const std::uint8_t *>(seed.data());
}

void within(const In<std::int32_t> &indices, std::int64_t low, std::size_t end, const char *what) {
    for (std::size_t i = 0; i < indices.size(); ++i)
        if (indices.data()[i] < low || indices.data()[i] >= static_cast<std::int64_t>(end))
            throw std::out_of_range(what);
}

bs::Weights dense(const LinearRing &ring, const In<std::int32_t> &weights) {
    need(weights.ndim() == 3 && weights.shape(2) == ring.n(), "weights are int32 [answers, uses, N]");
    return {.answers = weights.shape(0), .uses = weights.shape(1), .dense = weights.data()};
}

bs::Weights scattered(const LinearRing &ring, const In<std::int32_t> &positions, const In<std::int32_t> &values) {
    need(positions.ndim() == 2 && values.ndim() == 3 && values.shape(1) == positions.shape(0) &&
             values.shape(2) == positions.shape(1),
         "positions are int32 [uses, P], values int32 [answers, uses, P]");
    within(positions, -1, ring.n(), "a weight's position lies outside the polynomial");
    return {.answers = values.shape(0),
            .uses = values.shape(1),
            .positions = positions.data(),
            .values = values.data(),
            .taps = values.shape(2)};
}

bs::Weights prepared(const LinearRing &ring, const In<u64> &weights) {
    need(weights.ndim() == 4 && weights.shape(2) == ring.primes() && weights.shape(3) == ring.row(),
         "prepared weights are uint64 [answers, uses, primes, row]");
    return {.answers = weights.shape(0), .uses = weights.shape(1), .prepared = weights.data()};
}

// Lists of coefficients end to end and which of them each answer has.
bs::Listed listing(const LinearRing &ring, const In<std::int32_t> &coefficients, const In<u64> &first,
                   const In<u64> &count) {
    within(coefficients, 0, ring.n(), "a listed coefficient lies outside the polynomial");
    need(first.size() == count.size(), "a first and a count for each answer");
    for (std::size_t i = 0; i < first.size(); ++i)
        need(count.data()[i] <= ring.n() && first.data()[i] <= coefficients.size() &&
                 count.data()[i] <= coefficients.size() - first.data()[i],
             "an answer's list lies within the listed coefficients");
    return {
        coefficients.data(), {first.data(), first.data() + first.size()}, {count.data(), count.data() + count.size()}};
}

void room(const LinearRing &ring, const bs::Listed &listed, std::size_t answers, std::size_t shares) {
    std::size_t bytes = 0, total = 0;
    for (std::size_t c : listed.count) bytes += ring.answer_bytes(c), total += c;
    need(answers == bytes && shares == total, "answers and shares of the length that the listed coefficients say");
}

void answer(const LinearRing &ring, const In<u64> &key, const In<u64> &ciphers, const In<std::int32_t> &uses,
            const bs::Weights &weights, const bs::Listed &listed, const nb::bytes &seed,
            const Out<std::uint8_t> &answers, const Out<std::uint32_t> &shares, unsigned threads) {
    need(key.size() == 2 * ring.padded_words(), "the public key is uint64 [2, primes, row]");
    need(ciphers.ndim() == 4 && ciphers.shape(1) == 2 && ciphers.shape(2) == ring.primes() &&
             ciphers.shape(3) == ring.row(),
         "ciphers are uint64 [K, 2, primes, row]");
    need(uses.ndim() == 2 && uses.shape(1) == weights.uses, "uses are int32 [sets, uses]");
    need(weights.uses < bs::kMaxTerms, "at most 4095 polynomials go into one answer");
    need(listed.count.size() == uses.shape(0) * weights.answers, "one list for each answer of each set");
    within(uses, 0, ciphers.shape(0), "an input polynomial that is used does not exist");
    room(ring, listed, answers.size(), shares.size());
    const std::uint8_t *s = seed32(seed);
    const nb::gil_scoped_release release;
    ring.answer(key.data(), ciphers.data(), uses.data(), uses.shape(0), weights, listed, s, answers.data(),
                shares.data(), threads);
}

void bind_ring(nb::module_ &m) {
    nb::class_<LinearRing>(
        m, "LinearRing", "Kernels of one linear-layer ring; see blindsight.he.linear and blindsight.he.secret.linear.")
        .def(nb::init<unsigned, const std::vector<u64> &, unsigned, unsigned, unsigned>(), "n"_a, "primes"_a,
             "c0_bits"_a, "c1_bits"_a, "b_bits"_a = 0)
        .def_prop_ro("n", &LinearRing::n)
        .def_prop_ro("primes", &LinearRing::primes)
        .def_prop_ro("row", &LinearRing::row, "words from one row of residues to the next: N and a few that are unused")
        .def_prop_ro("poly_bytes", &LinearRing::poly_bytes, "bytes of an exact polynomial")
        .def_prop_ro("mask_bytes", &LinearRing::mask_bytes, "bytes of b of an encryption")
        .def("answer_bytes", &LinearRing::answer_bytes, "listed"_a,
             "bytes of an answer with that many listed coefficients")
        .def(
            "make_secret",
            [](const LinearRing &r, const nb::bytes &seed, Out<u64> out) {
                need(out.size() == r.poly_words(), "the secret is uint64 [primes, N]");
                r.make_secret(seed32(seed), out.data());
            },
            "seed"_a, "out"_a)
        .def(
            "make_public",
            [](const LinearRing &r, In<u64> secret, const nb::bytes &a_seed, const nb::bytes &error_seed,
               Out<std::uint8_t> out) {
                need(secret.size() == r.poly_words() && out.size() == r.poly_bytes(),
                     "the secret is uint64 [primes, N]");
                r.make_public(secret.data(), seed32(a_seed), seed32(error_seed), out.data());
            },
            "secret"_a, "a_seed"_a, "error_seed"_a, "out"_a)
        .def(
            "encrypt",
            [](const LinearRing &r, In<u64> secret, const nb::bytes &public_seed, const nb::bytes &error_seed,
               In<std::int32_t> masks, Out<std::uint8_t> out, unsigned threads) {
                need(secret.size() == r.poly_words(), "the secret is uint64 [primes, N]");
                need(masks.ndim() == 2 && masks.shape(1) == r.n() && out.size() == masks.shape(0) * r.mask_bytes(),
                     "r is int32 [K, N]");
                const std::uint8_t *a = seed32(public_seed), *e = seed32(error_seed);
                const nb::gil_scoped_release release;
                r.encrypt(secret.data(), a, e, masks.data(), masks.shape(0), out.data(), threads);
            },
            "secret"_a, "public_seed"_a, "error_seed"_a, "r"_a, "out"_a, "threads"_a)
        .def(
            "open",
            [](const LinearRing &r, In<u64> secret, In<std::uint8_t> answers, In<std::int32_t> coefficients,
               In<u64> first, In<u64> count, Out<std::uint32_t> out, unsigned threads) {
                need(secret.size() == r.poly_words(), "the secret is uint64 [primes, N]");
                const bs::Listed listed = listing(r, coefficients, first, count);
                room(r, listed, answers.size(), out.size());
                const nb::gil_scoped_release release;
                r.open(secret.data(), answers.data(), listed, out.data(), threads);
            },
            "secret"_a, "answers"_a, "coefficients"_a, "first"_a, "count"_a, "out"_a, "threads"_a)
        .def(
            "load",
            [](const LinearRing &r, const nb::bytes &public_seed, In<std::uint8_t> packed, bool key, Out<u64> out,
               unsigned threads) {
                const std::size_t each = key ? r.poly_bytes() : r.mask_bytes(), count = packed.size() / each;
                need(packed.size() == count * each && out.size() == 2 * count * r.padded_words(),
                     "whole packed polynomials");
                const std::uint8_t *s = seed32(public_seed);
                bool good;
                {
                    const nb::gil_scoped_release release;
                    good = r.load(s, packed.data(), count, key ? Purpose::kKeyUniform : Purpose::kUniform, out.data(),
                                  threads);
                }
                if (!good) throw nb::value_error("an encrypted polynomial holds numbers outside its ring");
            },
            "public_seed"_a, "packed"_a, "key"_a, "out"_a, "threads"_a)
        .def(
            "prepare",
            [](const LinearRing &r, In<std::int32_t> weights, Out<u64> out, unsigned threads) {
                const bs::Weights w = dense(r, weights);
                need(out.size() == w.answers * w.uses * r.padded_words(), "room for the prepared weights");
                const nb::gil_scoped_release release;
                r.prepare(w, out.data(), threads);
            },
            "weights"_a, "out"_a, "threads"_a)
        .def(
            "prepare_scattered",
            [](const LinearRing &r, In<std::int32_t> positions, In<std::int32_t> values, Out<u64> out,
               unsigned threads) {
                const bs::Weights w = scattered(r, positions, values);
                need(out.size() == w.answers * w.uses * r.padded_words(), "room for the prepared weights");
                const nb::gil_scoped_release release;
                r.prepare(w, out.data(), threads);
            },
            "positions"_a, "values"_a, "out"_a, "threads"_a)
        .def(
            "answer",
            [](const LinearRing &r, In<u64> key, In<u64> ciphers, In<std::int32_t> uses, In<std::int32_t> weights,
               In<std::int32_t> coefficients, In<u64> first, In<u64> count, const nb::bytes &seed,
               Out<std::uint8_t> answers, Out<std::uint32_t> shares, unsigned threads) {
                answer(r, key, ciphers, uses, dense(r, weights), listing(r, coefficients, first, count), seed, answers,
                       shares, threads);
            },
            "key"_a, "ciphers"_a, "uses"_a, "weights"_a, "coefficients"_a, "first"_a, "count"_a, "seed"_a, "answers"_a,
            "shares"_a, "threads"_a)
        .def(
            "answer_scattered",
            [](const LinearRing &r, In<u64> key, In<u64> ciphers, In<std::int32_t> uses, In<std::int32_t> positions,
               In<std::int32_t> values, In<std::int32_t> coefficients, In<u64> first, In<u64> count,
               const nb::bytes &seed, Out<std::uint8_t> answers, Out<std::uint32_t> shares, unsigned threads) {
                answer(r, key, ciphers, uses, scattered(r, positions, values), listing(r, coefficients, first, count),
                       seed, answers, shares, threads);
            },
            "key"_a, "ciphers"_a, "uses"_a, "positions"_a, "values"_a, "coefficients"_a, "first"_a, "count"_a, "seed"_a,
            "answers"_a, "shares"_a, "threads"_a)
        .def(
            "answer_prepared",
            [](const LinearRing &r, In<u64> key, In<u64> ciphers, In<std::int32_t> uses, In<u64> weights,
               In<std::int32_t> coefficients, In<u64> first, In<u64> count, const nb::bytes &seed,
               Out<std::uint8_t> answers, Out<std::uint32_t> shares, unsigned threads) {
                answer(r, key, ciphers, uses, prepared(r, weights), listing(r, coefficients, first, count), seed,
                       answers, shares, threads);
            },
            "key"_a, "ciphers"_a, "uses"_a, "weights"_a, "coefficients"_a, "first"_a, "count"_a, "seed"_a, "answers"_a,
            "shares"_a, "threads"_a);
}

template <class T, class Run>
void rows(unsigned n, const In<T> &in, const Out<u64> &out, const Run &run) {
    need(in.ndim() >= 1 && in.shape(in.ndim() - 1) == n && out.size() == in.size(),
         "rows of N coefficients in and out");
    const nb::gil_scoped_release release;
    for (std::size_t i = 0; i < in.size(); i += n) run(in.data() + i, out.data() + i);
}

void bind_ntt(nb::module_ &m) {
    m.def(
        "ring_isa", [] { return std::string(bs::ring_kernels().name); },
        "The ring kernels in use: portable, avx2, avx512 or neon.");
    m.def(
        "ntt_root", [](unsigned n, u64 q) { return bs::ntt_tables(n, q).psi; }, "n"_a, "q"_a,
        "The smallest primitive 2n-th root of unity mod q.");
    m.def(
        "ntt_forward",
        [](unsigned n, u64 q, In<u64> in, Out<u64> out) {
            const bs::NttTables &t = bs::ntt_tables(n, q);
            rows(n, in, out, [&](const u64 *x, u64 *y) { bs::ring_kernels().forward(t, x, y); });
        },
        "n"_a, "q"_a, "x"_a, "out"_a, "Transforms uint64 [.., N] of residues below q, row by row.");
    m.def(
        "ntt_forward_signed",
        [](unsigned n, u64 q, In<std::int32_t> in, Out<u64> out) {
            const bs::NttTables &t = bs::ntt_tables(n, q);
            rows(n, in, out, [&](const std::int32_t *x, u64 *y) { bs::ring_kernels().forward_i32(t, x, y); });
        },
        "n"_a, "q"_a, "x"_a, "out"_a, "The same from int32 coefficients below q in magnitude.");
    m.def(
        "ntt_inverse",
        [](unsigned n, u64 q, In<u64> in, Out<u64> out) {
            const bs::NttTables &t = bs::ntt_tables(n, q);
            rows(n, in, out, [&](const u64 *x, u64 *y) { bs::ring_kernels().inverse(t, x, y); });
        },
        "n"_a, "q"_a, "x"_a, "out"_a, "Undoes ntt_forward.");
    m.def(
        "ntt_sum_products",
        [](unsigned n, u64 q, In<u64> a, In<u64> b, Out<u64> out) {
            const bool pairs = b.ndim() == 3;
            const std::size_t polys = pairs ? 2 : 1;
            need(a.ndim() == 2 && a.shape(1) >= n && b.ndim() >= 2 && b.shape(0) == a.shape(0) &&
                     b.size() == polys * a.size() && out.size() == polys * n,
                 "a is uint64 [terms, row], b [terms, row] or [terms, 2, row], rows of N residues or more, out [N] or "
                 "[2, N]");
            need(!pairs || b.shape(1) == 2, "b is [terms, 2, row]");
            need(a.shape(0) >= 1 && a.shape(0) <= bs::kMaxTerms, "1 to 4096 terms");
            const bs::NttTables &t = bs::ntt_tables(n, q);
            const bs::RingKernels &k = bs::ring_kernels();
            const std::size_t row = a.shape(1), half = k.planes * bs::row_words(n);
            std::vector<const u64 *> x, y;
            for (std::size_t i = 0; i < a.shape(0); ++i)
                x.push_back(a.data() + i * row), y.push_back(b.data() + i * polys * row);
            std::vector<u64> sums(polys * half);
            const nb::gil_scoped_release release;
            if (pairs)
                k.mac2(n, bs::row_words(n), sums.data(), true, x.data(), y.data(), row, x.size());
            else
                k.mac1(n, bs::row_words(n), sums.data(), true, x.data(), y.data(), x.size());
            for (std::size_t p = 0; p < polys; ++p) k.settle(t, sums.data() + p * half, out.data() + p * n);
        },
        "n"_a, "q"_a, "a"_a, "b"_a, "out"_a,
        "Sums over k of a[k] * b[k] (or b[k, 0] and b[k, 1]), entry by entry, with one reduction.");
}

void bind_samplers(nb::module_ &m) {
    m.def(
        "keystream",
        [](const nb::bytes &seed, std::uint32_t purpose, std::uint32_t index, std::uint32_t part,
           Out<std::uint8_t> out) { bs::Stream(seed32(seed), purpose, index, part).read(out.data(), out.size()); },
        "seed"_a, "purpose"_a, "index"_a, "part"_a, "out"_a,
        "Fills out with Stream(seed, purpose, index, part): ChaCha20.");
    m.def(
        "sample_ternary",
        [](const nb::bytes &seed, std::uint32_t purpose, std::uint32_t index, Out<std::int32_t> out) {
            need(out.size() % 8 == 0, "a multiple of 8 values");
            bs::Stream stream(seed32(seed), purpose, index);
            bs::sample_ternary(stream, out.data(), out.size());
        },
        "seed"_a, "purpose"_a, "index"_a, "out"_a);
    m.def(
        "sample_error",
        [](const nb::bytes &seed, std::uint32_t purpose, std::uint32_t index, Out<std::int32_t> out) {
            need(out.size() % 32 == 0, "a multiple of 32 values");
            bs::Stream stream(seed32(seed), purpose, index);
            bs::sample_error(stream, out.data(), out.size());
        },
        "seed"_a, "purpose"_a, "index"_a, "out"_a);
    m.def(
        "sample_uniform",
        [](const nb::bytes &seed, std::uint32_t purpose, std::uint32_t index, std::uint32_t part, u64 q, Out<u64> out) {
            need(q >= 2 && q >> 50 == 0, "a modulus below 2^50");
            bs::Stream stream(seed32(seed), purpose, index, part);
            bs::sample_uniform(q, stream, out.data(), out.size());
        },
        "seed"_a, "purpose"_a, "index"_a, "part"_a, "q"_a, "out"_a);
    m.def(
        "pack_bits",
        [](In<u64> values, unsigned width, Out<std::uint8_t> out) {
            need(width >= 1 && width <= 64 && out.size() == bs::packed_bytes(values.size(), width),
                 "width 1 to 64 and room for the packed values");
            bs::BitWriter writer(out.data());
            for (std::size_t i = 0; i < values.size(); ++i) writer.put(values.data()[i], width);
            writer.finish();
        },
        "values"_a, "width"_a, "out"_a, "Packs values below 2^width into a little-endian bit stream.");
    m.def(
        "unpack_bits",
        [](In<std::uint8_t> packed, unsigned width, Out<u64> out) {
            need(width >= 1 && width <= 64 && packed.size() == bs::packed_bytes(out.size(), width),
                 "width 1 to 64 and as many packed bytes as values need");
            bs::BitReader reader(packed.data(), packed.size());
            for (std::size_t i = 0; i < out.size(); ++i) out.data()[i] = static_cast<u64>(reader.get(width));
        },
        "packed"_a, "width"_a, "out"_a, "Undoes pack_bits.");
}

}  // namespace

void bind_he(nb::module_ &m) {
    bind_ntt(m);
    bind_samplers(m);
    bind_ring(m);
}
