"""Every parser of untrusted or damaged bytes as a fuzz target: `TARGETS[name]` is `(run, seeds)`.

`run(data)` parses; the errors the parser documents are expected and checked to be one short line; anything else that it
raises is a finding. Round trips are checked where a parser has an encoder. `seeds()` are valid inputs, made by the
product's own encoders, so that the fuzzer starts behind the first checks.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import struct
import sys
import tempfile
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
Run = Callable[[bytes], object]
Seeds = Callable[[], list[bytes]]
TARGETS: dict[str, tuple[Run, Seeds]] = {}
LINE = 1200  # no error is longer: it goes into logs and onto terminals
_DEVICE, _IMAGE = "cam-1", bytes(range(16))


class Finding(AssertionError):
    """What a parser must not do."""


def target(seeds: Seeds, *expected: type[Exception]) -> Callable[[Run], Run]:
    """Registers a function under its name; `expected` are the parser's documented errors."""

    def register(parse: Run) -> Run:
        def run(data: bytes) -> None:
            try:
                parse(data)
            except expected as error:
                text = str(error)
                if "\n" in text.strip() or len(text) > LINE:
                    raise Finding(f"an error that is not one line: {text[:200]!r}") from error

        TARGETS[parse.__name__] = (run, seeds)
        return parse

    return register


_folder = tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)


def _file(data: bytes, name: str, mode: int = 0o600) -> Path:
    """The input as a file, in memory where the machine has such a folder."""
    path = Path(_folder.name) / name
    path.write_bytes(data)
    path.chmod(mode)
    return path


# --- the wire

from blindsight.wire import WireError, jobs, manifest, result, topics  # noqa: E402
from blindsight.wire.blocks import Layout, Mode, PixelFormat, commitment  # noqa: E402


def _layouts() -> list[bytes]:
    out = []
    for mode in Mode:
        layout = Layout(mode, 256, 2)
        out.append(bytes([mode, 2]) + struct.pack("<I", 256) + bytes(layout.block_bytes(0)))
    return out


@target(_layouts, WireError)
def blocks(data: bytes) -> None:
    """Blocks and masked polynomials, of a layout that is the input's choice too."""
    if len(data) < 6:
        return
    layout = Layout(Mode(data[0] % 3), int.from_bytes(data[2:6], "little"), data[1])
    body = data[6:]
    if layout.blocks < 1 << 12:
        for polys in (layout.split(0, body), layout.split_masked(body)):
            layout.c1_hash(polys)


def _manifests() -> list[bytes]:
    out = []
    for mode in Mode:
        n = Layout(mode, 3072, 2).blocks
        m = manifest.Manifest(
            _DEVICE, _IMAGE, mode, PixelFormat.RGB888, "toy", bytes(32), bytes(8), 32, 32, 3, 2,
            bytes(12), (bytes(32),) * n, () if mode is Mode.AES else (bytes(32),) * n,
        )  # fmt: skip
        out.append(m.encode(bytes(32)) + bytes(32))
    return out


@target(_manifests, WireError)
def manifests(data: bytes) -> None:
    """Manifest || salt; what parses is encoded to the same bytes."""
    body, salt = manifest.split_salt(data)
    manifest.verify(body, bytes(32))
    parsed = manifest.parse(body)
    if parsed.body() != body[:-32]:
        raise Finding("a manifest that parses is not the one that was sent")
    commitment(salt, 0, body)


def _results() -> list[bytes]:
    share = np.arange(10, dtype=np.uint32)
    context = result.Context(_DEVICE, _IMAGE, bytes(32), bytes(32), result.Reveal.LOGITS, 1)
    full = result.Result(1, result.Reveal.LOGITS, share, result.seal(bytes(32), context, share))
    failure = result.Failure(result.FailureCode.QUOTA, "too many")
    return [full.encode(), result.Receipt(bytes(32)).encode(), failure.encode()]


