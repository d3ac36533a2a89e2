#include "blindsight/softspoken.hpp"

#include <algorithm>
#include <stdexcept>

#include "blindsight/chacha.hpp"  // wipe
#include "blindsight/ot_kernels.hpp"

namespace bs {
namespace {
constexpr std::size_t CHUNK =
    32;  // vector columns (256 OTs each) worked on at a time: rows stay in the second-level cache
constexpr std::size_t STRIDE = CHUNK + 1;  // an odd number of half lines: 128 rows spread over all cache sets
}  // namespace

struct SoftSpoken::Buffers {
    std::vector<Column> rows, u, tiles;
    std::vector<std::uint8_t> scratch;

    Buffers() : rows(128 * STRIDE), u(2 * CHUNK) {}
    Buffers(const PadArray& a, unsigned count)
        : rows(128 * STRIDE), u(2 * CHUNK), tiles(128 * a.k), scratch(a.scratch_bytes(count)) {}
    ~Buffers() {
        wipe(rows.data(), rows.size() * sizeof(Column));
        wipe(u.data(), u.size() * sizeof(Column));
        wipe(tiles.data(), tiles.size() * sizeof(Column));
        wipe(scratch.data(), scratch.size());
    }
};

SoftSpoken::SoftSpoken(unsigned k, const std::uint8_t* seeds, const std::uint8_t* hash_key)
    : k_(k), hash_(expand_key(hash_key)) {
    if (k != 1 && k != 2 && k != 4 && k != 8) throw std::invalid_argument("SoftSpoken k is 1, 2, 4 or 8");
    keys_.reserve(groups() << k);
    for (std::size_t i = 0; i < groups() << k; ++i) keys_.push_back(expand_key(seeds + 16 * i));
}

SoftSpoken::~SoftSpoken() { wipe(keys_.data(), keys_.size() * sizeof(AesKey)); }

// Rows, choices (buf.u) and message of the next `columns` columns, at most CHUNK.
void SoftSpokenReceiver::make_rows(Buffers& buf, std::size_t columns, std::uint8_t* message) {
    const std::size_t steps = (columns + STEP - 1) / STEP;
    V *first_u = &buf.u[0].v, *group_u = first_u + CHUNK;
    for (std::size_t g = 0; g < groups(); ++g) {
        ot_kernels().receiver_group(k_, &keys_[g << k_], block_, steps, g ? group_u : first_u,
                                    &buf.rows[g * k_ * STRIDE].v, STRIDE);
        if (g == 0) continue;
        for (std::size_t c = 0; c < columns; ++c, message += 32) store(message, group_u[c] ^ first_u[c]);
    }
    block_ += 2 * columns;
}

void SoftSpokenReceiver::extend(const PadArray& out, std::size_t pair, std::size_t pairs, std::uint8_t* message) {
    Buffers buf(out, 1);
    while (pairs > 0) {
        const std::size_t now = std::min(pairs, CHUNK / out.k);
        const std::uint64_t ot = 128 * block_;
        make_rows(buf, now * out.k, message);
        ot_kernels().receiver_tiles(hash_, &buf.u[0].v, &buf.rows[0].v, STRIDE, ot, now, out, pair, &buf.tiles[0].v,
                                    buf.scratch.data());
        message += message_bytes(now, out.k), pair += now, pairs -= now;
    }
}

void SoftSpokenReceiver::correlate(std::size_t columns, std::uint8_t* out, std::uint8_t* message) {
    Buffers buf;
    while (columns > 0) {
        const std::size_t now = std::min(columns, CHUNK);
        make_rows(buf, now, message);
        ot_kernels().raw_tiles(&buf.rows[0].v, STRIDE, &buf.u[0].v, now, out);
        message += message_bytes(now, 1), out += 16 * PAIR * now, columns -= now;
    }
}

SoftSpokenSender::SoftSpokenSender(unsigned k, const std::uint8_t* seeds, const std::uint8_t* hash_key,
                                   const std::uint8_t* delta)
    : SoftSpoken(k, seeds, hash_key) {
    std::memcpy(delta_, delta, 16);
}

SoftSpokenSender::~SoftSpokenSender() { wipe(delta_, sizeof delta_); }

void SoftSpokenSender::make_rows(Buffers& buf, std::size_t columns, const std::uint8_t* message) {
    const std::size_t steps = (columns + STEP - 1) / STEP;
    for (std::size_t g = 0; g < groups(); ++g) {
        V* rows = &buf.rows[g * k_ * STRIDE].v;
        for (std::size_t b = 0; b < k_; ++b) {  // d_g where Delta has a one, zero elsewhere; d_0 is zero and not sent
            const std::size_t bit = g * k_ + b;
            const std::uint64_t mask = g ? -static_cast<std::uint64_t>(delta_[bit / 8] >> bit % 8 & 1) : 0;
            for (std::size_t c = 0; c < STEP * steps; ++c)
                rows[b * STRIDE + c] = g && c < columns ? load(message + 32 * c) & mask : V{};
        }
        if (g) message += 32 * columns;
        ot_kernels().sender_group(k_, &keys_[g << k_], block_, steps, rows, STRIDE);
    }
    block_ += 2 * columns;
}

void SoftSpokenSender::extend(const PadArray& out, std::size_t pair, std::size_t pairs, const std::uint8_t* message) {
    Buffers buf(out, 1u << out.k);
    while (pairs > 0) {
        const std::size_t now = std::min(pairs, CHUNK / out.k);
        const std::uint64_t ot = 128 * block_;
        make_rows(buf, now * out.k, message);
        ot_kernels().sender_tiles(hash_, delta_, &buf.rows[0].v, STRIDE, ot, now, out, pair, &buf.tiles[0].v,
                                  buf.scratch.data());
        message += message_bytes(now, out.k), pair += now, pairs -= now;
    }
}

void SoftSpokenSender::correlate(std::size_t columns, std::uint8_t* out, const std::uint8_t* message) {
    Buffers buf;
    while (columns > 0) {
        const std::size_t now = std::min(columns, CHUNK);
        make_rows(buf, now, message);
        ot_kernels().raw_tiles(&buf.rows[0].v, STRIDE, nullptr, now, out);
        message += message_bytes(now, 1), out += 16 * PAIR * now, columns -= now;
    }
}

}  // namespace bs
