"""A hostile peer on the server link, at every message: no crash, no hang, no secret in an error.

One honest job (HELLO, pools, material, ingest, network, seal) is recorded between the real cloud worker and the real
helper service with the real engine. Then a peer that knows the recording plays one side against a fresh instance of the
other: it says everything as it was said, a replay in itself, but message k, which it changes. The victim has to end the
connection with one of its own errors (a `worker-error` is a defect), in bounded time, and neither what it tells the peer
nor its log may hold a secret. Silence is the transport's matter (its time limit, tests of the channel) and is played as
the error that the transport then raises.
"""

import itertools
import json
import logging
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "system"))
sys.path.insert(0, str(Path(__file__).parent))
import service_kit as kit
from test_canaries import BY_DESIGN, find, forms, leaked, of_the_register

from blindsight.channel.base import PeerClosed, PeerTimeout
from blindsight.channel.framing import CONTROL, DATA, ERROR, HEADER, FramedChannel
from blindsight.channel.memory import memory_pair
from blindsight.cloud.assemble import Assembler
from blindsight.cloud.config import CloudConfig
from blindsight.cloud.models import Registry
from blindsight.cloud.programs import Programs
from blindsight.cloud.store import Pictures
from blindsight.cloud.worker import Worker
from blindsight.helper.config import HelperConfig
from blindsight.helper.service import HelperService
from blindsight.service.config import load
from blindsight.service.engine import Engine
from blindsight.service.logs import Log
from blindsight.service.metrics import Metrics

Frame = tuple[int, bytes]  # kind, body
END_S = 90.0


