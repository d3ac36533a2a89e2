"""The material store: once only, whatever is killed; nothing readable after use."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given
from hypothesis import strategies as st

from blindsight.offline.cursor import Cursor
from blindsight.offline.slot import Layout, Slot, Tape, batch_draw, draw_arrays, split_draw
from blindsight.offline.store import Store, StoreError
from blindsight.ot.correlations import Draw, words
from blindsight.service.engine import Engine
from blindsight.wire.jobs import Pool

SIZE, A, B = 100, "aa" * 16, "bb" * 16


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


def legible(files, batch: str = A, first: int = 0, keys: bytes | None = None) -> list[int]:
    """What a thief of these files reads: the slots that any of the batch's keys opens, by the format alone, without `Store`."""
    keys = (files / f"{batch}.key").read_bytes() if keys is None else keys
    sealed, found = (files / f"{batch}.bin").read_bytes(), []
    for at in range(len(sealed) // (SIZE + 16)):
        index = first + at
        for key in {keys[i : i + 32] for i in range(0, len(keys), 32)}:
            try:
                data = ChaCha20Poly1305(key).decrypt(
                    index.to_bytes(8, "little") + bytes(4),
                    sealed[at * (SIZE + 16) : (at + 1) * (SIZE + 16)],
                    batch.encode(),
                )
            except InvalidTag:
                continue
            assert data == slots(index, 1)[0]
            found.append(index)
    return found


def test_a_used_slot_cannot_be_read_while_its_batch_waits(store, tmp_path):
    store.append(A, 0, slots(0, 4))
    pool, copy = tmp_path / "pool", tmp_path / "stolen"
    before = (pool / f"{A}.key").read_bytes()
    assert len({before[i : i + 32] for i in range(0, 128, 32)}) == 4 and legible(pool) == [0, 1, 2, 3]
    store.reserve(0)
    shutil.copytree(pool, copy)
    assert legible(copy) == [1, 2, 3]
    assert (copy / f"{A}.key").read_bytes() == bytes(32) + before[32:]
    assert legible(copy, keys=before) == [
        0,
        1,
        2,
        3,
    ]  # the ciphertext is there still: it is the key that went
    assert store.reserve(2) == slots(2, 1)[0] and legible(pool) == [3]  # 1 was skipped


def test_a_jump_makes_what_it_skips_illegible(store, tmp_path):
    store.append(A, 0, slots(0, 4))
    store.append(B, 4, slots(4, 4))
    store.jump(2)
    assert legible(tmp_path / "pool") == [2, 3]
    store.jump(5)
    assert not list((tmp_path / "pool").glob(f"{A}.*")) and legible(tmp_path / "pool", B, 4) == [5, 6, 7]
    with pytest.raises(StoreError, match="no material"):
        store.reserve(9)
    assert not list((tmp_path / "pool").glob("*.key"))


def test_the_key_goes_before_the_bytes_come(store, tmp_path, monkeypatch):
    """Burn, then wipe, both durable; a slot whose key could not be wiped is not given out."""
    store.append(A, 0, slots(0, 4))
    names = {path.stat().st_ino: path.name for path in (tmp_path / "pool").iterdir()}
    synced, sync = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(names[os.fstat(fd).st_ino]) or sync(fd))
    store.reserve(0)
    assert synced == ["cursor", f"{A}.key"]

    def full(path, size):
        raise OSError("the disk fails")

    monkeypatch.setattr("blindsight.offline.store._zero", full)
    with pytest.raises(OSError, match="the disk fails"):
        store.reserve(1)
    assert store.cursor == 2


def test_a_crash_between_burn_and_wipe_is_repaired_at_opening(tmp_path, monkeypatch):
    pool = tmp_path / "p"
    s = Store(pool, SIZE)
    s.append(A, 0, slots(0, 4))
    with monkeypatch.context() as crash:
        crash.setattr(s, "_open_slot", lambda batch, index: None)
        crash.setattr(s, "_drop_used", lambda: None)
        s.reserve(1)
    s.close()
    assert legible(pool) == [0, 1, 2, 3]  # the crash left them
    s = Store(pool, None)
    assert s.cursor == 2 and s.left == 2 and legible(pool) == [2, 3]
    s.close()


@pytest.mark.parametrize("cursor", [0, 5])
@pytest.mark.parametrize(
    "keys", [os.urandom(32), os.urandom(95), b"", None], ids=["old", "torn", "empty", "gone"]
)
def test_a_batch_without_a_key_a_slot_is_burnt_and_deleted(tmp_path, keys, cursor):
    """Older versions had one key of 32 bytes for a batch: its slots are never used, nor their indices again."""
    pool = tmp_path / "p"
    s = Store(pool, SIZE)
    s.append(A, 0, slots(0, 4))
    s.append(B, 4, slots(4, 3))
    s.append("cc" * 16, 7, slots(7, 2))
    s.jump(cursor)
    s.close()
    (pool / f"{B}.key").unlink()
    if keys is not None:
        (pool / f"{B}.key").write_bytes(keys)
    s = Store(pool, SIZE)
    assert [b.first for b in s.batches] == [7] and s.cursor == 7 and s.end == 9 and s.left == 2
    assert not list(pool.glob(f"{A}.*")) and not list(pool.glob(f"{B}.*"))
    with pytest.raises(StoreError, match="used before"):
        s.reserve(6)
    with pytest.raises(StoreError, match="reuse"):
        s.append(B, 4, slots(4, 3))
    assert s.reserve(7) == slots(7, 1)[0]
    s.close()


