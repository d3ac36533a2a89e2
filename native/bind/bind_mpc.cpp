// blindsight._native: kernels of the two-party protocols (blindsight.mpc).  Shapes are checked here, secrets never
// looked at.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <memory>
#include <stdexcept>
#include <string>

#include "blindsight/bitslice.hpp"

namespace nb = nanobind;
namespace bsl = bs::bitslice;

namespace {

using bsl::u32;
using bsl::u64;
template <class T, size_t D>
using In = nb::ndarray<const T, nb::ndim<D>, nb::c_contig, nb::device::cpu>;
using Rows = nb::ndarray<const u64, nb::ndim<2>, nb::device::cpu>;  // planes, perhaps a slice of wider rows
using Cube = nb::ndarray<const u64, nb::ndim<3>, nb::device::cpu>;
using Words = In<u64, 1>;
using Planes = In<u64, 2>;
using Ints = In<u32, 1>;
using PadPair = In<u32, 2>;

void need(bool ok, const char *what) {
    if (!ok) throw std::invalid_argument(what);
}

template <class T, size_t D>
nb::object array(const size_t (&shape)[D], T *&data) {
    size_t count = 1;
    for (size_t s : shape) count *= s;
    auto owner = std::unique_ptr<T[]>(new T[count ? count : 1]);
    data = owner.get();
    nb::capsule capsule(owner.get(), [](void *p) noexcept { delete[] static_cast<T *>(p); });
    owner.release();
    return nb::cast(nb::ndarray<nb::numpy, T>(data, D, shape, capsule));
}

void need_width(unsigned w) { need(w >= 1 && w <= 32, "a width is 1 to 32 bits"); }

nb::object slice_bits(Ints x, unsigned w) {
    need_width(w);
    const size_t n = x.shape(0);
    u64 *out;
    nb::object result = array<u64>({w, bsl::words(n)}, out);
    nb::gil_scoped_release release;
    bsl::slice(x.data(), n, w, out);
    return result;
}

nb::object unslice_bits(Planes planes, size_t n) {
    const auto w = static_cast<unsigned>(planes.shape(0));
    need_width(w);
    need(planes.shape(1) == bsl::words(n), "planes have words(n) words");
    u32 *out;
    nb::object result = array<u32>({n}, out);
    nb::gil_scoped_release release;
    bsl::unslice(planes.data(), n, w, out);
    return result;
}

nb::object truncate_bits(Ints x, u32 add, unsigned f, unsigned m) {
    need_width(m);
    need(f + m <= 32, "f + m is at most 32");
    const size_t n = x.shape(0);
    u32 *out;
    u64 *planes;
    nb::object ints = array<u32>({n}, out), bits = array<u64>({m, bsl::words(n)}, planes);
    {
        nb::gil_scoped_release release;
        bsl::truncate(x.data(), n, add, f, m, out, planes);
    }
    return nb::make_tuple(ints, bits);
}

nb::object leaf_messages(Planes digit, Planes correction, In<u64, 3> pads,
                         nb::ndarray<u64, nb::ndim<3>, nb::c_contig, nb::device::cpu> messages) {
    const auto k = static_cast<unsigned>(digit.shape(0)), w = static_cast<unsigned>(pads.shape(1));
    const size_t W = digit.shape(1);
    need(k >= 1 && k <= 4 && w >= 1 && w <= 2, "a leaf has 1 to 4 bits and messages of 1 or 2");
    need(correction.shape(0) == k && correction.shape(1) == W && pads.shape(0) == (1u << k) && pads.shape(2) == W,
         "correction [k,W], pads [2^k,w,W]");
    need(messages.shape(0) == (1u << k) - 1 && messages.shape(1) == w && messages.shape(2) == W,
         "messages [2^k-1,w,W]");
    u64 *share;
    nb::object result = array<u64>({w, W}, share);
    nb::gil_scoped_release release;
    bsl::leaf_messages(digit.data(), correction.data(), pads.data(), W, k, w, messages.data(), share);
    return result;
}

nb::object leaf_select(Planes digit, Planes pad, In<u64, 3> messages) {
    const auto k = static_cast<unsigned>(digit.shape(0)), w = static_cast<unsigned>(pad.shape(0));
    const size_t W = digit.shape(1);
    need(k >= 1 && k <= 4 && w >= 1 && w <= 2, "a leaf has 1 to 4 bits and messages of 1 or 2");
    need(pad.shape(1) == W && messages.shape(0) == (1u << k) - 1 && messages.shape(1) == w && messages.shape(2) == W,
         "pad [w,W], messages [2^k-1,w,W]");
    u64 *share;
    nb::object result = array<u64>({w, W}, share);
    nb::gil_scoped_release release;
    bsl::leaf_select(digit.data(), pad.data(), messages.data(), W, k, w, share);
    return result;
}

bsl::AndGate gate_of(const Words &a, const Cube &pads, const Rows &got, size_t W, unsigned w) {
    need(w >= 1 && w <= 32, "an AND gate has 1 to 32 bits");
    need(a.shape(0) == W && pads.shape(0) == 2 && pads.shape(1) == w && pads.shape(2) == W && got.shape(0) == w &&
             got.shape(1) == W,
         "AND gate: a [W], pads [2,w,W], got [w,W]");
    need(W == 1 || (pads.stride(2) == 1 && got.stride(1) == 1), "AND gate: the words of a plane lie side by side");
    need(pads.stride(0) >= 0 && pads.stride(1) >= 0 && got.stride(0) >= 0, "AND gate: no reversed axes");
    return {a.data(),
            pads.data(),
            got.data(),
            static_cast<size_t>(pads.stride(0)),
            static_cast<size_t>(pads.stride(1)),
            static_cast<size_t>(got.stride(0))};
}

nb::object and_open(Words x, Planes y, Words a, Cube pads, Rows got) {
    const size_t W = x.shape(0);
    const auto w = static_cast<unsigned>(y.shape(0));
    need(y.shape(1) == W, "y [w,W]");
    const bsl::AndGate gate = gate_of(a, pads, got, W, w);
    u64 *opening;
    nb::object result = array<u64>({1 + static_cast<size_t>(w), W}, opening);
    nb::gil_scoped_release release;
    bsl::and_open(x.data(), y.data(), gate, W, w, opening);
    return result;
}

nb::object and_combine(Planes mine, Planes theirs, Words a, Cube pads, Rows got, bool first) {
    const size_t W = mine.shape(1);
    need(mine.shape(0) >= 2 && theirs.shape(0) == mine.shape(0) && theirs.shape(1) == W, "openings [1+w,W]");
    const auto w = static_cast<unsigned>(mine.shape(0) - 1);
    const bsl::AndGate gate = gate_of(a, pads, got, W, w);
    u64 *out;
    nb::object result = array<u64>({w, W}, out);
    nb::gil_scoped_release release;
    bsl::and_combine(mine.data(), theirs.data(), gate, W, w, first, out);
    return result;
}

void need_ints(size_t n, const Ints &x, const PadPair *pads, const Words *bits, const Ints *got) {
    need(x.shape(0) == n && (!pads || (pads->shape(0) == 2 && pads->shape(1) == n)) &&
             (!bits || bits->shape(0) == bsl::words(n)) && (!got || got->shape(0) == n),
         "integers [n], pads [2,n], bits [words(n)]");
}

nb::object mux_offer(Words bit, Ints x, PadPair pads, Words choice, unsigned m) {
    need_width(m);
    const size_t n = x.shape(0), W = bsl::words(n);
    need_ints(n, x, &pads, &bit, nullptr);
    need(choice.shape(0) == W, "choice [words(n)]");
    u64 *offer;
    nb::object result = array<u64>({1 + static_cast<size_t>(m), W}, offer);
    nb::gil_scoped_release release;
    bsl::mux_offer(bit.data(), x.data(), pads.data(), choice.data(), n, m, offer);
    return result;
}

nb::object mux_finish(Planes mine, Planes theirs, Ints x, PadPair pads, Words choice, Ints got) {
    const size_t n = x.shape(0), W = bsl::words(n);
    need(mine.shape(0) >= 2 && mine.shape(1) == W && theirs.shape(0) == mine.shape(0) && theirs.shape(1) == W,
         "offers [1+m,W]");
    const auto m = static_cast<unsigned>(mine.shape(0) - 1);
    need_width(m);
    need_ints(n, x, &pads, &choice, &got);
    u32 *out;
    nb::object result = array<u32>({n}, out);
    nb::gil_scoped_release release;
    bsl::mux_finish(mine.data(), theirs.data(), x.data(), pads.data(), choice.data(), got.data(), n, m, out);
    return result;
}

nb::object product_offer(Ints u, PadPair pads, unsigned w) {
    need_width(w);
    const size_t n = u.shape(0);
    need_ints(n, u, &pads, nullptr, nullptr);
    u64 *planes;
    nb::object result = array<u64>({w, bsl::words(n)}, planes);
    nb::gil_scoped_release release;
    bsl::product_offer(u.data(), pads.data(), n, w, planes);
    return result;
}

nb::object product_sender(Words t, Ints u, PadPair pads, unsigned w) {
    need_width(w);
    const size_t n = u.shape(0);
    need_ints(n, u, &pads, &t, nullptr);
    u32 *out;
    nb::object result = array<u32>({n}, out);
    nb::gil_scoped_release release;
    bsl::product_sender(t.data(), u.data(), pads.data(), n, w, out);
    return result;
}

nb::object product_receiver(Words t, Planes planes, Words choice, Ints got) {
    const size_t n = got.shape(0), W = bsl::words(n);
    const auto w = static_cast<unsigned>(planes.shape(0));
    need_width(w);
    need(planes.shape(1) == W && choice.shape(0) == W && t.shape(0) == W, "planes [w,W], choice [W], t [W]");
    u32 *out;
    nb::object result = array<u32>({n}, out);
    nb::gil_scoped_release release;
    bsl::product_receiver(t.data(), planes.data(), choice.data(), got.data(), n, w, out);
    return result;
}

nb::object lut_messages(In<std::int32_t, 1> base, In<std::int32_t, 1> slope, unsigned shift, Ints turn, Ints low,
                        Ints correction, PadPair pads, unsigned w) {
    need_width(w);
    const size_t J = base.shape(0), n = turn.shape(0), W = bsl::words(n);
    unsigned k = 1;
    while (k < 8 && (size_t{1} << k) < J) ++k;
    need((size_t{1} << k) == J && slope.shape(0) == J && shift >= 1 && shift <= 30,
         "tables of 2^k entries, k from 1 to 8, shift from 1 to 30");
    need(low.shape(0) == n && correction.shape(0) == n && pads.shape(0) == J && pads.shape(1) == n,
         "integers [n], pads [2^k,n]");
    u64 *messages;
    u32 *share;
    nb::object out = array<u64>({(J - 1) * w, W}, messages), own = array<u32>({n}, share);
    {
        nb::gil_scoped_release release;
        bsl::lut_messages({base.data(), slope.data(), shift}, turn.data(), low.data(), correction.data(), pads.data(),
                          n, k, w, messages, share);
    }
    return nb::make_tuple(out, own);
}

nb::object lut_select(Planes index, Planes messages, unsigned w) {
    need_width(w);
    const auto k = static_cast<unsigned>(index.shape(0));
    const size_t W = index.shape(1);
    need(k >= 1 && k <= 8 && messages.shape(0) == ((size_t{1} << k) - 1) * w && messages.shape(1) == W,
         "index [k,W], k from 1 to 8, messages [(2^k-1)*w,W]");
    u64 *planes;
    nb::object result = array<u64>({w, W}, planes);
    nb::gil_scoped_release release;
    bsl::lut_select(index.data(), messages.data(), W, k, w, planes);
    return result;
}

}  // namespace

