// AES and OT extension for Python.  Arrays are checked here, once, and used in place; the GIL is released while the
// kernels run.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include <stdexcept>
#include <string>

#include "blindsight/aes.hpp"
#include "blindsight/chacha.hpp"  // wipe
#include "blindsight/cpu.hpp"
#include "blindsight/ferret.hpp"
#include "blindsight/softspoken.hpp"

namespace nb = nanobind;
using nb::literals::operator""_a;

namespace {

using Bytes = nb::ndarray<const std::uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using BytesOut = nb::ndarray<std::uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Array = nb::ndarray<nb::c_contig, nb::device::cpu>;

void expect(std::size_t got, std::size_t want, const char* what) {
    if (got != want)
        throw std::invalid_argument(std::string(what) + " holds " + std::to_string(got) + " bytes, not " +
                                    std::to_string(want));
}

std::size_t tile_pairs(std::size_t n) { return (n + bs::PAIR - 1) / bs::PAIR; }

bs::PadArray pad_array(const std::string& kind, unsigned k, unsigned w, std::size_t n, Array& pads, bool sender) {
    const bool ints = kind == "ints";
    if (!ints && kind != "bits") throw std::invalid_argument("kind is bits or ints, not " + kind);
    if (k < 1 || k > bs::MAX_K || w < 1 || w > 32 || n < 1 || n > std::size_t{1} << 40)
        throw std::invalid_argument("k is 1..8, w 1..32, n at least 1");
    bs::PadArray a{ints, k, w, n, static_cast<std::uint8_t*>(pads.data()), nullptr};
    expect(pads.nbytes(), (sender ? std::size_t{1} << k : 1) * (ints ? 4 * n : w * a.plane()), "pads");
    return a;
}

void expect_range(std::size_t n, std::size_t pair, std::size_t pairs) {
    if (pair > tile_pairs(n) || pairs > tile_pairs(n) - pair)
        throw std::invalid_argument("the range of tile pairs leaves the array");
}

// Sender and message: SoftSpoken's sender reads the message, Ferret's writes it.
template <class End, class Message>
void send(End& self, const std::string& kind, unsigned k, unsigned w, std::size_t n, Array pads, std::size_t pair,
          std::size_t pairs, Message message) {
    const bs::PadArray a = pad_array(kind, k, w, n, pads, true);
    expect_range(n, pair, pairs);
    expect(message.size(), self.message_bytes(pairs, k), "message");
    nb::gil_scoped_release release;
    self.extend(a, pair, pairs, message.data());
}

template <class End, class Message>
void receive(End& self, const std::string& kind, unsigned k, unsigned w, std::size_t n, Array choice, Array pads,
             std::size_t pair, std::size_t pairs, Message message) {
    bs::PadArray a = pad_array(kind, k, w, n, pads, false);
    expect(choice.nbytes(), k * a.plane(), "choice");
    expect_range(n, pair, pairs);
    expect(message.size(), self.message_bytes(pairs, k), "message");
    a.choice = static_cast<std::uint8_t*>(choice.data());
    nb::gil_scoped_release release;
    self.extend(a, pair, pairs, message.data());
}

// Ferret's first base straight from the peer end of SoftSpoken.
template <class End, class Base, class Message>
void first_base(End& self, Base& base, Message message) {
    const std::size_t columns = self.parameters().base_columns();
    expect(message.size(), base.message_bytes(columns, 1), "message");
    nb::gil_scoped_release release;
    base.correlate(columns, self.next_base(), message.data());
}

void expect_seeds(unsigned k, const Bytes& seeds, const Bytes& hash_key) {
    if (k != 1 && k != 2 && k != 4 && k != 8)
        throw std::invalid_argument("SoftSpoken k is 1, 2, 4 or 8, not " + std::to_string(k));
    expect(seeds.size(), (std::size_t{128 / k} << k) * 16, "seeds");
    expect(hash_key.size(), 16, "hash_key");
}

void aes128_ecb(Bytes key, Bytes in, BytesOut out) {
    expect(key.size(), 16, "key");
    expect(out.size(), in.size(), "out");
    if (in.size() % 16 != 0) throw std::invalid_argument("AES-ECB takes whole blocks of 16 bytes");
    bs::AesKey schedule = bs::expand_key(key.data());
    bs::aes_encrypt(schedule, in.data(), out.data(), in.size() / 16);
    bs::wipe(&schedule, sizeof schedule);
}

}  // namespace

