"""The material store: once only, whatever is killed; nothing readable after use."""

import os
import random
import signal
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blindsight.offline.cursor import Cursor
from blindsight.offline.slot import Layout, Slot, Tape, batch_draw, draw_arrays, split_draw
from blindsight.offline.store import Store, StoreError
from blindsight.ot.correlations import Draw, words

SIZE = 100


def slots(first: int, count: int) -> list[bytes]:
    return [bytes([(first + i) % 256]) * SIZE for i in range(count)]


@pytest.fixture
def store(tmp_path):
    s = Store(tmp_path / "pool", SIZE)
    yield s
    s.close()


def test_slots_come_back_once_and_in_order(store):
    store.append("aa" * 16, 0, slots(0, 3))
    store.append("bb" * 16, store.end, slots(3, 2))
    assert store.left == 5
    assert [store.reserve(i) for i in range(5)] == slots(0, 5)
    assert store.left == 0 and store.cursor == 5
    with pytest.raises(StoreError, match="used before"):
        store.reserve(4)


def test_burn_comes_before_bytes(store, monkeypatch):
    store.append("aa" * 16, 0, slots(0, 2))
    seen = []
    monkeypatch.setattr(store, "_open_slot", lambda batch, index: seen.append(store.cursor))
    store.reserve(0)
    assert seen == [1]


def test_key_and_batch_are_gone_when_used_up(store, tmp_path):
    store.append("aa" * 16, 0, slots(0, 2))
    names = {p.suffix for p in (tmp_path / "pool").iterdir()}
    assert {".key", ".bin", ".json"} <= names
    store.reserve(0)
    store.reserve(1)
    assert {p.name for p in (tmp_path / "pool").iterdir()} == {"cursor", "lock"}


def test_nothing_is_stored_in_the_clear(store, tmp_path):
    store.append("aa" * 16, 0, [b"activation-canary" + bytes(SIZE - 17)])
    for path in (tmp_path / "pool").iterdir():
        assert b"canary" not in path.read_bytes()
        assert path.stat().st_mode & 0o077 == 0 or path.name in ("cursor", "lock")


def test_altered_slot_is_refused_but_stays_burnt(store, tmp_path):
    store.append("aa" * 16, 0, slots(0, 2))
    path = tmp_path / "pool" / ("aa" * 16 + ".bin")
    data = bytearray(path.read_bytes())
    data[5] ^= 1
    path.write_bytes(data)
    with pytest.raises(StoreError, match="damaged"):
        store.reserve(0)
    assert store.cursor == 1 and store.reserve(1) == slots(1, 1)[0]


def test_overlaps_jumps_and_peers(store):
    store.append("aa" * 16, 0, slots(0, 4))
    with pytest.raises(StoreError, match="reuse"):
        store.append("bb" * 16, 3, slots(3, 1))
    with pytest.raises(StoreError, match="holds 100 bytes"):
        store.append("bb" * 16, 4, [b"x"])
    store.append("cc" * 16, 4, slots(4, 1))
    store.jump(2)
    assert store.left == 3
    store.keep_common([("aa" * 16, 0, 4)])
    assert store.left == 2
    with pytest.raises(StoreError, match="no material"):
        store.reserve(4)
    assert store.cursor == 5 and store.left == 0


def test_a_second_process_is_refused(store, tmp_path):
    with pytest.raises(StoreError, match="in use"):
        Store(tmp_path / "pool", SIZE)


def test_reopening_remembers(tmp_path):
    s = Store(tmp_path / "p", SIZE)
    s.append("aa" * 16, 0, slots(0, 4))
    s.reserve(2)
    s.close()
    s = Store(tmp_path / "p", SIZE)
    assert s.cursor == 3 and s.left == 1 and s.purge() == 1 and s.left == 0
    s.close()