@target(_results, WireError)
def results(data: bytes) -> None:
    """Receipt, result, failure; a result that parses is opened under a key."""
    got = result.parse(data)
    if got.encode() != data and not isinstance(got, result.Failure):
        raise Finding("a message that parses is not the one that was sent")
    if isinstance(got, result.Result):
        context = result.Context(_DEVICE, _IMAGE, bytes(32), bytes(32), got.reveal, got.attempt)
        result.combine(got.share, result.open_sealed(bytes(32), context, got.sealed))


def _requests() -> list[bytes]:
    batch = (("ab" * 16, 0, 4),)
    messages = [
        jobs.Infer("cam-1", _IMAGE, 1, "toy", bytes(32), bytes(32), 5, 300, 4000).to_json(),
        jobs.Seal("cam-1", _IMAGE, 1).to_json(),
        jobs.MakeMaterial("toy", bytes(32), bytes(32), "mask", bytes(16), 0, 4).to_json(),
        jobs.Pool("toy", bytes(32), bytes(32), "xor", 3, batch).to_json(),
        jobs.PING, {"op": "refuse", "code": 17, "reason": "x"}, {"op": "sealed", "bytes": 44},
        jobs.hello({"toy": [bytes(32)]}, "w0"),
    ]  # fmt: skip
    return [json.dumps(m).encode() for m in messages]


@target(_requests, WireError, jobs.Refused)
def requests(data: bytes) -> None:
    """CONTROL messages of the server link, read as both servers read them."""
    try:
        message = json.loads(data)
    except (ValueError, RecursionError):
        return
    if not isinstance(message, dict):
        return
    for read in (
        jobs.parse_request, jobs.models_of, jobs.pair_of, jobs.sealed_length, lambda m: jobs.expect(m, "accept"),
    ):  # fmt: skip
        try:
            got = read(message)
        except (WireError, jobs.Refused):
            continue
        if read is jobs.parse_request and got is not None:
            again = jobs.parse_request(got.to_json())
            if again != got:
                raise Finding("a request that parses is another one when sent on")


def _topics() -> list[bytes]:
    texts = [topics.block(_DEVICE, _IMAGE, 3), topics.manifest(_DEVICE, _IMAGE), topics.status(_DEVICE)]
    return [text.encode() for text in texts]


@target(_topics, WireError)
def mqtt_topics(data: bytes) -> None:
    """MQTT topics; what parses is built to the same text."""
    text = data.decode("utf-8", "surrogateescape")
    got = topics.parse(text)
    built = {
        topics.Block: lambda: topics.block(got.device, got.image, got.block),  # type: ignore[union-attr]
        topics.ManifestTopic: lambda: topics.manifest(got.device, got.image),  # type: ignore[union-attr]
        topics.Status: lambda: topics.status(got.device),
    }[type(got)]()
    if built != text:
        raise Finding(f"{text!r} parses as {built!r}")


# --- the server link

from blindsight.channel import ChannelError  # noqa: E402
from blindsight.channel.base import PeerClosed  # noqa: E402
from blindsight.channel.framing import HEADER, FramedChannel  # noqa: E402