void bind_ot(nb::module_& m) {
    m.def("set_isa", &bs::set_isa, "name"_a,
          "Cap the instruction set of all native kernels: portable, avx2, vaes, avx512, neon or native. For tests and "
          "benchmarks.");
    m.def("isa", &bs::isa, "The cap in force.");
    m.def("isas", &bs::isas, "Every cap this machine can run, slowest first.");

    m.def("aes128_ecb", &aes128_ecb, "key"_a, "blocks"_a, "out"_a,
          "AES-128 of whole blocks (uint8 arrays), constant-time.");

    nb::class_<bs::SoftSpokenReceiver>(m, "SoftSpokenReceiver",
                                       "Receiver's end of SoftSpokenOT: knows every leaf seed.")
        .def(
            "__init__",
            [](bs::SoftSpokenReceiver* self, unsigned k, Bytes seeds, Bytes hash_key) {
                expect_seeds(k, seeds, hash_key);
                new (self) bs::SoftSpokenReceiver(k, seeds.data(), hash_key.data());
            },
            "k"_a, "seeds"_a, "hash_key"_a)
        .def("message_bytes", &bs::SoftSpokenReceiver::message_bytes, "pairs"_a, "pad_k"_a)
        .def("extend", &receive<bs::SoftSpokenReceiver, BytesOut>, "kind"_a, "k"_a, "w"_a, "n"_a, "choice"_a, "pads"_a,
             "pair"_a, "pairs"_a, "message"_a,
             "Fill tile pairs [pair, pair + pairs) of choice and pads; writes the message for the sender.");

    nb::class_<bs::SoftSpokenSender>(m, "SoftSpokenSender",
                                     "Sender's end of SoftSpokenOT: knows all leaf seeds of a group but one.")
        .def(
            "__init__",
            [](bs::SoftSpokenSender* self, unsigned k, Bytes seeds, Bytes hash_key, Bytes delta) {
                expect_seeds(k, seeds, hash_key);
                expect(delta.size(), 16, "delta");
                new (self) bs::SoftSpokenSender(k, seeds.data(), hash_key.data(), delta.data());
            },
            "k"_a, "seeds"_a, "hash_key"_a, "delta"_a)
        .def("message_bytes", &bs::SoftSpokenSender::message_bytes, "pairs"_a, "pad_k"_a)
        .def("extend", &send<bs::SoftSpokenSender, Bytes>, "kind"_a, "k"_a, "w"_a, "n"_a, "pads"_a, "pair"_a, "pairs"_a,
             "message"_a, "Fill tile pairs [pair, pair + pairs) of pads from the receiver's message.");

    nb::class_<bs::FerretSender>(m, "FerretSender", "Sender's end of Ferret.")
        .def(
            "__init__",
            [](bs::FerretSender* self, unsigned trees, unsigned depth, std::uint32_t k, Bytes keys, Bytes delta,
               Bytes seed) {
                expect(keys.size(), 48, "keys");
                expect(delta.size(), 16, "delta");
                expect(seed.size(), 16, "seed");
                new (self) bs::FerretSender({trees, depth, k}, keys.data(), delta.data(), seed.data());
            },
            "trees"_a, "depth"_a, "k"_a, "keys"_a, "delta"_a, "seed"_a)
        .def("message_bytes", &bs::FerretSender::message_bytes, "pairs"_a, "pad_k"_a)
        .def("base", &first_base<bs::FerretSender, bs::SoftSpokenSender, Bytes>, "softspoken"_a, "message"_a,
             "Once, before the first extend.")
        .def("extend", &send<bs::FerretSender, BytesOut>, "kind"_a, "k"_a, "w"_a, "n"_a, "pads"_a, "pair"_a, "pairs"_a,
             "message"_a, "Fill tile pairs [pair, pair + pairs) of pads; writes the message for the receiver.");

    nb::class_<bs::FerretReceiver>(m, "FerretReceiver", "Receiver's end of Ferret.")
        .def(
            "__init__",
            [](bs::FerretReceiver* self, unsigned trees, unsigned depth, std::uint32_t k, Bytes keys) {
                expect(keys.size(), 48, "keys");
                new (self) bs::FerretReceiver({trees, depth, k}, keys.data());
            },
            "trees"_a, "depth"_a, "k"_a, "keys"_a)
        .def_prop_ro("base_columns", [](const bs::FerretReceiver& self) { return self.parameters().base_columns(); })
        .def("message_bytes", &bs::FerretReceiver::message_bytes, "pairs"_a, "pad_k"_a)
        .def("base", &first_base<bs::FerretReceiver, bs::SoftSpokenReceiver, BytesOut>, "softspoken"_a, "message"_a,
             "Once, before the first extend.")
        .def("extend", &receive<bs::FerretReceiver, Bytes>, "kind"_a, "k"_a, "w"_a, "n"_a, "choice"_a, "pads"_a,
             "pair"_a, "pairs"_a, "message"_a,
             "Fill tile pairs [pair, pair + pairs) of choice and pads from the sender's message.");
}
