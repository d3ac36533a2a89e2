"""The live page's arithmetic: two shares add up to the activation, noise is called noise and a copy a copy."""

import base64

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blindsight.app.web_views import Views, added, entropy, noise
from blindsight.app.web_watch import SIDE, thumbnail
from blindsight.models import zoo
from blindsight.nn.model import Model


@settings(max_examples=25)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 20),
    st.sampled_from([(3, 8, 8), (1, 1, 64), (8, 4, 5), (1, 1, 1)]),
)
def test_shares_add_up(seed: int, scale: int, shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(seed)
    value = rng.integers(-(2**20), 2**20, shape).astype(np.int32)
    a = rng.integers(0, 2**32, shape, dtype=np.uint32)
    b = value.view(np.uint32) - a
    got = added(a, b, scale)
    half, other, total = got["example"]
    assert ((half + other) % 2**32 + 2**31) % 2**32 - 2**31 == pytest.approx(total * 2**scale)
    assert abs(total) <= max(abs(got["low"]), abs(got["high"])) + 1e-12
    channels, height, width = got["shape"]
    assert channels == min(4, shape[0]) and (height, width) == shape[1:]
    for name in ("cloud", "helper", "sum"):
        assert len(base64.b64decode(got[name])) == channels * height * width


def test_noise_and_copies() -> None:
    rng = np.random.default_rng(1)
    picture = np.kron(rng.integers(0, 256, (7, 7, 1)), np.ones((4, 4, 1))).astype(np.uint8)
    same = noise(picture.reshape(-1), picture)
    assert same["correlation"] == pytest.approx(1) and same["entropy"] < 6
    random = noise(rng.integers(0, 256, 784).astype(np.uint8), picture)
    assert random["correlation"] < 0.15 and random["entropy"] == pytest.approx(
        random["entropy_random"], abs=0.1
    )
    assert noise(np.zeros(784, np.uint8), picture)["correlation"] == 0
    assert entropy(np.bincount(np.zeros(9, np.int64), minlength=256)) == 0


@pytest.mark.parametrize("name", ["mnist", "cifar"])
def test_both_servers_keep_the_same_elements(name: str) -> None:
    """A thumbnail is a function of the operation alone, small, and whole for small tensors."""
    for op in Model.load(zoo.path(name)).plan.ops:
        size = 1 if op.kind == "output" else op.size
        share = np.arange(size, dtype=np.uint32)
        small, shape = thumbnail(op, share)
        assert list(small.shape) == shape and small.size <= 8 * SIDE * SIDE
        if op.kind != "output" and op.size <= 1024 and len(op.shape) == 1:
            assert small.size == op.size


def test_nothing_bulky_reaches_the_page() -> None:
    """Raw payloads and ingest shares stay behind; what is derived from them goes."""
    views = Views(np.zeros((4, 4, 1), np.uint8), 0)
    payload = bytes(range(100))
    event = {
        "event": "message",
        "who": "broker",
        "t": 1.0,
        "way": "up",
        "part": "0",
        "topic": "x",
        "payload": payload,
    }
    message, seen = views.page(event)
    assert "payload" not in message and message["bytes"] == 100 and message["head"] == payload[:24].hex()
    assert seen["event"] == "ciphertext" and base64.b64decode(seen["image"]) == payload[:16]
    ingest = base64.b64encode(np.arange(16, dtype="<u2").tobytes()).decode()
    run = {"event": "run", "who": "helper", "t": 2.0, "model": "m", "ingest": ingest, "ingest_bits": 16}
    plain, opened = views.page(run)
    assert "ingest" not in plain and base64.b64decode(opened["image"]) == bytes(v >> 2 for v in range(16))