class _Wire:
    """A transport that delivers the input and then is closed; frames beyond it may not cost their announced size."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)

    def send(self, parts: list[memoryview]) -> None:
        pass

    def recv_into(self, view: memoryview) -> None:
        if len(self._data) < view.nbytes:
            raise PeerClosed("the peer closed the connection")
        view[:] = self._data[: view.nbytes]
        self._data = self._data[view.nbytes :]

    def close(self) -> None:
        pass


def _frames() -> list[bytes]:
    hello = json.dumps({"versions": [1], "party": 1, "session": "11" * 16, "pair": "w0"}).encode()
    bodies = [(1, hello), (4, b'{"op":"ping"}'), (3, bytes(16)), (5, b"")]
    return [b"".join(HEADER.pack(len(b), k) + b for k, b in bodies), HEADER.pack(5, 2) + b"sorry"]


@target(_frames, ChannelError)
def framing(data: bytes) -> None:
    """HELLO, then frames in the order of a job."""
    channel = FramedChannel(_Wire(data), 0)
    channel.handshake({"pair": "w0"})
    channel.recv_control()
    channel.recv(16)
    channel.recv(16)


# --- models

from blindsight.nn.model import Model  # noqa: E402
from blindsight.nn.plan import Plan, PlanError  # noqa: E402
from blindsight.nn.shares import ModelShare, conceal, split  # noqa: E402


def _plan(side: int = 4) -> Plan:
    size = side * side
    ops = [
        {"op": "input", "out": "x", "shape": [1, side, side], "scale": 0},
        {"op": "reshape", "in": "x", "out": "v", "shape": [size], "scale": 0},
        {"op": "linear", "in": "v", "out": "y", "shape": [3], "scale": 4, "weight": "w", "bias": "b",
         "weight_bits": 8, "weight_scale": 4},
        {"op": "output", "in": "y", "out": "r", "shape": [3], "scale": 4},
    ]  # fmt: skip
    body = {
        "format": "blindsight-plan", "version": 1, "name": "toy", "labels": [], "output_scale": 4,
        "input": {"height": side, "width": side, "channels": 1, "pixel_format": "gray8"},
        "reveal": {"mode": "top1", "k": 1}, "deployment": "cloud-owned", "ops": ops,
    }  # fmt: skip
    return Plan.from_json(json.dumps(body))


def _model() -> Model:
    from blindsight.nn.floatnet import FloatGraph, FloatOp

    graph = FloatGraph(
        [
            FloatOp("input", "x", (), (1, 4, 4)),
            FloatOp("reshape", "v", ("x",), (16,)),
            FloatOp("linear", "y", ("v",), (3,), {}, {"weight": "w", "bias": "b"}),
        ],
        {"w": np.ones((3, 16), np.float32), "b": np.zeros(3, np.float32)}, (0.0,), (1.0,),
    )  # fmt: skip
    return Model(_plan(), {"w": np.ones((3, 16), np.int16), "b": np.zeros(3, np.int32)}, graph)


def _plans() -> list[bytes]:
    zoo = [p.read_bytes() for p in sorted((ROOT / "models" / "zoo").glob("*.plan.json"))]
    return [_plan().to_json().encode(), *(z for z in zoo if len(z) < 6000)]


@target(_plans, PlanError)
def plans(data: bytes) -> None:
    """The public plan; what parses has the same hash when read from its own text."""
    plan = Plan.from_json(data)
    if Plan.from_json(plan.to_json()).hash != plan.hash:
        raise Finding("a plan that parses is another one when written")


def _models() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "toy.bsm"
        _model().save(path)
        return [path.read_bytes()]


@target(_models, PlanError)
def models(data: bytes) -> None:
    """M.bsm."""
    Model.from_bytes(data)


def _shares() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        out = []
        for share in split(conceal(_model())):
            path = Path(folder) / f"p{share.party}.bsm"
            share.save(path)
            out.append(path.read_bytes())
        return out


@target(_shares, PlanError)
def model_shares(data: bytes) -> None:
    """One server's share of a concealed model."""
    ModelShare.load(_file(data, "share.bsm"), 0)


# --- settings, keys, stores

from blindsight.app.bridge import BridgeConfig  # noqa: E402
from blindsight.client import ClientError  # noqa: E402
from blindsight.client import identity as client_identity  # noqa: E402
from blindsight.client import picture as client_picture  # noqa: E402
from blindsight.client import state as client_state  # noqa: E402
from blindsight.cloud.config import CloudConfig  # noqa: E402
from blindsight.helper.config import HelperConfig  # noqa: E402
from blindsight.offline.cursor import read_cursor  # noqa: E402
from blindsight.offline.store import StoreError, stored_pools  # noqa: E402
from blindsight.service import secretfile  # noqa: E402
from blindsight.service.config import ConfigError, load  # noqa: E402