class Recording:
    """A transport that passes everything on and keeps what its end sends."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.sent = inner, bytearray()

    def send(self, parts: list[memoryview]) -> None:
        for part in parts:
            self.sent += part
        self.inner.send(parts)

    def recv_into(self, view: memoryview) -> None:
        self.inner.recv_into(view)

    def close(self) -> None:
        self.inner.close()


def frames(data: bytes) -> list[Frame]:
    out, at = [], 0
    while at < len(data):
        size, kind = HEADER.unpack_from(data, at)
        out.append((kind, bytes(data[at + HEADER.size : at + HEADER.size + size])))
        at += HEADER.size + size
    return out


class Script:
    """The hostile end: says `data` and then `end`s; keeps what the victim says."""

    def __init__(self, data: bytes, end: type[Exception]) -> None:
        self._data, self._end, self.heard = memoryview(data), end, bytearray()

    def send(self, parts: list[memoryview]) -> None:
        for part in parts:
            self.heard += part

    def recv_into(self, view: memoryview) -> None:
        if len(self._data) < view.nbytes:
            raise self._end("the hostile peer says no more")
        view[:] = self._data[: view.nbytes]
        self._data = self._data[view.nbytes :]

    def close(self) -> None:
        pass


class Place:
    """A cloud with one accepted picture, and its helper; nothing of the job done yet."""

    def __init__(self, folder: Path, source: Path | None = None) -> None:
        self.folder = folder
        if source is None:
            site = kit.Site(folder, kit.free_port())
            device = site.device("cam-1")
            self.registered = of_the_register(site, device)
            self.parcel = device.picture(bytes((31 * i + 7) % 253 for i in range(256)))
            self.secrets = {
                "master": (folder / "helper" / "master.key").read_bytes(),
                "device": device.provision.secret,
                "pixels": self.parcel.pixels,
                "result key": self.parcel.result_key,
            }
        else:
            shutil.copytree(source, folder)
        self.cloud = load(CloudConfig, folder / "cloud.toml")
        self.helper = load(HelperConfig, folder / "helper.toml")
        if source is None:
            self._accept()

    def _accept(self) -> None:
        registry = Registry(self.cloud.models)

        def plan_of(name: str, plan_hash: bytes) -> Any:
            return registry.plan(registry.serving()[name][plan_hash])

        pictures = Pictures(self.cloud.database)
        assembler = Assembler(pictures, plan_of, self.cloud.limits, Metrics("cloud"), Log("cloud"))
        with pictures.database.transaction() as db:
            for topic, payload in self.parcel.messages():
                assembler.apply(db, topic, payload)
        row = pictures.get(self.parcel.device, self.parcel.image)
        assert row is not None and row["salt"] == self.parcel.salt, "the cloud has the salt"
        pictures.close()

    def worker(self, connect: Callable[[dict[str, object]], Any], metrics: Metrics) -> Worker:
        def engine(channel: Any, pair: str) -> Engine:
            return Engine(channel, self.cloud.data / "material" / pair)

        wake, due = threading.Event(), threading.Event()
        registry = Registry(self.cloud.models)
        return Worker(
            "w0", self.cloud, registry, Programs(1, registry), connect, engine, wake, due, metrics, Log("cloud")
        )  # fmt: skip


class Once:
    """Gives the worker one channel and then stops it."""

    def __init__(self, make: Callable[[dict[str, object]], Any]) -> None:
        self.make: Callable[[dict[str, object]], Any] | None = make
        self.worker: Worker | None = None

    def __call__(self, hello: dict[str, object]) -> Any:
        assert self.worker
        make, self.make = self.make, None
        if make is None:
            self.worker.stop.set()
            raise PeerClosed("there is no second connection")
        return make(hello)


class Honest:
    """The recording: what each side said, and the state before."""

    def __init__(self, folder: Path) -> None:
        place = Place(folder / "live")
        self.secrets, self.start, self.live = place.secrets, folder / "start", place.folder
        self.parcel, self.registered = place.parcel, place.registered
        shutil.copytree(place.folder, self.start)
        ends = memory_pair(timeout=60)
        recorded = [Recording(end._transport) for end in ends]
        for end, transport in zip(ends, recorded, strict=True):
            end._transport = transport
        helper = HelperService(place.helper)
        other = threading.Thread(target=self._helper, args=(helper, recorded[1]), daemon=True)
        other.start()

        def connect(hello: dict[str, object]) -> FramedChannel:
            channel = FramedChannel(recorded[0], 0)
            channel.handshake(hello)
            return channel

        metrics, once = Metrics("cloud"), Once(connect)
        worker = once.worker = place.worker(once, metrics)
        worker.start()
        deadline = threading.Event()
        for _ in range(int(END_S * 20)):
            if metrics.value("pictures_answered"):
                break
            deadline.wait(0.05)
        assert metrics.value("pictures_answered") == 1, "the honest job did not end"
        worker.stop.set()
        worker.join(30)
        other.join(30)
        helper._acceptor._listener.close()
        self.said = [frames(bytes(r.sent)) for r in recorded]
        share = next(body for kind, body in reversed(self.said[1]) if kind == DATA)
        self.secrets["sealed share"] = share[24:]

    @staticmethod
    def _helper(helper: HelperService, transport: Any) -> None:
        channel = FramedChannel(transport, 1)
        channel.handshake(helper._hello())
        helper._connection(channel)


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Honest:
    return Honest(tmp_path_factory.mktemp("honest"))


def pack(frame: Frame) -> bytes:
    return HEADER.pack(len(frame[1]), frame[0]) + frame[1]


def longer(frame: Frame, _before: Frame) -> bytes:
    return HEADER.pack(len(frame[1]) + 1, frame[0]) + frame[1] + b"x"


def shorter(frame: Frame, _before: Frame) -> bytes:
    return HEADER.pack(max(0, len(frame[1]) - 1), frame[0]) + frame[1][:-1]


def oversized(frame: Frame, _before: Frame) -> bytes:
    return HEADER.pack(0xFFFFFFFF, frame[0]) + frame[1]


def wrong_type(frame: Frame, _before: Frame) -> bytes:
    return HEADER.pack(len(frame[1]), DATA if frame[0] != DATA else CONTROL) + frame[1]


def unknown_type(frame: Frame, _before: Frame) -> bytes:
    return HEADER.pack(len(frame[1]), 200) + frame[1]


def replayed(frame: Frame, before: Frame) -> bytes:
    return pack(before) + pack(frame)


def noise(frame: Frame, _before: Frame) -> bytes:
    """Of the right kind and length: garbage where a number, a point or a ciphertext was; of JSON, other values."""
    if frame[0] == DATA:
        return pack((DATA, bytes((i * 197 + 91) & 255 for i in range(len(frame[1])))))
    message = json.loads(frame[1] or b"{}")
    changed = {key: [None, -1, "\n", {}, 2**70][number % 5] for number, key in enumerate(message)}
    return pack((frame[0], json.dumps(changed).encode()))


def closed(_frame: Frame, _before: Frame) -> bytes:
    return b""


MUTATIONS = [longer, shorter, oversized, wrong_type, unknown_type, replayed, noise, closed]


class Told(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(
            f"{record.levelname} {record.getMessage()} {getattr(record, 'fields', {})} {record.exc_text}"
        )
        if record.exc_info:
            self.lines.append(logging.Formatter().formatException(record.exc_info))  # type: ignore[arg-type]


def attack(honest: Honest, victim: int, data: bytes, end: type[Exception], folder: Path) -> tuple[str, bytes]:
    """(log, what the victim said) after one hostile connection; asserts that it ended, and how."""
    place, script = Place(folder, honest.start), Script(data, end)
    told, root = Told(), logging.getLogger("blindsight")
    root.addHandler(told)
    root.setLevel("DEBUG")
    metrics = Metrics("cloud")
    if victim == 1:
        helper = HelperService(place.helper)
        metrics = helper.metrics

        def run() -> None:
            channel = FramedChannel(script, 1)
            try:
                channel.handshake(helper._hello())
            except Exception as error:  # the acceptor's own handling, in short
                assert type(error).__module__.startswith("blindsight."), error
                return
            helper._connection(channel)

        thread = threading.Thread(target=run, daemon=True)
    else:

        def connect(hello: dict[str, object]) -> FramedChannel:
            channel = FramedChannel(script, 0)
            channel.handshake(hello)
            return channel

        once = Once(connect)
        thread = once.worker = place.worker(once, metrics)
    try:
        thread.start()
        thread.join(END_S)
        assert not thread.is_alive(), "it hangs"
    finally:
        root.removeHandler(told)
        if victim == 1:
            helper._acceptor._listener.close()
    text = "\n".join(told.lines)
    assert metrics.value("worker_errors") == 0, text
    return text, bytes(script.heard)


def check_secrets(honest: Honest, log: str, heard: bytes) -> None:
    errors = b"".join(body for kind, body in frames(heard) if kind == ERROR)
    for name, secret in honest.secrets.items():
        for form in forms(secret):
            assert form not in errors, f"{name} in an error"
            assert form not in log.encode(), f"{name} in the log"


def cases(honest: Honest, victim: int) -> list[tuple[int, Callable[[Frame, Frame], bytes]]]:
    return list(itertools.product(range(len(honest.said[1 - victim])), MUTATIONS))


def play(honest: Honest, victim: int, k: int, mutate: Callable[[Frame, Frame], bytes], folder: Path) -> None:
    said = honest.said[1 - victim]
    data = b"".join(map(pack, said[:k])) + mutate(said[k], said[k - 1] if k else said[0])
    if mutate is noise:
        data += b"".join(map(pack, said[k + 1 :]))
    end = PeerTimeout if k % 2 else PeerClosed
    log, heard = attack(honest, victim, data, end, folder)
    check_secrets(honest, log, heard)
    shutil.rmtree(folder)


@pytest.mark.parametrize("victim", [0, 1], ids=["cloud", "helper"])
def test_a_hostile_peer(honest: Honest, victim: int, tmp_path: Path) -> None:
    """Every message once, the changes taking turns."""
    for k in range(len(honest.said[1 - victim])):
        play(honest, victim, k, MUTATIONS[(k + victim) % len(MUTATIONS)], tmp_path / f"{k}")


@pytest.mark.long
@pytest.mark.parametrize("victim", [0, 1], ids=["cloud", "helper"])
def test_every_change_of_every_message(honest: Honest, victim: int, tmp_path: Path) -> None:
    for number, (k, mutate) in enumerate(cases(honest, victim)):
        play(honest, victim, k, mutate, tmp_path / f"{number}")


def test_the_recording_covers_the_job(honest: Honest) -> None:
    """HELLO, control and data both ways; the replay of all of it in order is answered up to the first new number."""
    for side in honest.said:
        assert {kind for kind, _ in side} >= {1, CONTROL, DATA}
    ops = [json.loads(body)["op"] for kind, body in honest.said[0] if kind == CONTROL]
    assert {"pool", "material", "infer", "seal"} <= set(ops)


def test_the_salt_stays_with_the_cloud(honest: Honest) -> None:
    """In nothing that the cloud's worker says, neither raw nor as digits: the helper cannot try guesses of the picture on
    the manifest's commitments. The same search finds the manifest and the image's id, which do pass.
    """
    sent = b"\n".join(body for _, body in honest.said[0])
    parcel = honest.parcel

    def passes(value: bytes) -> bool:
        return any(form in sent for form in forms(value))

    assert not passes(parcel.salt)
    assert parcel.manifest in sent and passes(parcel.manifest), "the search is blind to bytes"
    assert parcel.image.hex().encode() in sent and passes(parcel.image), "the search is blind to digits"


def test_the_files_of_the_real_engine_hold_no_secret(honest: Honest, tmp_path: Path) -> None:
    """As `test_canaries.py`, of both stores and of the material that the real protocols made and used."""
    secrets = {**honest.registered, "pixels": honest.parcel.pixels, "result key": honest.parcel.result_key}
    assert len(list(honest.live.rglob("material/*/*/*"))) > 2, "there is material"
    assert find(honest.live, secrets, BY_DESIGN) == []
    leaked(tmp_path, secrets)
