"""Set-up of SoftSpokenOT: from base OTs to the leaf seeds of both ends, in both directions at once.

Roy, "SoftSpokenOT" (CRYPTO 2022), semi-honest version with the repetition code over GF(2^k); k = 1 is IKNP.  Each of the
128/k groups is a punctured GGM tree of depth k (Goldreich, Goldwasser, Micali 1986; Boyle et al., CCS 2019): the
extension's receiver knows all 2^k leaves, its sender all but leaf Delta_g.  Level by level the receiver sends the xor of
the left and the xor of the right children, each under a base-OT key; the sender's base choice opens the side away from
Delta_g.

Adversary: semi-honest.  Assumption: base OT, and SHA-256 as a length-doubling pseudorandom generator.  The sender learns of
leaf Delta_g nothing (its siblings' sums cover every other subtree); the receiver sees nothing of Delta but base-OT messages.
The extension itself (streams, message, hash) is native: native/include/blindsight/softspoken.hpp.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from blindsight import _native
from blindsight.channel import Channel
from blindsight.fixed.rng import Rng
from blindsight.ot.base import KEY, BaseReceiver, BaseSender, run_both

KAPPA = 128
KS = (1, 2, 4, 8)


def _children(nodes: np.ndarray) -> np.ndarray:
    """uint8 [m, 16] -> [2m, 16]: each node's left and right child."""
    joined = b"".join(hashlib.sha256(b"blindsight/1 ggm" + node.tobytes()).digest() for node in nodes)
    return np.frombuffer(joined, np.uint8).reshape(2 * len(nodes), KEY)


def _grow(root: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """All leaves [2^depth, 16] of a tree and the sums [depth, 2, 16] of left and right children of each level."""
    nodes, sums = root.reshape(1, KEY), np.empty((depth, 2, KEY), np.uint8)
    for level in range(depth):
        nodes = _children(nodes)
        sums[level, 0] = np.bitwise_xor.reduce(nodes[0::2], axis=0)
        sums[level, 1] = np.bitwise_xor.reduce(nodes[1::2], axis=0)
    return nodes, sums


def _grow_punctured(missing: int, depth: int, sums: np.ndarray) -> np.ndarray:
    """Leaves [2^depth, 16], the missing one zero, from one sum [16] a level: of the side away from `missing`."""
    nodes = np.zeros((1, KEY), np.uint8)
    for level in range(depth):
        path = missing >> (depth - 1 - level)  # the node on the way to `missing`, unknown
        nodes = _children(nodes).copy()
        nodes[path & ~1 : (path | 1) + 1] = 0  # children of an unknown node
        away = path ^ 1
        nodes[away] = np.bitwise_xor.reduce(nodes[away & 1 :: 2], axis=0) ^ sums[level]
    return nodes


@dataclass
class Ends:
    """This party's two ends: `send` where it is the extension's sender, `receive` where the peer is.

    `delta` (uint8 [16]) is the sender's secret, for an extension built on this one.
    """

    send: _native.SoftSpokenSender
    receive: _native.SoftSpokenReceiver
    delta: np.ndarray
    sender_speaks = False  # the one message of an extension comes from its receiver


def _hash_key(session: bytes, sender: int) -> np.ndarray:
    """The public fixed key of the pads' hash: another one for every session and direction."""
    digest = hashlib.sha256(b"blindsight/1 ot-hash" + session + bytes([sender])).digest()
    return np.frombuffer(digest[:16], np.uint8)


def _context(channel: Channel, k: int, sender: int) -> bytes:
    return b"softspoken" + channel.session + bytes([k, sender])


def set_up(channel: Channel, k: int, rng: Rng, odd_delta: bool = False) -> Ends:
    """128 base OTs and 128/k trees in each direction; two rounds, about 20 KB each way.

    Args:
        k: 1, 2, 4 or 8, the same at both parties.
        odd_delta: set bit 0 of Delta (127 random bits remain), as Ferret needs it.

    Raises:
        ProtocolError: the peer does not follow the protocol.
        ValueError: another k.
    """
    if k not in KS:
        raise ValueError(f"SoftSpoken k is one of {KS}, not {k}")
    me, peer = channel.party, 1 - channel.party
    groups = KAPPA // k
    delta = np.frombuffer(rng.bytes(KAPPA // 8), np.uint8).copy()
    if odd_delta:
        delta[0] |= 1
    bits = np.unpackbits(delta, bitorder="little").reshape(groups, k)  # Delta_g = sum of bits[g, b] << b
    away = 1 - bits[:, ::-1]  # level 0 of a tree decides the top bit of a leaf's number
    ours = BaseReceiver(away.reshape(-1), _context(channel, k, me), rng)
    pairs, chosen = run_both(BaseSender(KAPPA, _context(channel, k, peer), rng), ours, channel)

    leaves, message = [], np.empty((groups, k, 2, KEY), np.uint8)
    for g in range(groups):
        nodes, sums = _grow(np.frombuffer(rng.bytes(KEY), np.uint8), k)
        leaves.append(nodes)
        message[g] = sums ^ pairs.reshape(groups, k, 2, KEY)[g]
    reply = channel.exchange(message, message.nbytes).reshape(groups, k, 2, KEY)
    receive = _native.SoftSpokenReceiver(
        k, np.concatenate(leaves).reshape(-1), _hash_key(channel.session, peer)
    )

    opened = np.take_along_axis(reply, away[:, :, None, None].astype(np.intp), axis=2)[:, :, 0]
    opened = opened ^ chosen.reshape(groups, k, KEY)
    seeds = np.empty((groups, 1 << k, KEY), np.uint8)
    order = np.arange(1 << k)
    for g in range(groups):
        missing = int(bits[g].astype(np.intp) @ (1 << np.arange(k)))
        seeds[g] = _grow_punctured(missing, k, opened[g])[order ^ missing]  # entry y is leaf y ^ Delta_g
    send = _native.SoftSpokenSender(k, seeds.reshape(-1), _hash_key(channel.session, me), delta)
    return Ends(send, receive, delta)