def _configs() -> list[bytes]:
    cloud = (
        b'data = "c"\nmodels = "m"\n[broker]\nport = 1883\n[helper]\nport = 7610\n[workers]\nretry_s = 0.5\n'
    )
    helper = b'data = "h"\nplans = "p"\nmaster = "k"\n[listen]\nport = 7610\n'
    bridge = b'identity = "d"\ndiscovery = true\n[second_broker]\nhost = "127.0.0.1"\nport = 1884\n'
    return [cloud, helper, bridge]


@target(_configs, ConfigError, ClientError)
def configs(data: bytes) -> None:
    """The services' TOML."""
    path = _file(data, "c.toml")
    for kind in (CloudConfig, HelperConfig, BridgeConfig):
        try:
            load(kind, path)
        except ConfigError:
            continue


def _sealed() -> list[bytes]:
    return [secretfile.seal(bytes(32), b"p", 1, 8)]


@target(_sealed, secretfile.SecretError)
def sealed_secrets(data: bytes) -> None:
    """Sealed key files; the cost in a hostile header is bounded before it is paid."""
    head = len(secretfile.MAGIC)
    if data.startswith(secretfile.MAGIC) and len(data) > head + 8:
        passes, kib = struct.unpack_from("<II", data, head)
        if passes <= secretfile.MAX_PASSES and 64 < kib <= secretfile.MAX_KIB:
            return  # allowed, and slow: not the parser's fault
    secretfile.unseal(data, b"p")


_IDENTITY: dict[str, Any] = {
    "device": "cam-1", "epoch": 0, "model": "toy", "plan_hash": "00" * 32, "labels": ["a"], "reveal": "top1",
    "output_scale_bits": 0, "mode": "rlwe-sk", "height": 16, "width": 16, "channels": 1, "polys_per_block": 4,
    "broker": {"host": "127.0.0.1", "port": 1883, "tls": False},
}  # fmt: skip


@target(lambda: [json.dumps(_IDENTITY).encode()], ClientError)
def identities(data: bytes) -> None:
    """config.json of a device directory, as the client reads it."""
    _file(bytes(32), "secret.bin")
    client_identity.load(_file(data, "config.json").parent)


def _parcels() -> list[bytes]:
    header = {
        "device": "cam-1", "image": _IMAGE.hex(), "digest": "00" * 32, "key": "00" * 32, "plan_hash": "00" * 32,
        "reveal": "TOP1", "accepted": False, "sizes": [4, 2],
    }  # fmt: skip
    text = json.dumps(header).encode()
    return [struct.pack("<I", len(text)) + text + b"abcdef"]


@target(_parcels, ClientError, WireError)
def kept_pictures(data: bytes) -> None:
    """A sender's files of pictures that wait."""
    client_state.parse(data)


def _pictures() -> list[bytes]:
    from PIL import Image

    out = []
    for kind, mode in (("PNG", "RGB"), ("JPEG", "L"), ("GIF", "P"), ("BMP", "RGB"), ("WEBP", "RGB")):
        file = io.BytesIO()
        Image.new(mode, (6, 5), 77).save(file, kind)
        out.append(file.getvalue())
    return out


@target(_pictures, ClientError)
def pictures(data: bytes) -> None:
    """Picture files."""
    got = client_picture.load(io.BytesIO(data), (4, 4, 3))
    if got.shape != (4, 4, 3) or got.dtype != np.uint8:
        raise Finding("a picture of another shape")


def _archives() -> list[bytes]:
    file = io.BytesIO()
    np.savez(file, x=np.zeros((2, 4, 4), np.uint8), y=np.zeros(2, np.int64))
    return [file.getvalue()]


def _images_error() -> type[Exception]:
    from blindsight.app.images import ImagesError

    return ImagesError


@target(_archives, _images_error())
def archives(data: bytes) -> None:
    """Pictures as .npz."""
    from blindsight.app.images import load_images

    load_images(_file(data, "x.npz"))


def _cursors() -> list[bytes]:
    import zlib

    return [b"".join(struct.pack("<QI", i, zlib.crc32(struct.pack("<Q", i))) for i in (1, 2, 9))]


