"""What each party sees of OT is uniform given what it knows; the same tests catch protocols whose masks are switched off.

A view passes when the chi-square test of its bytes gives p > 1e-6.  Each negative control breaks one thing a proof
rests on (a mask, a hash) and must fail the very test the real protocol passes.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from blindsight import _native
from blindsight.fixed.rng import SystemRng
from blindsight.ot.base import BaseReceiver
from blindsight.ot.correlations import Draw, bits, ints, triples
from blindsight.ot.generate import Generator

N = 1 << 15


def p_uniform(data: np.ndarray) -> float:
    """p-value of 'these bytes are uniform' (chi-square with 255 degrees of freedom, Wilson and Hilferty's cube root)."""
    counts = np.bincount(np.ascontiguousarray(data).view(np.uint8).reshape(-1), minlength=256)
    expected = counts.sum() / 256
    assert expected > 20
    chi = float(((counts - expected) ** 2 / expected).sum())
    z = ((chi / 255) ** (1 / 3) - (1 - 2 / (9 * 255))) / math.sqrt(2 / (9 * 255))
    return math.erfc(abs(z) / math.sqrt(2))


def streams(seeds: np.ndarray, blocks: int) -> np.ndarray:
    """uint8 [groups, leaves, 16] -> the leaves' streams, uint8 [groups, leaves, 16 * blocks]."""
    counters = b"".join(i.to_bytes(16, "little") for i in range(blocks))
    out = [
        Cipher(algorithms.AES(s.tobytes()), modes.ECB()).encryptor().update(counters)
        for s in seeds.reshape(-1, 16)
    ]
    return np.frombuffer(b"".join(out), np.uint8).reshape(*seeds.shape[:2], -1)


def message_without_what_the_sender_knows(seeds: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """The receiver's message with every stream the sender can compute taken out of it."""
    groups, leaves, _ = seeds.shape
    pairs, k = 8, 4  # one chunk of 64 blocks
    receiver = _native.SoftSpokenReceiver(
        leaves.bit_length() - 1, seeds.reshape(-1).copy(), np.zeros(16, np.uint8)
    )
    message = np.empty(receiver.message_bytes(pairs, k), np.uint8)
    n = 256 * pairs
    receiver.extend(
        "bits",
        k,
        1,
        n,
        np.empty((k, n // 64), np.uint64),
        np.empty((1, n // 64), np.uint64),
        0,
        pairs,
        message,
    )
    known = streams(seeds, 2 * pairs * k).copy()
    known[np.arange(groups), missing] = 0
    u = np.bitwise_xor.reduce(known, axis=1)
    return message.reshape(groups - 1, -1) ^ u[1:] ^ u[0]


@pytest.mark.parametrize("k", [1, 2, 4, 8])
def test_the_extension_message_is_uniform_to_the_sender(k: int) -> None:
    rng = np.random.default_rng(k)
    seeds = rng.integers(0, 256, (128 // k, 1 << k, 16), dtype=np.uint8)
    missing = rng.integers(0, 1 << k, 128 // k)
    assert p_uniform(message_without_what_the_sender_knows(seeds, missing)) > 1e-6
    unmasked = seeds.copy()  # negative control: every tree misses the same leaf, so the two masks cancel
    unmasked[np.arange(128 // k), missing] = seeds[0, (missing[0] + 1) % (1 << k)]
    assert p_uniform(message_without_what_the_sender_knows(unmasked, missing)) < 1e-6


def made(two_parties: Callable[..., Any], d: Draw) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    (a, _), (b, _) = two_parties(lambda channel: Generator(channel).draw(d))
    return a, b


def chosen_index(choice: np.ndarray) -> np.ndarray:
    bit = np.unpackbits(choice.view(np.uint8), axis=1, bitorder="little").astype(np.intp)
    return (bit << np.arange(len(choice))[:, None]).sum(axis=0)


def test_what_the_receiver_did_not_choose_is_uniform_to_it(two_parties: Callable[..., Any]) -> None:
    (pads,), (choice, got) = made(two_parties, ints(0, 4, 32, N))
    index = chosen_index(choice)[:N]
    for other in (1, 2, 4, 8, 15):
        unchosen = np.take_along_axis(pads, (index ^ other)[None], axis=0)[0]
        assert p_uniform(unchosen) > 1e-6
        assert p_uniform(unchosen ^ got) > 1e-6
    three = [np.take_along_axis(pads, (index ^ x)[None], axis=0)[0] for x in (1, 2, 3)]
    assert p_uniform(three[0] ^ three[1] ^ three[2] ^ got) > 1e-6


def test_pads_that_are_plain_xors_of_keys_are_caught() -> None:
    """Negative control: without the second hash three pads give the fourth."""
    keys = np.random.default_rng(1).integers(0, 1 << 32, (2, 2, N), dtype=np.uint32)
    pads = [keys[0, j & 1] ^ keys[1, j >> 1] for j in range(4)]
    assert all(p_uniform(p) > 1e-6 for p in pads)
    assert p_uniform(pads[0] ^ pads[1] ^ pads[2] ^ pads[3]) < 1e-6


@pytest.mark.parametrize("d", [bits(0, 4, 2, 64 * N), bits(1, 1, 1, 64 * N), bits(0, 3, 2, 64 * N)], ids=str)
def test_choices_are_uniform_and_independent_of_the_senders_view(
    two_parties: Callable[..., Any], d: Draw
) -> None:
    a, b = made(two_parties, d)
    (pads,), (choice, got) = (a, b) if d.sender == 0 else (b, a)
    assert p_uniform(choice) > 1e-6
    assert p_uniform(pads) > 1e-6
    for c in choice:
        assert all(p_uniform(c ^ plane) > 1e-6 for pad in pads for plane in pad)
    leak = choice[0] | got[0]  # negative control: a choice that shows in what the sender holds
    assert p_uniform(leak) < 1e-6


def test_triples_are_uniform_shares(two_parties: Callable[..., Any]) -> None:
    of0, of1 = made(two_parties, triples(64 * N))
    for x in (*of0, *of1, *(p ^ q for p, q in zip(of0[:2], of1[:2], strict=True))):
        assert p_uniform(x) > 1e-6
    for own in of0:  # nothing of the peer's a and b shows in this party's share
        assert all(p_uniform(own ^ theirs) > 1e-6 for theirs in of1[:2])
    product = (of0[0] ^ of1[0]) & (of0[1] ^ of1[1])
    assert p_uniform(product) < 1e-6  # negative control: c in the clear is one a quarter of the time


def test_set_up_messages_are_uniform_strings(two_parties: Callable[..., Any]) -> None:
    """The masked tree sums each party receives; without the base-OT keys over them they are no longer independent."""
    views = []
    for _ in range(3):
        (_, a), (_, b) = two_parties(lambda channel: Generator(channel, extension="softspoken-1"))
        views += [m for r in (a, b) for m in r.received if len(m) == 128 * 2 * 16]
    assert len(views) == 6
    assert p_uniform(np.frombuffer(b"".join(views), np.uint8)) > 1e-6


def test_ferret_messages_are_uniform_and_never_repeat(
    two_parties: Callable[..., Any], seeded: Callable[[str], Any]
) -> None:
    """All that Ferret sends are masked sums of tree nodes.  Two sessions' messages are independent; with the randomness of the
    first used again (negative control) their xor is not uniform."""

    def messages(name: str) -> np.ndarray:
        def party(channel: Any) -> None:
            rng = seeded(f"{name} {channel.party}")
            Generator(channel, extension="ferret", rng=rng).draw(bits(0, 1, 1, 500_000))

        _, (_, receiver) = two_parties(party, session=b"views of ferret.")
        return np.frombuffer(b"".join(m for m in receiver.received[4:]), np.uint8)

    one, other = messages("one"), messages("other")
    assert len(one) > 50_000
    assert p_uniform(one) > 1e-6
    assert p_uniform(one ^ other) > 1e-6
    assert p_uniform(one ^ messages("one")) < 1e-6


class SameBytes:
    """Randomness switched off."""

    def bytes(self, n: int) -> bytes:
        return bytes(range(1, n + 1))


def test_base_ot_points_are_uniform_whatever_the_choice() -> None:
    """The sender sees two points an instance; neither the chosen one nor the other stands out.  Without randomness they repeat."""
    choices = np.arange(300) % 2

    def points(rng: Any) -> np.ndarray:
        seen = np.frombuffer(BaseReceiver(choices, b"views", rng).hello, np.uint8).reshape(-1, 2, 32)
        return seen[:, :, :31]  # the last byte holds the sign and stays below 128 otherwise

    pairs = points(SystemRng())
    chosen, other = pairs[np.arange(300), choices], pairs[np.arange(300), 1 - choices]
    for view in (pairs, chosen, other, chosen ^ other):
        assert p_uniform(view) > 1e-6
    assert p_uniform(points(SameBytes())[np.arange(300), 1 - choices]) < 1e-6
