"""The cloud's pictures and leases, the helper's bindings: each rule of docs/wire.md section 7 on the stores
alone, on SQLite and on a real PostgreSQL server alike.
"""

import os
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "system"))
from postgres_kit import STORES, server, store_at

from blindsight.cloud.jobs import Jobs
from blindsight.cloud.store import Pictures
from blindsight.helper.config import Limits
from blindsight.helper.keys import Keys
from blindsight.helper.store import Store, heads
from blindsight.service.database import Place, StoreFault
from blindsight.service.postgres import check_address
from blindsight.wire import keys
from blindsight.wire.blocks import Layout, Mode
from blindsight.wire.jobs import Code, Refused
from blindsight.wire.result import FailureCode

MODELS = {"toy": {bytes(32)}}


@pytest.fixture(params=STORES)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A new store of each kind."""
    return store_at(request.param, tmp_path / "cloud.db")


def accept(path: Place, *images: bytes, device: str = "cam") -> None:
    pictures = Pictures(path)
    with pictures.database.transaction() as db:
        for image in images:
            pictures.put_block(db, device, image, 0, b"block")
            pictures.put_manifest(db, device, image, b"manifest", b"h" * 32, b"s" * 32, ("toy", bytes(32)))
            pictures.accept(db, device, image)
    pictures.close()


def test_a_lease_is_exclusive_and_expires(path: Place) -> None:
    accept(path, b"1" * 16)
    one, two = Jobs(path), Jobs(path)
    job = one.lease("w0", 0.2, MODELS)
    assert job is not None and job.attempt == 1 and job.share is None and one.blocks(job) == [b"block"]
    assert two.lease("w1", 1, MODELS) is None
    one.renew("w0", 0.4)
    time.sleep(0.25)
    assert two.lease("w1", 1, MODELS) is None  # renewed
    time.sleep(0.2)
    again = two.lease("w1", 1, MODELS)
    assert again is not None and again.attempt == 2
    assert not one.put_share(job, "w0", b"late", 0)  # the lease has gone to another
    assert two.put_share(again, "w1", b"good", 0)
    assert not one.finish(job, b"sealed")
    assert two.finish(again, b"sealed") and not two.finish(again, b"sealed")
    one.close()
    two.close()


def test_only_models_both_sides_have(path: Place) -> None:
    accept(path, b"1" * 16)
    jobs = Jobs(path)
    assert jobs.lease("w0", 1, {}) is None
    assert jobs.lease("w0", 1, {"toy": {b"x" * 32}}) is None
    assert jobs.lease("w0", 1, MODELS) is not None
    jobs.close()


def test_a_shared_job_is_not_run_again(path: Place) -> None:
    """After the share is durable a restart asks for the seal of that attempt, and only a `rerun` raises it."""
    accept(path, b"1" * 16)
    jobs = Jobs(path)
    job = jobs.lease("w0", 60, MODELS)
    assert job is not None and jobs.put_share(job, "w0", b"share", 0)
    assert jobs.release("w0") == 1
    resumed = jobs.lease("w0", 60, MODELS)
    assert resumed is not None and (resumed.attempt, resumed.share) == (1, b"share")
    jobs.rerun(resumed)
    fresh = jobs.lease("w0", 60, MODELS)
    assert fresh is not None and (fresh.attempt, fresh.share) == (2, None)
    jobs.close()


def test_retry_waits_and_failure_ends(path: Place) -> None:
    accept(path, b"1" * 16)
    jobs = Jobs(path)
    job = jobs.lease("w0", 60, MODELS)
    assert job is not None
    jobs.retry(job, "w0", 0.2)
    assert jobs.lease("w0", 60, MODELS) is None
    time.sleep(0.25)
    job = jobs.lease("w0", 60, MODELS)
    assert job is not None and job.attempt == 2
    jobs.fail(job, FailureCode.GAVE_UP, "x" * 500)
    assert jobs.lease("w0", 60, MODELS) is None
    pictures = Pictures(path)
    (row,) = pictures.due("0123456789abcdef")
    assert (row["state"], row["code"], len(row["reason"])) == ("failed", 5, 200)
    assert pictures.blocks("cam", b"1" * 16) == []
    pictures.close()
    jobs.close()


def test_due_until_published_and_again_when_asked(path: Place) -> None:
    accept(path, b"1" * 16, b"2" * 16)
    pictures, shards = Pictures(path), "0123456789abcdef"
    mine = kit_shard("cam")
    others = shards.replace(mine, "")
    assert len(pictures.due(shards)) == 2 and pictures.due(others) == []
    pictures.published([("cam", b"1" * 16, "receipt"), ("cam", b"2" * 16, "receipt")])
    assert pictures.due(shards) == []
    with pictures.database.transaction() as db:
        pictures.ask_again(db, "cam", b"1" * 16, 0)
    assert [r["image"] for r in pictures.due(shards)] == [b"1" * 16]
    with pictures.database.transaction() as db:
        pictures.ask_again(db, "cam", None, 0)
        pictures.ask_again(db, "other", None, 0)
    assert len(pictures.due(shards)) == 2
    pictures.close()


def kit_shard(device: str) -> str:
    from blindsight.wire.keys import shard

    return shard(device)


def test_purge_forgets_what_never_became_whole(path: Place) -> None:
    accept(path, b"1" * 16)
    pictures = Pictures(path)
    with pictures.database.transaction() as db:
        pictures.put_block(db, "cam", b"2" * 16, 0, b"half")
    assert pictures.waiting("cam") == (1, 4)
    assert pictures.purge(60, 0) == 0
    assert pictures.purge(-1, 0) == 1
    assert pictures.waiting("cam") == (0, 0) and pictures.counts() == {"ready": 1}
    pictures.close()


def test_a_transaction_that_fails_leaves_nothing(path: Place) -> None:
    pictures = Pictures(path)
    with pytest.raises(RuntimeError), pictures.database.transaction() as db:
        pictures.put_block(db, "cam", b"1" * 16, 0, b"x")
        raise RuntimeError
    assert pictures.get("cam", b"1" * 16) is None
    assert not isinstance(path, Path) or path.stat().st_mode & 0o777 == 0o600
    pictures.close()


def test_many_workers_share_the_jobs(path: Place) -> None:
    """Six connections at once: each job goes to one worker, in all attempts are 1, and none is left."""
    images = [bytes([i]) * 16 for i in range(60)]
    accept(path, *images)
    taken: list[tuple[str, bytes]] = []
    faults: list[BaseException] = []

    def work(name: str) -> None:
        jobs = Jobs(path)
        try:
            while (job := jobs.lease(name, 60, MODELS)) is not None:
                assert (
                    job.attempt == 1
                    and jobs.put_share(job, name, b"share", 0)
                    and jobs.finish(job, b"sealed")
                )
                taken.append((name, job.image))
        except BaseException as error:
            faults.append(error)
        finally:
            jobs.close()

    threads = [threading.Thread(target=work, args=(f"w{i}",)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not faults
    # A worker whose SELECT met only locked rows leaves early; the others take what is left.
    assert sorted(image for _, image in taken) == images


def test_a_clock_that_jumps_strands_no_picture(path: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease and a back-off written a day ahead, before the clock was set back, hold up nobody; a lease of this
    minute does.
    """
    accept(path, b"1" * 16)
    jobs = Jobs(path)
    now = jobs.database.now()
    with monkeypatch.context() as patch:
        patch.setattr(jobs.database, "now", lambda: now + 86400)
        assert jobs.lease("w0", 60, MODELS) is not None
    assert jobs.lease("w1", 60, MODELS) is not None
    assert jobs.lease("w2", 60, MODELS) is None
    with monkeypatch.context() as patch:
        patch.setattr(jobs.database, "now", lambda: now + 7200)
        job = jobs.lease("w2", 60, MODELS)
        assert job is not None
        jobs.retry(job, "w2", 30)
    assert jobs.lease("w3", 60, MODELS) is not None
    jobs.close()


