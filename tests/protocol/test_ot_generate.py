"""Correlations made by the real OT extension hold, for odd sizes, at scale, on every instruction set; wire digests; bad peers."""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blindsight import _native
from blindsight.channel import ChannelError, ProtocolError
from blindsight.ot.correlations import Draw, bits, ints, triples
from blindsight.ot.generate import EXTENSIONS, Generator
from blindsight.ot.ideal import dealt_pair

WIRE = json.loads((Path(__file__).parents[1] / "vectors" / "ot_wire.json").read_text())
MIXED = [
    bits(0, 4, 2, 1000),
    bits(1, 1, 1, 1),
    ints(1, 1, 16, 130),
    ints(0, 4, 32, 5),
    triples(77),
    bits(0, 4, 2, 7),
    ints(1, 8, 9, 300),
]
Pair = tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]


def holds(d: Draw, of0: tuple[np.ndarray, ...], of1: tuple[np.ndarray, ...]) -> None:
    """Assert that the two halves are one correlation of the shapes that `d` promises."""
    for party, arrays in enumerate((of0, of1)):
        assert tuple((a.shape, a.dtype) for a in arrays) == tuple(
            (s, np.dtype(t)) for s, t in d.shapes(party)
        )
        assert all(a.flags.c_contiguous and a.flags.writeable for a in arrays)
    if d.kind == "triples":
        a, b, c = (x ^ y for x, y in zip(of0, of1, strict=True))
        assert np.array_equal(a & b, c)
        return
    (pads,), (choice, got) = (of0, of1) if d.sender == 0 else (of1, of0)
    bit = np.unpackbits(choice.view(np.uint8), axis=1, bitorder="little").astype(np.intp)
    index = (bit << np.arange(d.k)[:, None]).sum(axis=0)
    if d.kind == "ints":
        assert np.array_equal(np.take_along_axis(pads, index[None, : d.n], axis=0)[0], got)
        assert pads.max() < 1 << d.w
        return
    expected = np.zeros_like(got)
    for j in range(1 << d.k):
        expected |= pads[j] & np.packbits(index == j, bitorder="little").view(np.uint64)
    assert np.array_equal(expected, got)


def make(two_parties: Callable[..., Any], draws: list[Draw], **options: Any) -> list[Pair]:
    (a, _), (b, _) = two_parties(lambda channel: Generator(channel, **options).fill(draws))
    return list(zip(a, b, strict=True))


@pytest.mark.parametrize("isa", _native.isas())
@pytest.mark.parametrize("extension", EXTENSIONS)
def test_every_kind_on_every_instruction_set(
    two_parties: Callable[..., Any], isa: str, extension: str
) -> None:
    before = _native.isa()
    _native.set_isa(isa)
    try:
        for d, (a, b) in zip(MIXED, make(two_parties, MIXED, extension=extension), strict=True):
            holds(d, a, b)
    finally:
        _native.set_isa(before)


def draws() -> st.SearchStrategy[Draw]:
    sizes = st.one_of(
        st.sampled_from([1, 63, 64, 65, 127, 128, 255, 256, 257, 8191, 8192, 8193]), st.integers(1, 20000)
    )
    return st.one_of(
        st.builds(bits, st.integers(0, 1), st.integers(1, 4), st.integers(1, 8), sizes),
        st.builds(ints, st.integers(0, 1), st.integers(1, 4), st.integers(1, 32), sizes),
        st.builds(triples, sizes),
    )


@pytest.fixture(scope="module", params=["fast", "wan"])
def live(request: pytest.FixtureRequest) -> Iterator[Callable[[list[Draw], bool], list[Pair]]]:
    """One session for many examples: both generators in two worker threads."""
    from concurrent.futures import ThreadPoolExecutor

    from blindsight.channel import memory_pair

    ends = memory_pair(timeout=60.0)
    with ThreadPoolExecutor(2) as pool:
        generators = list(pool.map(lambda end: Generator(end, link=request.param), ends))

        def ask(wanted: list[Draw], at_once: bool) -> list[Pair]:
            def party(g: Generator) -> list[tuple[np.ndarray, ...]]:
                return g.fill(wanted) if at_once else [g.draw(d) for d in wanted]

            a, b = pool.map(party, generators)
            return list(zip(a, b, strict=True))

        yield ask
    for end in ends:
        end.close()


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wanted=st.lists(draws(), min_size=1, max_size=6), at_once=st.booleans())
def test_any_list_of_draws(live: Callable[..., list[Pair]], wanted: list[Draw], at_once: bool) -> None:
    for d, (a, b) in zip(wanted, live(wanted, at_once), strict=True):
        holds(d, a, b)


