"""The C core through its CPython binding against the known answers of tests/vectors (made by a second implementation)."""

import json
import pathlib
from typing import Any

import numpy as np
import pytest

from blindsight import _device
from blindsight.he import ingest
from blindsight.he.secret import ingest as secret
from blindsight.wire.blocks import Layout, Mode
from blindsight.wire.errors import WireError

VECTORS = pathlib.Path(__file__).parents[1] / "vectors"


def load(name: str) -> dict[str, Any]:
    return json.loads((VECTORS / f"device_{name}.json").read_text())


def raw(text: str) -> bytes:
    return bytes.fromhex(text)


def test_stream() -> None:
    for c in load("stream")["cases"]:
        assert _device.stream(raw(c["seed"]), c["purpose"], c["index"], 200).hex() == c["bytes"]


def test_samplers() -> None:
    v = load("sampling")
    for c in v["ternary"]:
        assert _device.sample_ternary(raw(c["seed"]), c["purpose"], c["index"]).tolist() == c["values"]
    for c in v["error"]:
        assert _device.sample_error(raw(c["seed"]), c["purpose"], c["index"]).tolist() == c["values"]
    for c in v["uniform"]:
        assert _device.sample_uniform(raw(c["seed"])).tolist() == c["values"]


def test_transform() -> None:
    v = load("ntt")
    for c in v["cases"]:
        assert _device.ntt(np.array(c["in"], np.uint32)).tolist() == c["out"]
    a, b = (_device.ntt(np.array(v["product"][k], np.uint32)) for k in "ab")
    assert _device.multiply(a, b).tolist() == v["product"]["c"]