def test_a_model_nobody_serves_holds_up_no_other(path: Place) -> None:
    """A hundred older pictures of a model that went do not stand in the way."""
    pictures = Pictures(path)
    with pictures.database.transaction() as db:
        for i in range(100):
            image = bytes([i]) * 16
            pictures.put_manifest(db, "old", image, b"m", b"h" * 32, b"s" * 32, ("gone", bytes(32)))
            pictures.accept(db, "old", image)
    accept(path, b"x" * 16)
    jobs = Jobs(path)
    job = jobs.lease("w0", 60, MODELS)
    assert job is not None and job.device == "cam"
    jobs.close()
    pictures.close()


def test_everything_not_accepted_counts(path: Place) -> None:
    """Blocks and manifests of unfinished pictures are a device's own debt; accepted ones are counted apart."""
    pictures = Pictures(path)
    with pictures.database.transaction() as db:
        for i in range(3):
            pictures.put_block(db, "cam", bytes([i]) * 16, 0, b"x" * 100)
            pictures.put_manifest(db, "cam", bytes([i]) * 16, b"m" * 50, b"h", b"s", ("toy", bytes(32)))
        pictures.put_block(db, "other", bytes(16), 0, b"x" * 7)
    assert pictures.waiting("cam") == (3, 450) and pictures.waiting("other") == (1, 7)
    with pictures.database.transaction() as db:
        pictures.accept(db, "cam", bytes(16))
    assert pictures.waiting("cam") == (2, 300) and pictures.queued("cam") == pictures.backlog() == 1
    pictures.close()


