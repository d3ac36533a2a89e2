#include "blindsight/ferret.hpp"

#include <stdexcept>

#include "blindsight/chacha.hpp"  // wipe
#include "blindsight/ot_kernels.hpp"

namespace bs {
namespace {

std::uint8_t* bytes(std::vector<Column>& v) { return reinterpret_cast<std::uint8_t*>(v.data()); }

void wipe_all(std::vector<Column>& v) { wipe(v.data(), v.size() * sizeof(Column)); }

struct Scratch {  // of one draw
    std::vector<Column> tiles;
    std::vector<std::uint8_t> pads;
    Scratch(const PadArray& a, unsigned count) : tiles(128 * a.k), pads(a.scratch_bytes(count)) {}
    ~Scratch() {
        wipe_all(tiles);
        wipe(pads.data(), pads.size());
    }
};

// Strings of the columns of one pair: a later column may come from another tree, whose leaves take the place of these.
struct Kept {
    std::uint8_t at[MAX_K][16 * 256];
    ~Kept() { wipe(at, sizeof at); }
};

}  // namespace

void FerretParameters::check() const {
    if (depth < 8 || depth > 20 || trees < 1 || trees > 1u << 16 || k < 1 || k >= 1u << 28)
        throw std::invalid_argument("Ferret has trees of depth 8 to 20");
    if (reserve() >= trees) throw std::invalid_argument("Ferret's parameters yield less than they consume");
}

Ferret::Ferret(const FerretParameters& parameters, const std::uint8_t* keys)
    : p_(parameters), pad_key_(expand_key(keys)), tree_key_(expand_key(keys + 16)), code_key_(expand_key(keys + 32)) {
    p_.check();
    const std::size_t strings =
        p_.reserve() * p_.leaves() > 256 * p_.base_columns() ? p_.reserve() * p_.leaves() : 256 * p_.base_columns();
    base_.resize(strings / 2);
    next_.resize(strings / 2);
    leaf_.resize(p_.leaves() / 2);
    tree_ = p_.trees;  // the first iteration is still to begin
    column_ = p_.columns();
}

Ferret::~Ferret() {
    wipe_all(base_);
    wipe_all(next_);
    wipe_all(leaf_);
}

std::size_t Ferret::message_bytes(std::size_t pairs, unsigned pad_k) const noexcept {
    std::size_t wanted = pairs * pad_k, left = p_.columns() - column_, opened = 0, tree = tree_;
    while (wanted > left) {
        wanted -= left;
        if (tree == p_.trees) opened += tree = p_.reserve();
        ++tree, ++opened;
        left = p_.columns();
    }
    return opened * 16 * p_.depth;
}

template <class Open>
void Ferret::open_tree(const Open& open) {
    open(tree_);
    ot_kernels().lpn_encode(code_key_, bytes(base_), p_.k, tree_ * p_.leaves(), p_.leaves(), bytes(leaf_));
    ++tree_;
}

template <class Open>
const std::uint8_t* Ferret::next_column(const Open& open) {
    if (column_ == p_.columns()) {
        if (tree_ == p_.trees) {  // the next iteration: its first trees make the base of the one after
            std::swap(base_, next_);
            for (tree_ = 0; tree_ < p_.reserve();) {
                const std::size_t at = tree_ * p_.leaves() / 2;
                open_tree(open);
                std::memcpy(&next_[at], leaf_.data(), 16 * p_.leaves());
            }
        }
        open_tree(open);
        column_ = 0;
    }
    return bytes(leaf_) + 16 * 256 * column_++;
}

FerretSender::FerretSender(const FerretParameters& parameters, const std::uint8_t* keys, const std::uint8_t* delta,
                           const std::uint8_t* seed)
    : Ferret(parameters, keys), seed_(expand_key(seed)) {
    if (!(delta[0] & 1)) throw std::invalid_argument("Ferret's Delta has bit 0 set");
    std::memcpy(delta_, delta, 16);
}

FerretSender::~FerretSender() {
    wipe(delta_, sizeof delta_);
    wipe(&seed_, sizeof seed_);
}

void FerretSender::extend(const PadArray& out, std::size_t pair, std::size_t pairs, std::uint8_t* message) {
    Scratch scratch(out, 1u << out.k);
    const auto open = [&](std::size_t tree) {
        std::uint8_t seed[16] = {};
        std::memcpy(seed, &opened_, sizeof opened_);
        ++opened_;
        aes_encrypt(seed_, seed, seed, 1);
        ot_kernels().sender_tree(tree_key_, seed, delta_, p_.depth, &leaf_[0].v, message);
        wipe(seed, sizeof seed);
        const std::uint8_t* mask = bytes(base_) + 16 * (p_.k + tree * p_.depth);
        for (std::size_t i = 0; i < 16 * p_.depth; ++i) message[i] ^= mask[i];
        message += 16 * p_.depth;
    };
    Kept kept;
    for (const std::size_t end = pair + pairs; pair < end; ++pair, ot_ += PAIR * out.k) {
        const std::uint8_t* column[MAX_K];
        for (unsigned t = 0; t < out.k; ++t) {
            column[t] = next_column(open);
            if (out.k == 1) break;
            std::memcpy(kept.at[t], column[t], sizeof kept.at[t]);
            column[t] = kept.at[t];
        }
        ot_kernels().sender_columns(pad_key_, delta_, column, ot_, out, pair, &scratch.tiles[0].v, scratch.pads.data());
    }
}

void FerretReceiver::extend(const PadArray& out, std::size_t pair, std::size_t pairs, const std::uint8_t* message) {
    Scratch scratch(out, 1);
    std::vector<std::uint8_t> known(16 * p_.depth);
    const auto open = [&](std::size_t tree) {
        const std::uint8_t* mine = bytes(base_) + 16 * (p_.k + tree * p_.depth);
        std::uint64_t missing = 0;
        for (unsigned i = 0; i < p_.depth; ++i)
            missing |= static_cast<std::uint64_t>(~mine[16 * i] & 1) << i;  // away from the choice
        for (std::size_t i = 0; i < 16 * p_.depth; ++i) known[i] = static_cast<std::uint8_t>(message[i] ^ mine[i]);
        message += 16 * p_.depth;
        ot_kernels().receiver_tree(tree_key_, known.data(), missing, p_.depth, &leaf_[0].v);
    };
    Kept kept;
    for (const std::size_t end = pair + pairs; pair < end; ++pair, ot_ += PAIR * out.k) {
        const std::uint8_t* column[MAX_K];
        for (unsigned t = 0; t < out.k; ++t) {
            column[t] = next_column(open);
            if (out.k == 1) break;
            std::memcpy(kept.at[t], column[t], sizeof kept.at[t]);
            column[t] = kept.at[t];
        }
        ot_kernels().receiver_columns(pad_key_, column, ot_, out, pair, &scratch.tiles[0].v, scratch.pads.data());
    }
    wipe(known.data(), known.size());
}

}  // namespace bs
