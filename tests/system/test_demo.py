"""The demonstration as a user runs it, and what passes the broker held against Microsoft SEAL."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import service_kit as kit

from blindsight import _device
from blindsight.app import certificates
from blindsight.app.demo import Demo, DemoError, Options, find_micropython, parse_broker
from blindsight.app.site import Site
from blindsight.app.split import split_into
from blindsight.he import ingest
from blindsight.models import zoo
from blindsight.nn.model import Model

COMMAND = [sys.executable, "-m", "blindsight.app.cli", "demo", "--json"]


def run(folder: Path, *options: str) -> tuple[int, dict[str, Any], str]:
    """(exit code, JSON object, standard error)."""
    command = [*COMMAND, "--figure", str(folder / "strip.png"), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    lines = done.stdout.splitlines()
    assert len(lines) <= 1, done.stdout
    return done.returncode, json.loads(lines[0]) if lines else {}, done.stderr


def test_twenty_pictures(tmp_path: Path) -> None:
    """The names of DESIGN section 9, every label the float network's, memory within a board's, a figure."""
    code, report, errors = run(tmp_path)
    assert code == 0, errors
    assert report["pictures"] == report["answered"] == report["agree"] == 20
    assert 18 <= report["correct"] <= 20
    assert 0 < report["latency_s"]["p50"] <= report["latency_s"]["p95"] < 30
    assert 0 < report["device_heap_bytes"] <= 128 * 1024
    assert 3000 < report["bytes_up"] < 5000
    assert (tmp_path / "strip.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("mode", ["rlwe-sk", "aes"])
def test_the_other_modes(tmp_path: Path, mode: str) -> None:
    code, report, errors = run(tmp_path, "--ingest", mode, "--images", "4", "--model", "fashion")
    assert code == 0, errors
    assert report["answered"] == report["agree"] == 4


def test_a_concealed_model(tmp_path: Path) -> None:
    """Neither server has the weights: each holds a share, and the labels are the owner's float network's."""
    split_into(zoo.path("mnist"), tmp_path / "split")
    code, report, errors = run(
        tmp_path, "--images", "4", "--model", str(tmp_path / "split"), "--keep", str(tmp_path / "kept")
    )
    assert code == 0, errors
    assert report["answered"] == report["agree"] == 4
    assert not list((tmp_path / "kept").rglob("*.bsm"))
    cloud, helper = (list((tmp_path / "kept" / "site" / who).rglob("*.share")) for who in ("cloud", "helper"))
    assert len(cloud) == len(helper) == 1 and cloud[0].name == helper[0].name
    assert cloud[0].read_bytes() != helper[0].read_bytes()


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_with_mosquitto(tmp_path: Path, tls: bool) -> None:
    port, options, listener = kit.free_port(), ["--images", "4"], "allow_anonymous true"
    if tls:
        certificates.make(tmp_path / "tls")
        files = (("cafile", "ca.pem"), ("certfile", "broker.pem"), ("keyfile", "broker.key"))
        listener += "".join(f"\n{name} {tmp_path / 'tls' / file}" for name, file in files)
        options += ["--broker", f"mqtts://localhost:{port}", "--broker-ca", str(tmp_path / "tls" / "ca.pem")]
    else:
        options += ["--broker", f"mqtt://127.0.0.1:{port}"]
    broker = kit.mosquitto(tmp_path / "broker", port, listener)
    try:
        code, report, errors = run(tmp_path, *options)
        assert code == 0, errors
        assert report["answered"] == report["agree"] == 4
    finally:
        broker.stop()


def test_disagreement_is_an_error(tmp_path: Path) -> None:
    """Weights that are not the float network's: the command says which pictures differ and fails."""
    model = Model.load(zoo.path("mnist"))
    last = model.plan.weighted[-1]
    model.ints[last.bias] = np.roll(model.ints[last.bias] + np.arange(10, dtype=np.int32) * (1 << 24), 3)
    (tmp_path / "m").mkdir()
    model.save(tmp_path / "m" / "mnist.bsm")
    code, report, errors = run(tmp_path, "--images", "4", "--model", str(tmp_path / "m" / "mnist.bsm"))
    assert code == 1
    assert report["answered"] == 4 and report["agree"] < 4
    assert "differ" in errors.strip().splitlines()[-1]


@pytest.mark.parametrize(
    "options",
    [
        ["--model", "nope"],
        ["--ingest", "rsa"],
        ["--micropython", "/bin/true"],
        ["--broker", "http://x"],
        ["--broker", "mqtts://x"],
        ["--broker", "mqtt://127.0.0.1:1", "--images", "1"],
    ],
    ids=lambda o: o[1],
)
def test_errors_are_one_line(tmp_path: Path, options: list[str]) -> None:
    code, report, errors = run(tmp_path, *options)
    assert code == 1 and not report
    assert len(errors.strip().splitlines()) == 1 and errors.startswith("blindsight: "), errors


def test_broker_urls() -> None:
    assert (parse_broker("mqtt://h:1234", None).host, parse_broker("mqtt://h:1234", None).port) == ("h", 1234)
    assert parse_broker("h", None).port == 1883
    assert parse_broker("mqtts://h", Path("ca")).port == 8883
    with pytest.raises(DemoError):
        parse_broker("mqtt://h:port", None)
    assert find_micropython("").endswith("micropython")


def _oracle() -> Any:
    spec = importlib.util.spec_from_file_location("oracle", Path(__file__).with_name("test_seal_oracle.py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_passes_the_broker_decrypts_in_seal(tmp_path: Path) -> None:
    """Blocks captured off the broker and the device's key at the helper give the exact pixels in Microsoft
    SEAL.
    """
    demo = Demo(Options(images=2, devices=1, keep=tmp_path))
    report = demo.run()
    assert report.good and report.tap is not None and report.tap.captured is not None
    number, parsed, blocks = report.tap.captured
    oracle = _oracle()
    parms = oracle.seal.EncryptionParameters(oracle.seal.SCHEME_TYPE.BFV)
    parms.set_poly_modulus_degree(1024)
    parms.set_coeff_modulus([oracle.seal.Modulus(ingest.Q), oracle.seal.Modulus(oracle.DUMMY)])
    parms.set_plain_modulus(256)
    context = oracle.seal.SEALContext(parms, True, oracle.seal.SEC_LEVEL_TYPE.NONE)
    oracle.seal.KeyGenerator(context).secret_key().save(str(tmp_path / "version"))
    head = (tmp_path / "version").read_bytes()[:16]
    oracle.VERSION = (head[3], head[4])
    register = Site(tmp_path / "site").register()
    (found,) = register.find(parsed.device, parsed.mode, parsed.key_id)
    register.close()
    s = _device.sample_ternary(found.rlwe_seed, 16, 0)
    decryptor = oracle.decryptor(
        context, _device.ntt(np.where(s < 0, s + ingest.Q, s).astype(np.uint32)), tmp_path
    )
    layout, values = parsed.layout, b""
    for block, data in enumerate(blocks):
        for poly, i in zip(layout.split(block, data), layout.polys_of(block), strict=True):
            c0 = np.zeros(1024, np.uint32)
            c0[: layout.used(i)] = ingest.restore_c0(layout.mode, poly[layout.head_bytes :], layout.used(i))
            c1 = (_device.unpack(poly[: layout.head_bytes], 1024, 18) << np.uint32(8)) + np.uint32(128)
            values += oracle.decrypt(context, decryptor, c0, c1 % np.uint32(ingest.Q), tmp_path)[
                : layout.pixels_in(i)
            ]
    assert values == demo.x[number].tobytes()