@target(_cursors, StoreError)
def material(data: bytes) -> None:
    """The files of a material pool: cursor and batch."""
    folder = Path(_folder.name) / "pool"
    folder.mkdir(exist_ok=True)
    (folder / "cursor").write_bytes(data)
    read_cursor(folder / "cursor")
    (folder / "b.json").write_bytes(data)
    stored_pools(folder.parent)


# --- lattice bytes

from blindsight import _device  # noqa: E402
from blindsight.he import ingest as he_ingest  # noqa: E402
from blindsight.he.linear import Evaluator  # noqa: E402
from blindsight.he.secret.linear import LayerKey  # noqa: E402
from blindsight.params import rings  # noqa: E402


def _packed() -> list[bytes]:
    return [bytes([w, 16]) + bytes((16 * w + 7) // 8) for w in (11, 12, 18, 26)]


@target(_packed, ValueError)
def packed_values(data: bytes) -> None:
    """Bit-packed coefficients; what unpacks packs to the same bytes."""
    if len(data) < 2:
        return
    width, count = data[0], data[1]
    values = _device.unpack(data[2:], count, width)
    if _device.pack(values, width) != data[2:]:
        raise Finding("packed values change on the way back")


def _ciphertexts() -> list[bytes]:
    layout = Layout(Mode.RLWE, 256, 1)
    return [
        bytes([mode]) + bytes(Layout(mode, 256, 1).block_bytes(0)) for mode in (Mode.RLWE, Mode.RLWE_SK)
    ] + [bytes([3]) + bytes(layout.masked_bytes(0))]


@target(_ciphertexts, ValueError)
def ciphertexts(data: bytes) -> None:
    """Blocks of a device as the cloud masks them."""
    if not data:
        return
    mode = Mode(data[0] % 3)
    layout = Layout(mode, 256, 1)
    block = layout.split(0, data[1:])
    if mode is Mode.AES:
        he_ingest.ciphertext_share(layout, [data[1:]])
    else:
        he_ingest.mask(layout, [b"".join(block)])


_RING = next(v for v in vars(rings).values() if getattr(v, "n", 0) == 2048 or getattr(v, "degree", 0) == 2048)


class _Linear:
    """One key and its evaluator, made once."""

    made: Any = None

    @classmethod
    def get(cls) -> Any:
        if cls.made is None:
            key = LayerKey(_RING, bytes(32))
            cls.made = (
                key,
                Evaluator(_RING, bytes(32), key.public),
                key.encrypt(np.ones((1, 2048), np.int32)),
            )
        return cls.made


@target(lambda: [_Linear.get()[2], _Linear.get()[0].public, bytes(2048 * 5 + 40)], ValueError)
def linear_messages(data: bytes) -> None:
    """Encryptions as the evaluator loads them, public keys, and answers as the key's owner opens them."""
    key, evaluator, _ = _Linear.get()
    for read in (
        evaluator.load, lambda d: Evaluator(_RING, bytes(32), d),
        lambda d: key.open(d, [np.arange(8, dtype=np.int32)]),
    ):  # fmt: skip
        try:
            read(data)
        except ValueError as error:
            if "\n" in str(error):
                raise Finding("an error of two lines") from error


# --- boards

from blindsight.hw.energy import TraceError, energy  # noqa: E402
from blindsight.hw.inventory import Inventory, InventoryError  # noqa: E402
from blindsight.hw.profiles import ProfileError, load_board, load_profile  # noqa: E402
from blindsight.hw.update import UpdateError, read_package  # noqa: E402


def _traces() -> list[bytes]:
    return [
        b"Timestamp(ms),Current(uA),D0-D7\n0.00,10.5,00000000\n0.01,11,00000000\n",
        b"#time (s),current (A),voltage (V)\n0,0.1,3.3\n1,0.2,3.3\n",
    ]


@target(_traces, TraceError)
def traces(data: bytes) -> None:
    """A power meter's CSV."""
    energy(_file(data, "t.csv"), 3.3)


def _tables() -> list[bytes]:
    folder = ROOT / "hw"
    return [
        p.read_bytes() for kind in ("profiles", "boards") for p in sorted((folder / kind).glob("*.toml"))[:3]
    ]


@target(_tables, ProfileError)
def profiles(data: bytes) -> None:
    """Board and chip tables."""
    path = _file(data, "one.toml")
    for read in (load_profile, load_board):
        try:
            read("one", path.parent)
        except ProfileError:
            continue


def _scenarios() -> list[bytes]:
    return [p.read_bytes() for p in sorted((ROOT / "simulator" / "scenarios").glob("*.toml"))]


def _cost_error() -> type[Exception]:
    return importlib.import_module("blindsight.simulator.cost").CostError


@target(_scenarios, _cost_error())
def scenarios(data: bytes) -> None:
    """Scenario files of the simulator."""
    from blindsight.simulator.scenario import load as load_scenario

    load_scenario(str(_file(data, "s.toml")))


def _packages() -> list[bytes]:
    import hashlib

    files = {"main.mpy": b"code"}
    head = {
        "counter": 1,
        "version": "1",
        "arch": "x64",
        "files": {n: hashlib.sha256(b).hexdigest() for n, b in files.items()},
    }
    raw = json.dumps(head).encode()
    magic = importlib.import_module("blindsight.hw.update").MAGIC
    return [magic + bytes(64) + struct.pack("<I", len(raw)) + raw + struct.pack("<I", 4) + b"code"]


@target(_packages, UpdateError)
def updates(data: bytes) -> None:
    """Signed update packages, before their signature is trusted."""
    read_package(_file(data, "u.bsu"))


@target(lambda: [b'{"cam-1": {"port": "/dev/ttyACM0"}}'], InventoryError)
def inventories(data: bytes) -> None:
    """Which board is which device."""
    Inventory(_file(data, "inv.json")).rows()


# --- the firmware, under CPython

sys.path.insert(0, str(ROOT / "device_fw" / "app"))


def _firmware() -> tuple[Any, Any]:
    """(bsdev.answer, bsdev.labels) with the modules that only MicroPython has stood in for."""
    if "bsdev.kernels" not in sys.modules:
        kernels = types.ModuleType("bsdev.kernels")

        def chacha(out: Any, state: Any, blocks: int) -> None:
            from blindsight import _device as core

            out[: 64 * blocks] = core.stream(bytes(31) + b"\x01", 1, 0, 64 * blocks)

        vars(kernels).update(chacha=chacha, rounds=lambda x: None, xor=lambda a, b, n: None)
        sys.modules["bsdev.kernels"] = kernels
        import bsdev

        bsdev.kernels = kernels
    return importlib.import_module("bsdev.answer"), importlib.import_module("bsdev.labels")


class _Settings:
    device, plan_hash, reveal, labels, output_scale_bits = "cam-1", bytes(32), "logits", ["a", "b"], 4


class _Picture:
    id, hash, key = _IMAGE.hex(), bytes(32), bytes(32)


@target(_results, ValueError)
def firmware_answers(data: bytes) -> None:
    """What comes down to a board."""
    answer, _ = _firmware()
    if len(data) < 2 or data[1] != 1:
        return
    body = memoryview(data)[2:]
    if data[0] == answer.RECEIPT:
        answer.receipt_hash(body)
    elif data[0] == answer.FAILURE:
        answer.failure(body)
    elif data[0] == answer.RESULT:
        answer.classify(answer.open_result(body, _Settings, _Picture)[1], _Settings)


@target(lambda: [json.dumps(_IDENTITY).encode()], ValueError)
def firmware_settings(data: bytes) -> None:
    """A board's config.json, whose labels are found without being loaded."""
    _, labels = _firmware()
    try:
        values = labels.load(str(_file(data, "fw.json")))
    except (ValueError, TypeError, AttributeError, IndexError, RecursionError):
        return  # json.load of a file that is cut up; provisioning writes it, MQTT never does
    found = values.get("labels") if isinstance(values, dict) else None
    if isinstance(found, labels.Labels) and len(found):
        found[0]