@pytest.mark.parametrize("d", [bits(0, 4, 2, 10**6), ints(1, 1, 16, 10**6), triples(10**6)], ids=str)
def test_a_million(live: Callable[..., list[Pair]], d: Draw) -> None:
    ((a, b),) = live([d], True)
    holds(d, a, b)
    sample = b[0] if d.kind == "ints" else a[0]  # pads look random: every bit is one half of the time
    share = np.unpackbits(np.ascontiguousarray(sample).view(np.uint8)).mean() * (2 if d.kind == "ints" else 1)
    assert abs(share - 0.5) < 0.002


def test_dealer_keeps_the_same_contract() -> None:
    a, b = dealt_pair(7)
    for d in MIXED:
        holds(d, a.draw(d), b.draw(d))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: bits(2, 1, 1, 1), "sender is party 0 or 1"),
        (lambda: bits(0, 9, 1, 1), "k from 1 to 8"),
        (lambda: ints(0, 1, 33, 1), "w from 1 to 32"),
        (lambda: triples(0), "at least one instance"),
        (lambda: Draw("words", 0, 1, 1, 1), "unknown kind"),  # type: ignore[arg-type]
        (lambda: Draw("triples", 1, 0, 1, 1), "triples have sender 0"),
    ],
)
def test_impossible_draws_are_refused(wrong: Callable[[], Draw], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wrong()


def digests(
    two_parties: Callable[..., Any], seeded: Callable[[str], Any], extension: str
) -> dict[str, list[str]]:
    def party(channel: Any) -> None:
        Generator(channel, extension=extension, rng=seeded(f"party {channel.party}")).fill(MIXED)

    (_, a), (_, b) = two_parties(party, session=b"wire digest test")
    return {
        "0 to 1": [hashlib.sha256(m).hexdigest() for m in a.sent],
        "1 to 0": [hashlib.sha256(m).hexdigest() for m in b.sent],
    }


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_bytes_on_the_wire_are_those_of_the_baseline(
    two_parties: Callable[..., Any], seeded: Callable[[str], Any], extension: str
) -> None:
    """A change of any byte either way shows; `tests/vectors/ot_wire.json` is renewed on purpose only."""
    assert digests(two_parties, seeded, extension) == WIRE[extension]


@pytest.mark.parametrize("links", [("fast", "wan"), ("lan", "fast")])
def test_peers_of_other_parameters_are_told_so(
    two_parties: Callable[..., Any], links: tuple[str, str]
) -> None:
    with pytest.raises(ProtocolError, match="set both to the same link profile"):
        two_parties(lambda channel: Generator(channel, link=links[channel.party]))


@pytest.mark.parametrize("extension", ["softspoken-4", "ferret"])
@pytest.mark.parametrize("other", [bits(0, 1, 1, 2000), ints(0, 1, 1, 1000), bits(1, 1, 1, 1000)], ids=str)
def test_another_list_at_the_peer_is_one_clear_error(
    two_parties: Callable[..., Any], extension: str, other: Draw
) -> None:
    def party(channel: Any) -> None:
        Generator(channel, extension=extension).draw(other if channel.party else bits(0, 1, 1, 1000))

    with pytest.raises(ProtocolError, match="the two parties draw different correlations"):
        two_parties(party)


def test_a_peer_that_vanishes_is_one_clear_error(two_parties: Callable[..., Any]) -> None:
    def party(channel: Any) -> None:
        generator = Generator(channel)
        if channel.party == 1:
            channel.close()
        else:
            generator.draw(bits(0, 1, 1, 1000))

    with pytest.raises(ChannelError, match=r"goodbye|closed"):
        two_parties(party)


def test_unknown_link_profile_is_refused(two_parties: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="link profile is one of"):
        two_parties(lambda channel: Generator(channel, link="dsl"))
    with pytest.raises(ValueError, match="OT extension is one of"):
        two_parties(lambda channel: Generator(channel, extension="iknp"))


def test_short_draws_share_their_cost(two_parties: Callable[..., Any]) -> None:
    def party(channel: Any) -> int:
        generator, before = Generator(channel, extension="softspoken-4"), channel.stats.copy()
        generator.fill([bits(0, 1, 1, 10) for _ in range(100)])
        return int(channel.stats.minus(before).received if channel.party == 0 else 0)

    (got, _), _ = two_parties(party)
    assert got <= 31 * 32 * 25 + 64  # 100 words of 64 instances are 25 columns