def test_transform_of_the_extremes_does_not_overflow() -> None:
    q = ingest.Q
    ones = np.full(1024, q - 1, np.uint32)
    roots = load("ntt")["roots"]
    # -1 everywhere: the value at z is -(z^1024 - 1)/(z - 1) = 2/(z - 1), and entry i has z = root(512 + i/2) signed
    out = _device.ntt(ones)
    for i in (0, 1, 500, 1023):
        z = roots[512 + i // 2] if i % 2 == 0 else q - roots[512 + i // 2]
        assert int(out[i]) == 2 * pow(z - 1, -1, q) % q
    assert (_device.multiply(out, _device.ntt(np.eye(1, 1024, dtype=np.uint32)[0])) == ones).all()
    assert (_device.multiply(ones, ones) <= q - 1).all()


def test_public_key_comes_from_its_seed() -> None:
    keys = load("keys")
    assert secret.public_key(raw(keys["rlwe_secret_seed"])).hex() == keys["pk"]


def test_rlwe_polynomials() -> None:
    v = load("rlwe")
    for c in v["cases"]:
        assert (
            _device.rlwe_encrypt(raw(v["pk"]), raw(c["seed"]), c["index"], raw(c["values"])).hex() == c["out"]
        )


def test_rlwe_sk_polynomials() -> None:
    v = load("rlwe_sk")
    s = _device.Secret(raw(v["secret_seed"]))
    for c in v["cases"]:
        assert _device.sk_encrypt(s, raw(c["seed"]), c["index"], raw(c["values"])).hex() == c["out"]


def test_aes() -> None:
    for c in load("aes")["cases"]:
        assert _device.aes_ctr(raw(c["key"]), raw(c["nonce"]), c["unit"], raw(c["data"])).hex() == c["out"]
    with pytest.raises(ValueError, match="out of range"):
        _device.aes_ctr(bytes(16), bytes(12), 0xFFFFFFFF, bytes(17))


def encrypt(mode: Mode, keys: dict[str, Any], seed: bytes, pixels: bytes, per_block: int) -> list[bytes]:
    """Blocks of a picture, as a board makes them."""
    shape = Layout(mode, len(pixels), per_block)
    polys = []
    held = _device.Secret(raw(keys["shared_rlwe_secret_seed"]))
    for i in range(shape.polys):
        part = pixels[1024 * i : 1024 * (i + 1)]
        if mode is Mode.RLWE:
            with_key = shape.key_span is not None and shape.key_span.poly == i
            polys.append(_device.rlwe_encrypt(raw(keys["pk"]), seed, i, part, with_key))
        elif mode is Mode.RLWE_SK:
            polys.append(_device.sk_encrypt(held, seed, i, part))
        else:
            polys.append(_device.aes_ctr(raw(keys["aes_key"]), _device.stream(seed, 6, 0, 12), 64 * i, part))
    return [b"".join(polys[p] for p in shape.polys_of(b)) for b in range(shape.blocks)]


def pixels_of(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The identity of DESIGN section 2 in the clear."""
    a, b = a.astype(np.int64), b.astype(np.int64)
    return (a >> 2) - (b >> 2) - (a % 4 < b % 4) + 256 * (a < b)


@pytest.mark.parametrize(
    "picture", load("picture")["pictures"], ids=lambda p: f"{p['mode']}-{len(p['pixels']) // 2}"
)
def test_whole_pictures(picture: dict[str, Any]) -> None:
    """Blocks match the vectors; cloud and helper turn them into shares of exactly the pixels; the helper gets the key."""
    keys, pixels, mode = load("keys"), raw(picture["pixels"]), Mode.named(picture["mode"])
    layout = Layout(mode, len(pixels), picture["polys_per_block"])
    blocks = encrypt(mode, keys, raw(picture["seed"]), pixels, picture["polys_per_block"])
    assert [b.hex() for b in blocks] == picture["blocks"]
    want = np.frombuffer(pixels, np.uint8)
    if mode is Mode.AES:
        mine = ingest.ciphertext_share(layout, blocks)
        theirs = secret.keystream_share(layout, raw(keys["aes_key"]), raw(picture["nonce"]))
        assert ((mine ^ theirs) == want).all()
        return
    key = secret.SecretKey(raw(keys["rlwe_secret_seed" if mode is Mode.RLWE else "shared_rlwe_secret_seed"]))
    masked, b = ingest.mask(layout, blocks)
    assert len(masked) == sum(layout.masked_bytes(i) for i in range(layout.polys))
    a, key_bytes = secret.open_masked(layout, masked, key)
    assert a.dtype == b.dtype == np.uint16 and a.shape == b.shape == (len(pixels),)
    assert max(a.max(), b.max()) < 1024
    assert (pixels_of(a, b) == want).all()
    assert key_bytes == (raw(picture["key_bytes"]) if mode is Mode.RLWE else None)
    again, b2 = ingest.mask(layout, blocks)
    assert again != masked and (b2 != b).any(), "a second attempt takes fresh masks"
    assert (
        b"".join(layout.split_masked(again)[0][: layout.head_bytes] for _ in "1")
        == blocks[0][: layout.head_bytes]
    )


def test_c_and_python_agree_on_the_layout() -> None:
    for mode in Mode:
        for pixels in (1, 31, 784, 991, 992, 993, 1023, 1024, 1025, 3072, 150528):
            layout = Layout(mode, pixels, 16)
            polys, key_poly, key_at = _device.layout(int(mode), pixels)
            assert polys == layout.polys
            if layout.key_span is not None:
                assert (key_poly, key_at) == (layout.key_span.poly, layout.key_span.start)


def test_refusals() -> None:
    keys = load("keys")
    pk, seed = raw(keys["pk"]), bytes(range(32))
    with pytest.raises(ValueError, match="all-zero"):
        _device.rlwe_encrypt(pk, bytes(32), 0, b"x")
    with pytest.raises(ValueError, match="all-zero"):
        _device.Secret(bytes(32))
    with pytest.raises(ValueError, match="out of range"):
        _device.rlwe_encrypt(pk, seed, 0, bytes(1000), True)
    with pytest.raises(ValueError, match="out of range"):
        _device.sk_encrypt(_device.Secret(seed), seed, 0, b"")
    with pytest.raises(ValueError, match="public key"):
        _device.rlwe_encrypt(pk[:-1], seed, 0, b"x")
    with pytest.raises(ValueError, match="provision"):
        _device.rlwe_encrypt(pk[:32] + b"\xff" * 3328, seed, 0, b"x")
    with pytest.raises(ValueError, match="not below q"):
        _device.ntt(np.full(1024, ingest.Q, np.uint32))


def test_a_failing_random_source_encrypts_nothing() -> None:
    assert _device.new_seed(lambda n: bytes(range(n))) == bytes(range(32))
    for bad in (lambda n: bytes(n), lambda n: b"\xff" * n, lambda n: b"short", lambda n: None):
        with pytest.raises(RuntimeError, match="random source"):
            _device.new_seed(bad)

    def broken(_: int) -> bytes:
        raise OSError("no entropy")

    with pytest.raises(OSError, match="no entropy"):
        _device.new_seed(broken)


def test_strict_lengths() -> None:
    picture = load("picture")["pictures"][0]
    layout = Layout(Mode.RLWE, 3072, 3)
    blocks = [raw(b) for b in picture["blocks"]]
    with pytest.raises(WireError, match="blocks"):
        ingest.mask(layout, blocks[:-1])
    with pytest.raises(WireError, match="bytes, not"):
        ingest.mask(layout, [blocks[0][:-1], blocks[1]])
    masked, _ = ingest.mask(layout, blocks)
    key = secret.SecretKey(raw(load("keys")["rlwe_secret_seed"]))
    with pytest.raises(WireError):
        secret.open_masked(layout, masked + b"\0", key)
    beyond = bytearray(masked)
    beyond[2304:2308] = b"\xff" * 4
    with pytest.raises(WireError, match="not below q"):
        secret.open_masked(layout, bytes(beyond), key)
    odd = Layout(Mode.RLWE_SK, 3, 1)  # 33 bits of c0: 7 fill bits
    poly = bytearray(_device.sk_encrypt(_device.Secret(bytes(range(32))), bytes(range(32)), 0, b"abc"))
    poly[-1] |= 0x80
    with pytest.raises(WireError, match="zero-filled"):
        ingest.mask(odd, [bytes(poly)])


def test_share_identity_at_every_pixel_and_error() -> None:
    """Exhaustive in the pixel, random in R, errors up to just under delta/8 on both sides."""
    q, delta = ingest.Q, ingest.DELTA
    x = np.repeat(np.arange(256), 4000)
    rng = np.random.default_rng(7)
    e = rng.integers(-(delta // 8) + 1, delta // 8, x.size)
    e[::7], e[1::7] = delta // 8 - 1, -(delta // 8) + 1
    r = rng.integers(0, q, x.size)
    r[::5] = rng.integers(0, 3, r[::5].size)
    v = (delta * x + e + delta // 2 + r) % q
    a, b = ingest.share(v.astype(np.uint32)), ingest.share(r.astype(np.uint32))
    assert (pixels_of(a, b) == x).all()


def test_what_the_helper_decrypts_is_uniform() -> None:
    """Constant pictures give the helper flat 10-bit shares (chi-squared, 1,023 degrees: mean 1,023, sd 45)."""
    keys = load("keys")
    key = secret.SecretKey(raw(keys["rlwe_secret_seed"]))
    layout = Layout(Mode.RLWE, 64 * 1024, 16)
    blocks = encrypt(Mode.RLWE, keys, bytes(range(32)), b"\x80" * layout.pixels, 16)
    a, _ = secret.open_masked(layout, ingest.mask(layout, blocks)[0], key)
    counts = np.bincount(a, minlength=1024)
    assert ((counts - 64.0) ** 2 / 64.0).sum() < 1023 + 8 * 45


@pytest.mark.parametrize(("mode", "most"), [(Mode.RLWE, 4.6), (Mode.RLWE_SK, 1.45), (Mode.AES, 1.0)])
def test_bytes_on_the_air(mode: Mode, most: float) -> None:
    layout = Layout(mode, 32 * 32 * 3, 4)
    assert sum(layout.block_bytes(i) for i in range(layout.blocks)) <= most * layout.pixels