@given(cut=st.integers(0, 35), flips=st.lists(st.integers(0, 287), max_size=2))
def test_cursor_survives_torn_and_damaged_tails(tmp_path_factory, cut, flips):
    path = tmp_path_factory.mktemp("cursor") / "cursor"
    c = Cursor(path)
    for index in (4, 9, 17):
        c.burn_to(index)
    c.close()
    data = bytearray(path.read_bytes()[: 36 - cut])
    for bit in flips:
        if bit // 8 < len(data):
            data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)
    again = Cursor(path)
    assert again.next in (0, 4, 9, 17)
    assert not flips or again.next <= 17
    if not flips:
        assert again.next == [0, 4, 9, 17][len(data) // 12]
    again.burn_to(20)
    again.close()
    final = Cursor(path)
    assert final.next == 20
    final.close()


WORKER = """
import os, sys
from pathlib import Path
from blindsight.offline.store import Store
store = Store(Path(sys.argv[1]), 100)
out = open(sys.argv[2], "ab", buffering=0)
for n in range(1000):
    if store.left == 0:
        store.append(os.urandom(16).hex(), store.end, [bytes([(store.end + i) % 256]) * 100 for i in range(3)])
    index = store.cursor
    data = store.reserve(index)
    assert data == bytes([index % 256]) * 100
    out.write(b"%d\\n" % index)          # the first dependent byte
"""


def test_kill_at_any_moment_never_reuses_an_index(tmp_path):
    rng = random.Random(int.from_bytes(os.urandom(4)))
    log = tmp_path / "log"
    for _ in range(12):
        worker = subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path / "pool"), str(log)])
        try:
            worker.wait(0.3 + 0.4 * rng.random())
        except subprocess.TimeoutExpired:
            worker.send_signal(signal.SIGKILL)
            worker.wait()
        assert worker.returncode in (0, -signal.SIGKILL)
    used = [int(line) for line in log.read_text().splitlines()]
    assert len(used) > 20 and len(set(used)) == len(used)


DRAWS = [
    Draw("bits", 0, 4, 2, 70),
    Draw("ints", 1, 1, 17, 70),
    Draw("triples", 0, 0, 1, 130),
    Draw("ints", 0, 2, 32, 1),
]


def random_draw(rng, d, party):
    return tuple(
        rng.integers(0, 1 << 32, shape, dtype=np.uint64).astype(dtype)
        for dtype, shape in draw_arrays(d, party)
    )


@pytest.mark.parametrize("party", [0, 1])
def test_slot_bytes_round_trip_and_the_tape_is_strict(party):
    rng = np.random.default_rng(1)
    layout = Layout(party, {"x": 7} if party else {}, {"a": 5, "b": 3}, tuple(DRAWS))
    u32 = lambda n: rng.integers(0, 1 << 32, n, dtype=np.uint32)  # noqa: E731
    slot = Slot(
        3,
        {"x": u32(7)} if party else {},
        {"a": u32(5), "b": u32(3)},
        [(d, random_draw(rng, d, party)) for d in DRAWS],
    )
    data = layout.pack(slot)
    assert len(data) == layout.nbytes
    back = layout.unpack(data, 3)
    assert layout.pack(back) == data
    with pytest.raises(ValueError, match="where the plan has"):
        layout.unpack(data[:-1], 3)
    tape = Tape(back.draws)
    with pytest.raises(LookupError, match="another plan"):
        tape.draw(DRAWS[1])
    for d in DRAWS:
        assert len(tape.draw(d)) == len(draw_arrays(d, party))
    with pytest.raises(LookupError, match="used up"):
        tape.draw(DRAWS[0])


@pytest.mark.parametrize("d", DRAWS, ids=lambda d: d.kind)
def test_batch_draws_split_into_valid_draws(d):
    """Split an ideal batch draw and check the relation of every copy."""
    from blindsight.ot.ideal import dealt_pair

    batch = 3
    ends = dealt_pair(7)
    big = batch_draw(d, batch)
    halves = [split_draw(d, batch, party, ends[party].draw(big)) for party in (0, 1)]
    for b in range(batch):
        if d.kind == "triples":
            (a0, b0, c0), (a1, b1, c1) = halves[0][b], halves[1][b]
            assert np.array_equal((a0 ^ a1) & (b0 ^ b1), c0 ^ c1)
            continue
        (pads,), (choice, got) = halves[d.sender][b], halves[1 - d.sender][b]
        for i in range(d.n):
            j = sum(int(choice[t, i // 64] >> np.uint64(i % 64) & np.uint64(1)) << t for t in range(d.k))
            if d.kind == "ints":
                assert pads[j, i] == got[i]
            else:
                shift = np.uint64(i % 64)
                one = np.uint64(1)
                assert np.array_equal(pads[j, :, i // 64] >> shift & one, got[:, i // 64] >> shift & one)
        assert got.shape[-1] == (d.n if d.kind == "ints" else words(d.n))
