"""AES-128 of the native core against NIST's vectors and OpenSSL, on every instruction set of this machine."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blindsight import _native

CASES = json.loads((Path(__file__).parents[1] / "vectors" / "aes.json").read_text())


@pytest.fixture(params=_native.isas())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    before = _native.isa()
    _native.set_isa(request.param)
    yield request.param
    _native.set_isa(before)


def encrypt(key: bytes, plain: bytes) -> bytes:
    out = np.empty(len(plain), np.uint8)
    _native.aes128_ecb(np.frombuffer(key, np.uint8), np.frombuffer(plain, np.uint8), out)
    return out.tobytes()


@pytest.mark.parametrize("case", CASES, ids=lambda c: c["source"])
def test_known_answers(isa: str, case: dict[str, str]) -> None:
    assert encrypt(bytes.fromhex(case["key"]), bytes.fromhex(case["plain"])).hex() == case["cipher"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(
    key=st.binary(min_size=16, max_size=16),
    blocks=st.integers(0, 40),
    salt=st.binary(min_size=1, max_size=16),
)
def test_equals_openssl(isa: str, key: bytes, blocks: int, salt: bytes) -> None:
    plain = (salt * (16 * blocks))[: 16 * blocks]
    assert encrypt(key, plain) == Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(plain)


def test_every_byte_through_the_s_box(isa: str) -> None:
    plain = b"".join(bytes([x] * 16) for x in range(256))
    key = bytes(range(16))
    assert encrypt(key, plain) == Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(plain)


def test_lengths_are_checked() -> None:
    block, key = np.zeros(16, np.uint8), np.zeros(16, np.uint8)
    with pytest.raises(ValueError, match="out holds 8 bytes, not 16"):
        _native.aes128_ecb(key, block, np.zeros(8, np.uint8))
    with pytest.raises(ValueError, match="key holds 15 bytes"):
        _native.aes128_ecb(key[:15].copy(), block, block.copy())
    with pytest.raises(ValueError, match="whole blocks"):
        _native.aes128_ecb(key, block[:15].copy(), block[:15].copy())


def test_unknown_instruction_set_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown instruction set 'sse9'"):
        _native.set_isa("sse9")