def test_quarantine_keeps_the_newest(path: Place) -> None:
    pictures = Pictures(path)
    for i in range(105):
        pictures.quarantine(f"t{i}", b"payload", "ValueError")
    kept = pictures.quarantined()
    assert len(kept) == 100 and kept[-1]["topic"] == "t104"
    pictures.purge(-1, 0)
    assert pictures.quarantined() == [] and pictures.release() == 0
    pictures.close()


def test_old_ids_go(path: Place) -> None:
    """Answered long ago and published: the id is forgotten; what is due or young stays."""
    accept(path, b"1" * 16, b"2" * 16)
    jobs, pictures = Jobs(path), Pictures(path)
    for _ in range(2):
        job = jobs.lease("w0", 60, MODELS)
        assert job is not None and jobs.put_share(job, "w0", b"share", 0) and jobs.finish(job, b"sealed")
    pictures.published([("cam", b"1" * 16, "answer"), ("cam", b"1" * 16, "receipt")])
    pictures.purge(60, 60, 60)
    assert pictures.counts() == {"answered": 2}
    pictures.purge(60, -1, -1)
    assert pictures.counts() == {"answered": 1} and pictures.get("cam", b"2" * 16) is not None
    jobs.close()
    pictures.close()


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://u:se%cret@db.example/bs",
        "postgresql://u:se cret@db.example/bs",
        "postgresql://u:secret@[::1/bs",
        "postgresql://u:secret@db.example/bs",
        "postgresql://u:secret@127.0.0.1,db.example/bs?sslmode=require",
        "postgresql:///bs?password=secret&hostaddr=192.0.2.1",
        "postgresql:///bs?password=secret&service=far",
        "mysql://u:secret@db.example/bs",
    ],
)
def test_an_address_that_is_no_good_is_not_repeated(address: str) -> None:
    """Far servers only with TLS that checks the name; and no password in an error."""
    with pytest.raises(StoreFault) as error:
        check_address(address)
    for word in ("secret", "se%cret", "se cret"):
        assert word not in str(error.value)
    assert error.value.__suppress_context__ or error.value.__context__ is None