void bind_mpc(nb::module_ &m) {
    const auto array = [](const char *name) {
        return nb::arg(name).noconvert();
    };  // a copy made behind the caller's back is a mistake
    m.def("slice_bits", &slice_bits, array("x"), nb::arg("w"), "Planes uint64[w, W] of the low w bits of uint32[n].");
    m.def("unslice_bits", &unslice_bits, array("planes"), nb::arg("n"), "uint32[n] from planes uint64[w, W].");
    m.def("truncate_bits", &truncate_bits, array("x"), nb::arg("add"), nb::arg("f"), nb::arg("m"),
          "Low m bits of (x + add) >> f: (uint32[n], planes uint64[m, W]).");
    m.def("leaf_messages", &leaf_messages, array("digit"), array("correction"), array("pads"), array("messages"),
          "Fills a comparison leaf's messages [2^k-1, w, W]; returns the sender's share [w, W].");
    m.def("leaf_select", &leaf_select, array("digit"), array("pad"), array("messages"),
          "The receiver's share [w, W] of a comparison leaf.");
    m.def("and_open", &and_open, array("x"), array("y"), array("a"), array("pads"), array("got"),
          "Beaver opening [1+w, W] of x & y, x [W], y [w, W].");
    m.def("and_combine", &and_combine, array("mine"), array("theirs"), array("a"), array("pads"), array("got"),
          nb::arg("first"), "This party's share [w, W] of x & y from both openings.");
    m.def("mux_offer", &mux_offer, array("bit"), array("x"), array("pads"), array("choice"), nb::arg("m"),
          "The multiplexer's message [1+m, W].");
    m.def("mux_finish", &mux_finish, array("mine"), array("theirs"), array("x"), array("pads"), array("choice"),
          array("got"), "This party's share uint32[n] of bit * x mod 2^m from both messages.");
    m.def("product_offer", &product_offer, array("u"), array("pads"), nb::arg("w"),
          "Planes [w, W] of pads0 + u - pads1.");
    m.def("product_sender", &product_sender, array("t"), array("u"), array("pads"), nb::arg("w"),
          "The sender's share uint32[n] of u * bit.");
    m.def("product_receiver", &product_receiver, array("t"), array("planes"), array("choice"), array("got"),
          "The receiver's share uint32[n] of u * bit.");
    m.def("lut_messages", &lut_messages, array("base"), array("slope"), nb::arg("shift"), array("turn"), array("low"),
          array("correction"), array("pads"), nb::arg("w"),
          "A look-up's messages [(2^k-1)*w, W] and the sender's share uint32[n].");
    m.def("lut_select", &lut_select, array("index"), array("messages"), nb::arg("w"),
          "Planes [w, W] of the message at a secret index.");
}
