"""No decryption error, the proven bound on the noise, and the distributions of noise and samplers (DESIGN section 2)."""

import hashlib
import math

import numpy as np
import pytest

from blindsight import _device
from blindsight.fixed.rng import SystemRng
from blindsight.he import ingest
from blindsight.he.secret import ingest as secret
from blindsight.wire.blocks import Mode

Q, DELTA = ingest.Q, ingest.DELTA
BOUND = {Mode.RLWE: 2**13 + 9 * 1931 + 1080, Mode.RLWE_SK: 2**14 + 21}
HEAD = {Mode.RLWE: 2304, Mode.RLWE_SK: 32}
SEED = hashlib.sha256(b"noise test key").digest()


def centred(v: np.ndarray) -> np.ndarray:
    v = v.astype(np.int64) % Q
    return np.where(v > Q // 2, v - Q, v)


class Errors:
    """Encrypts random pixels and keeps what separates each decryption from delta * pixel."""

    def __init__(self, mode: Mode) -> None:
        self.mode, self.key = mode, secret.SecretKey(SEED)
        self.pk, self.held = secret.public_key(SEED), _device.Secret(SEED)

    def run(self, polys: int) -> np.ndarray:
        rng = np.random.default_rng(polys)
        out = np.empty((polys, 1024), np.int64)
        for i in range(polys):
            pixels = rng.integers(0, 256, 1024, dtype=np.uint8)
            if i == 0:
                pixels[:512], pixels[512:] = 0, 255
            seed = hashlib.sha256(b"%d" % i).digest()
            if self.mode is Mode.RLWE:
                poly = _device.rlwe_encrypt(self.pk, seed, i, pixels.tobytes())
            else:
                poly = _device.sk_encrypt(self.held, seed, i, pixels.tobytes())
            c0 = ingest.restore_c0(self.mode, poly[HEAD[self.mode] :], 1024)
            v = self.key.phase(c0, secret._c1_ntt(self.mode, poly[: HEAD[self.mode]]))
            out[i] = centred(v.astype(np.int64) - DELTA * pixels.astype(np.int64))
        return out.reshape(-1)


def check(errors: np.ndarray, mode: Mode) -> None:
    largest = int(np.abs(errors).max())
    # a whole pixel is lost at delta/2, the share identity needs delta/8: both follow from the bound
    assert largest <= BOUND[mode] < DELTA // 8


@pytest.mark.parametrize("mode", [Mode.RLWE, Mode.RLWE_SK], ids=lambda m: m.label)
def test_three_hundred_thousand_coefficients(mode: Mode) -> None:
    errors = Errors(mode).run(293)
    check(errors, mode)
    s = _device.sample_ternary(SEED, 16, 0)
    norm = float((s.astype(np.int64) ** 2).sum())
    step = {Mode.RLWE: 2**14, Mode.RLWE_SK: 2**15}[mode]
    normal = 10.5
    if mode is Mode.RLWE:  # rounding of c1 times s, e1*s, e*u
        normal += norm * (2**16 / 12 + 10.5) + 1024 * 2 / 3 * 10.5
    assert errors.var() == pytest.approx(step**2 / 12 + normal, rel=0.01)
    assert abs(errors.mean()) < 60
    # uniform (rounding of c0) plus normal (all the rest): Kolmogorov-Smirnov
    x = np.sort(errors.astype(float))
    at = np.linspace(-step / 2, step / 2, 2001)
    grid = np.linspace(-1.2 * step, 1.2 * step, 4001)
    sd = math.sqrt(normal)
    cdf = [np.mean([0.5 * math.erfc((u - g) / (sd * math.sqrt(2))) for u in at]) for g in grid[::20]]
    have = np.searchsorted(x, grid[::20]) / x.size
    assert np.abs(have - np.array(cdf)).max() < 0.006


@pytest.mark.parametrize("mode", [Mode.RLWE, Mode.RLWE_SK], ids=lambda m: m.label)
def test_ten_million_coefficients(mode: Mode) -> None:
    errors = Errors(mode).run(9766)
    assert errors.size >= 10**7
    check(errors, mode)


def seeds(count: int) -> list[bytes]:
    return [hashlib.sha256(b"sampler %d" % i).digest() for i in range(count)]


def test_ternary_is_uniform() -> None:
    counts = np.bincount(np.concatenate([_device.sample_ternary(s, 1, 0) for s in seeds(300)]) + 1)
    expected = 300 * 1024 / 3
    assert counts.size == 3 and ((counts - expected) ** 2 / expected).sum() < 25


def test_error_is_binomial() -> None:
    values = np.concatenate([_device.sample_error(s, 2, 0) for s in seeds(300)])
    counts = np.bincount(values + 21, minlength=43)
    expected = np.array([math.comb(42, k) / 2**42 for k in range(43)]) * values.size
    likely = expected > 5
    assert ((counts - expected)[likely] ** 2 / expected[likely]).sum() < likely.sum() + 8 * math.sqrt(
        2 * likely.sum()
    )
    assert values.var() == pytest.approx(10.5, rel=0.02) and abs(values.mean()) < 0.03


def test_uniform_is_uniform() -> None:
    values = np.concatenate([_device.sample_uniform(s) for s in seeds(100)]).astype(np.int64)
    assert values.max() < Q
    counts = np.bincount(values * 1024 // Q, minlength=1024)
    assert ((counts - 100.0) ** 2 / 100.0).sum() < 1023 + 8 * 45


def test_masks_are_uniform_and_fresh() -> None:
    values = ingest.uniform_mod_q(SystemRng(), 200_000).astype(np.int64)
    counts = np.bincount(values * 256 // Q, minlength=256)
    assert ((counts - 781.25) ** 2 / 781.25).sum() < 255 + 8 * 23
    assert np.unique(values).size > 199_000