def test_an_old_key_file_can_be_purged(tmp_path):
    pool = tmp_path / "p"
    s = Store(pool, SIZE)
    s.append(A, 0, slots(0, 4))
    s.close()
    (pool / f"{A}.key").write_bytes(os.urandom(32))
    s = Store(pool, None)
    assert s.purge() == 0 and s.cursor == 4
    s.close()
    assert {p.name for p in pool.iterdir()} == {"cursor", "lock"}


@pytest.mark.parametrize("field", ["first", "count"])
def test_a_batch_at_an_impossible_index_does_not_move_the_cursor(tmp_path, field):
    s = Store(tmp_path / "p", SIZE)
    s.close()
    (tmp_path / "p" / f"{A}.json").write_text(json.dumps({"id": A, "first": 1, "count": 1, field: 2**64}))
    for _ in range(2):  # the first failure lets go of the lock
        with pytest.raises(StoreError, match="damaged"):
            Store(tmp_path / "p", SIZE)
    assert (tmp_path / "p" / "cursor").stat().st_size == 0


PROGRAM = SimpleNamespace(name="m", plan=SimpleNamespace(hash=bytes(32)), version=bytes(32))


@pytest.mark.parametrize("text", ["{", '{"id": "x", "first": 0, "count": 2}', '{"first": 1e99}', "[" * 5000])
def test_a_damaged_description_says_purge_and_purge_destroys(tmp_path, text):
    store = Store(tmp_path / "pool", SIZE)
    store.append(A, 0, slots(0, 2))
    store.close()
    (tmp_path / "pool" / f"{A}.json").write_text(text)
    with pytest.raises(StoreError, match="blindsight material purge"):
        Store(tmp_path / "pool", SIZE)
    store = Store(tmp_path / "pool", None)
    store.purge()
    store.close()
    assert {p.name for p in (tmp_path / "pool").iterdir()} == {"cursor", "lock"}


def connect(*stores: Store) -> None:
    """What two servers do before a pool's first use on a connection: `Engine.pool`, over the wire, `Engine.merge`."""
    ends = [SimpleNamespace(_store=lambda program, kind, s=s: s) for s in stores]
    told = [Pool.from_json(Engine.pool(end, PROGRAM, "mask").to_json()) for end in ends]
    for end, peer in zip(ends, reversed(told), strict=True):
        Engine.merge(end, PROGRAM, peer)


@pytest.mark.parametrize("restored", [0, 1])
@pytest.mark.parametrize("used", [1, 3, 4, 6])
def test_a_backup_restored_on_one_side_is_caught(tmp_path, restored, used):
    """Copy a server's folder, use `used` slots more, put the copy back: no slot is given out twice, by either server."""
    folders = [tmp_path / "cloud", tmp_path / "helper"]
    stores = [Store(folder, SIZE) for folder in folders]
    given: list[list[int]] = [[], []]

    def use(index: int) -> None:
        for party, s in enumerate(stores):
            assert s.reserve(index) == slots(index, 1)[0]
            given[party].append(index)

    def make(batch: str) -> None:
        first = max(s.end for s in stores)
        for s in stores:
            s.append(batch, first, slots(first, 4))

    make(A)
    use(0)
    shutil.copytree(folders[restored], tmp_path / "backup")
    for index in range(1, 1 + used):
        if stores[0].left == 0:
            make(B)
        use(index)
    stores[restored].close()
    shutil.rmtree(folders[restored])
    shutil.copytree(tmp_path / "backup", folders[restored])
    back = stores[restored] = Store(folders[restored], SIZE)
    assert back.cursor == 1 and legible(folders[restored]) == [1, 2, 3]  # alone it would give them again
    with pytest.raises(StoreError, match="old copy"):
        stores[1 - restored].reserve(back.cursor)  # the peer refuses even without the comparison

    connect(*stores)
    assert [s.cursor for s in stores] == [1 + used] * 2 and stores[0].batches == stores[1].batches
    for index in range(1 + used):
        for s in stores:
            with pytest.raises(StoreError, match="used before"):
                s.reserve(index)
    if used < 3:
        assert legible(folders[restored]) == list(range(1 + used, 4))
    else:
        assert not list(folders[restored].glob("*.key"))
    for number in range(6):
        if stores[0].left == 0:
            make(f"{number:032x}")
        use(max(stores[0].cursor, stores[0].batches[0].first))
    for indices in given:
        assert len(set(indices)) == len(indices) == 1 + used + 6
    for s in stores:
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
