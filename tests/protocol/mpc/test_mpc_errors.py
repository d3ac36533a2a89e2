"""A peer that vanishes or sends another length in the middle of a protocol: one clear error on each side, no hang. Wrong arguments: refused
before the first message."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from mpc_cases import BY_NAME, CASES, Case, Listed, dealt

from blindsight.channel import Channel, ChannelError, PeerClosed, ProtocolError, Recorder, memory_pair
from blindsight.mpc.argmax import ArgMax, TopK
from blindsight.mpc.b2a import B2A
from blindsight.mpc.compare import leaves_of
from blindsight.mpc.drelu import DReLU
from blindsight.mpc.extend import Extend
from blindsight.mpc.ingest import PixelsFromMask, PixelsFromXor
from blindsight.mpc.maxpool import MaxPool
from blindsight.mpc.mux import Mux
from blindsight.mpc.relu import ReLU
from blindsight.mpc.session import Session
from blindsight.mpc.tournament import Tournament
from blindsight.mpc.trunc import TruncateExtend


class Faulty(Recorder):
    """Breaks at message `at`: closes the link, or sends one byte more or less than agreed."""

    def __init__(self, channel: Channel, at: int, fault: str) -> None:
        super().__init__(channel)
        self.at, self.fault = at, fault

    def send(self, *parts: np.ndarray) -> None:
        self.at -= 1
        if self.at != 0:
            return super().send(*parts)
        if self.fault == "close":
            self.close()
            raise PeerClosed("this end was cut off")
        data = b"".join(p.tobytes() for p in parts)
        super().send(data + b"\0" if self.fault == "long" else data[:-1])


@pytest.mark.parametrize("fault", ["close", "long", "short"])
@pytest.mark.parametrize("party", [0, 1])
@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_broken_peer(case: Case, at: int, party: int, fault: str) -> None:
    n = 70
    inputs = case.inputs(np.random.default_rng(1), n)
    ends: list[Channel] = list(memory_pair(timeout=10))
    faulty = Faulty(ends[party], at, fault)
    ends[party] = faulty

    def one(p: int) -> str:
        try:
            case.real.run(Session(ends[p], Listed(dealt(1)[p], case.draws(n))), *inputs[p])
            return ""
        except ChannelError as error:
            return f"{type(error).__name__}: {error}"

    start = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        errors = list(pool.map(one, (0, 1)))
    assert time.monotonic() - start < 5
    if faulty.at > 0:  # the protocol has fewer messages
        assert errors == ["", ""]
        return
    told = errors[1 - party]
    assert told and "\n" not in told
    if fault == "close":
        assert told.startswith("PeerClosed")
    else:
        assert told.startswith("ProtocolError") and "expected" in told


def test_broken_peer_between_chunks() -> None:
    """The interleaved path ends as cleanly."""
    case, n = BY_NAME["relu16.12"], 200_000
    inputs = case.inputs(np.random.default_rng(1), n)
    ends = memory_pair(timeout=10)
    broken = Faulty(ends[0], 6, "short")

    def one(p: int) -> None:
        case.real.run(Session((broken, ends[1])[p], dealt(1)[p]), *inputs[p])

    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(one, p) for p in (0, 1)]
        with pytest.raises(ProtocolError, match="expected"):
            futures[1].result()
        with pytest.raises(ChannelError):
            futures[0].result()


class Silent:
    """Nothing may be sent or drawn when arguments are wrong."""

    party = 0

    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"{name} used with wrong arguments")


@pytest.mark.parametrize(
    ("protocol", "arguments"),
    [
        (ReLU(12, 16), (np.zeros(4, np.int32),)),
        (ReLU(12, 16), (np.zeros((2, 2), np.uint32),)),
        (ReLU(12, 16), (np.zeros(8, np.uint32)[::2],)),
        (TruncateExtend(8, 16), (np.zeros(4, np.uint64),)),
        (MaxPool(8, 16, True, np.array([[0, 9]])), (np.zeros(4, np.uint32),)),
        (ArgMax(10), (np.zeros((1, 9), np.uint32),)),
        (TopK(10, 2), (np.zeros(10, np.uint32),)),
        (PixelsFromMask(), (np.zeros(4, np.uint8),)),
        (PixelsFromMask(), (np.full(4, 1024, np.uint16),)),
        (PixelsFromXor(), (np.zeros(4, np.uint16),)),
    ],
)
def test_wrong_arguments_are_refused_before_the_first_message(
    protocol: object, arguments: tuple[np.ndarray, ...]
) -> None:
    with pytest.raises(ValueError):
        protocol.run(Session(Silent(), Silent()), *arguments)  # type: ignore[attr-defined, arg-type]


@pytest.mark.parametrize(
    "make",
    [
        lambda: ReLU(17, 16),
        lambda: ReLU(-1, 16),
        lambda: ReLU(4, 1),
        lambda: TruncateExtend(20, 13),
        lambda: MaxPool(16, 16, True, np.zeros((1, 4), int)),
        lambda: MaxPool(8, 16, True, np.zeros(4, int)),
        lambda: MaxPool(8, 16, True, np.full((1, 4), -2)),
        lambda: TopK(10, 0),
        lambda: TopK(10, 11),
        lambda: ArgMax(0),
        lambda: Tournament(3, 16, value=False),
        lambda: Mux(33),
        lambda: B2A(32, shift=1),
        lambda: Extend(1),
        lambda: DReLU(33),
        lambda: leaves_of(0),
    ],
)
def test_widths_that_cannot_work_are_refused(make) -> None:
    with pytest.raises(ValueError):
        make()