def test_a_far_server_in_the_environment_needs_tls_too(monkeypatch: pytest.MonkeyPatch) -> None:
    good = "postgresql://u@db.example/bs?sslmode=verify-full"
    assert check_address(good) == good and check_address("postgresql:///bs") == "postgresql:///bs"
    for name, value in (("PGHOST", "db.example"), ("PGHOSTADDR", "192.0.2.1"), ("PGSERVICE", "far")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            with pytest.raises(StoreFault):
                check_address("postgresql:///bs")


def test_a_server_that_restarts_is_found_again() -> None:
    """PostgreSQL dies under its clients: the call fails as a store fault, what was committed is there afterwards."""
    place = server().database()
    accept(place, b"1" * 16)
    jobs = Jobs(place)
    assert jobs.lease("w0", 60, MODELS) is not None
    server().stop()
    with pytest.raises(StoreFault):
        jobs.lease("w1", 60, MODELS)
    server().start()
    assert jobs.release("w0") == 1
    job = jobs.lease("w1", 60, MODELS)
    assert job is not None and job.attempt == 2
    jobs.close()


# --- the helper


def picture(image: int, mode: Mode = Mode.RLWE, device: str = "cam", nonce: bytes = bytes(12)) -> Any:
    layout = Layout(mode, 64, 1)
    return SimpleNamespace(
        device=device, image=bytes([image]) * 16, mode=mode, layout=layout, nonce=nonce, key_id=b"k" * 8
    )


@pytest.fixture
def store(path: Place) -> Any:
    made = Store(path)
    yield made
    made.close()


def refused(call: Any, *args: Any) -> int:
    with pytest.raises(Refused) as caught:
        call(*args)
    return int(caught.value.code)


def test_an_image_is_bound_to_one_manifest(store: Store) -> None:
    p, seen = picture(1), [os.urandom(32)]
    store.bind(p, b"m" * 32, 1, seen, Limits())
    store.bind(p, b"m" * 32, 2, seen, Limits())
    assert refused(store.bind, p, b"n" * 32, 3, seen, Limits()) == FailureCode.MANIFEST
    assert refused(store.bind, p, b"m" * 32, 2, seen, Limits()) == Code.AGAIN
    store.bind(p, b"m" * 32, 9, seen, Limits())


def test_a_c1_belongs_to_one_picture(store: Store) -> None:
    seen = [os.urandom(32), os.urandom(32)]
    store.bind(picture(1), b"m" * 32, 1, seen, Limits())
    assert (
        refused(store.bind, picture(2), b"n" * 32, 1, [os.urandom(32), seen[1]], Limits())
        == FailureCode.BLOCK
    )
    other = picture(1, device="other")
    assert refused(store.bind, other, b"n" * 32, 1, [seen[0]], Limits()) == FailureCode.BLOCK
    twice = os.urandom(32)
    assert refused(store.bind, picture(3), b"n" * 32, 1, [twice, twice], Limits()) == FailureCode.BLOCK
    # what was refused left no trace: its own c1 may still be used
    store.bind(picture(2), b"n" * 32, 1, [os.urandom(32)], Limits())


def test_quotas(store: Store) -> None:
    limits = Limits(pictures_a_day=2, attempts=2)
    for i in (1, 2):
        store.bind(picture(i), b"m" * 32, 1, [os.urandom(32)], limits)
    assert refused(store.bind, picture(3), b"m" * 32, 1, [os.urandom(32)], limits) == FailureCode.QUOTA
    store.bind(picture(3, device="other"), b"m" * 32, 1, [os.urandom(32)], limits)
    seen = [os.urandom(32)]
    store.bind(picture(4, device="more"), b"m" * 32, 1, seen, limits)
    store.bind(picture(4, device="more"), b"m" * 32, 2, seen, limits)
    assert refused(store.bind, picture(4, device="more"), b"m" * 32, 3, seen, limits) == FailureCode.QUOTA


def test_answered_once(store: Store) -> None:
    p, image = picture(1), bytes([1]) * 16
    calls: list[int] = []

    def seal() -> bytes:
        calls.append(1)
        return b"sealed" + bytes([len(calls)])

    assert refused(store.sealed, "cam", image, 1, seal) == Code.RERUN  # never bound
    store.bind(p, b"m" * 32, 1, [b"c" * 32], Limits())
    assert refused(store.sealed, "cam", image, 1, None) == Code.RERUN  # its share is gone
    store.bind(p, b"m" * 32, 2, [b"c" * 32], Limits())
    first = store.sealed("cam", image, 2, seal)
    assert store.sealed("cam", image, 2, seal) == first == store.sealed("cam", image, 2, None)
    assert calls == [1]
    assert refused(store.sealed, "cam", image, 1, seal) == Code.LOST
    assert refused(store.bind, p, b"m" * 32, 3, [b"c" * 32], Limits()) == Code.ANSWERED


def test_a_seal_that_fails_answers_nothing(store: Store) -> None:
    store.bind(picture(1), b"m" * 32, 1, [b"c" * 32], Limits())

    def broken() -> bytes:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        store.sealed("cam", bytes([1]) * 16, 1, broken)
    assert store.sealed("cam", bytes([1]) * 16, 1, lambda: b"ok") == b"ok"


def test_heads() -> None:
    """A hash a polynomial of c1 or seed; in `aes` one of the device's nonce."""
    polys = [os.urandom(3000) for _ in range(2)]
    changed = [p[:2304] + b"other c0" for p in polys]
    assert heads(picture(1), polys) == heads(picture(2), changed) and len(set(heads(picture(1), polys))) == 2
    assert heads(picture(1, Mode.RLWE_SK), polys) == heads(picture(1, Mode.RLWE_SK), [p[:32] for p in polys])
    one, two = (heads(picture(1, Mode.AES, d, b"n" * 12), []) for d in ("cam", "other"))
    assert len(one) == 1 and one != two


def test_what_an_ended_key_left_is_pruned(path: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures and c1 of a key go once the key has ended, in several transactions; those of live keys stay."""
    monkeypatch.setattr("blindsight.helper.store.PRUNE_ROWS", 7)
    register, store = Keys(bytes(32), path), Store(path)
    ids = [keys.key_id_public(register.provision("cam").public_key) for _ in range(2)]
    seen = [os.urandom(32) for _ in range(40)]
    for i, head in enumerate(seen):
        p = picture(i)
        p.key_id = ids[i % 2]
        store.bind(p, b"m" * 32, 1, [head], Limits())
    assert store.prune() == 0
    register.retire("cam")
    assert store.prune() == 40 and store.prune() == 0  # 20 pictures, 20 c1
    p = picture(99)
    p.key_id = ids[1]
    assert refused(store.bind, p, b"m" * 32, 1, [seen[1]], Limits()) == FailureCode.BLOCK
    store.bind(p, b"m" * 32, 1, [seen[0]], Limits())
    store.close()
    register.close()


def test_two_helpers_bind_a_picture_once(path: Place) -> None:
    """Eight connections race for one image under two manifests, and for one c1 under two images."""
    outcomes: list[str] = []
    head = os.urandom(32)

    def race(i: int) -> None:
        store = Store(path)
        try:
            store.bind(picture(i % 2), bytes([i % 2]) * 32, i + 1, [head], Limits())
            outcomes.append(f"bound {i % 2}")
        except Refused as refusal:
            outcomes.append(str(int(refusal.code)))
        finally:
            store.close()

    threads = [threading.Thread(target=race, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    bound = {o for o in outcomes if o.startswith("bound")}
    assert len(outcomes) == 8 and len(bound) == 1  # the c1 belongs to one of the two images
    assert set(outcomes) - bound <= {str(int(FailureCode.BLOCK)), str(int(Code.AGAIN))}
