"""Microsoft SEAL as the oracle: what our key owner encrypts and our evaluator answers decrypts there to the same numbers.

SEAL is reached through tenseal's binding. It sets aside the last prime of a chain for key switching, so every chain here
ends in a prime that no ciphertext uses; security levels are off because of it (the chain without it is ours, checked by
blindsight.params). Objects enter through SEAL's own serialisation, uncompressed.
"""

import struct
from pathlib import Path

import numpy as np
import pytest
import tenseal.sealapi as seal

import blindsight._native as native
from blindsight.he.linear import Evaluator, Scattered
from blindsight.he.ring import kernels, polynomial_bytes
from blindsight.he.secret.linear import LayerKey
from blindsight.params import CONCEALED, LINEAR, LOGITS, RingParams

SEED = bytes(range(32))
SPARE = {2048: 1125899906826241, 4096: 1125844072267777}


class Oracle:
    """SEAL with our ring and our key."""

    def __init__(self, params: RingParams, key: LayerKey, folder: Path):
        self.params, self.folder = params, folder
        seal.Plaintext().save(str(folder / "version"))
        self.version = (folder / "version").read_bytes()[3:5]  # of the SEAL that is installed
        parms = seal.EncryptionParameters(seal.SCHEME_TYPE.BFV)
        parms.set_poly_modulus_degree(params.n)
        self.chain = [*params.primes, SPARE[params.n]]
        parms.set_coeff_modulus([seal.Modulus(p) for p in self.chain])
        parms.set_plain_modulus(params.t)
        self.context = seal.SEALContext(parms, True, seal.SEC_LEVEL_TYPE.NONE)
        assert self.context.parameters_set(), self.context.parameters_error_message()
        secret = seal.SecretKey()
        secret.load(self.context, self._file(self._secret(key)))
        self.decryptor = seal.Decryptor(self.context, secret)

    def _enclosed(self, body: bytes) -> bytes:
        """SEAL's header (no compression) and a body."""
        return struct.pack("<HB2sBHQ", 0xA15E, 16, self.version, 0, 0, 16 + len(body)) + body

    def _array(self, words: np.ndarray) -> bytes:
        return self._enclosed(struct.pack("<Q", words.size) + words.astype("<u8").tobytes())

    def _file(self, data: bytes) -> str:
        path = self.folder / "seal.bin"
        path.write_bytes(data)
        return str(path)

    def _secret(self, key: LayerKey) -> bytes:
        """The secret at key level: transformed, one row for each prime of the chain, the spare one too."""
        n, p = self.params.n, self.params.primes[0]
        s = np.empty(n, np.uint64)
        native.ntt_inverse(n, p, key._live()[0], s)
        assert set(s.tolist()) <= {0, 1, p - 1}
        rows = np.empty((len(self.chain), n), np.uint64)
        for row, q in zip(rows, self.chain, strict=True):
            native.ntt_forward_signed(
                n, q, np.where(s == p - 1, -1, s.astype(np.int64)).astype(np.int32), row
            )
        head = struct.pack("<4QQd", *self.context.key_parms_id(), rows.size, 1.0)
        return self._enclosed(head + self._array(rows))

    def decrypt(self, c: np.ndarray) -> np.ndarray:
        """uint32 [N] of a ciphertext uint64 [2, primes, N] of coefficients."""
        head = struct.pack(
            "<4QBQQQdQ", *self.context.first_parms_id(), 0, 2, self.params.n, len(c[0]), 1.0, 1
        )
        ciphertext, plain = seal.Ciphertext(), seal.Plaintext()
        ciphertext.load(self.context, self._file(self._enclosed(head + self._array(c))))
        self.decryptor.decrypt(ciphertext, plain)
        out = np.zeros(self.params.n, np.uint32)
        count = plain.coeff_count()
        out[:count] = [plain[i] for i in range(count)]
        return out


def coefficients(params: RingParams, transformed: np.ndarray) -> np.ndarray:
    out = np.empty(transformed.shape, np.uint64)
    for l, p in enumerate(params.primes):
        rows = np.ascontiguousarray(transformed[..., l, :])
        back = np.empty_like(rows)
        native.ntt_inverse(params.n, p, rows, back)
        out[..., l, :] = back
    return out


def unpacked(data: bytes, width: int, count: int) -> list[int]:
    stream = int.from_bytes(data, "little")
    return [(stream >> i * width) & ((1 << width) - 1) for i in range(count)]


def restored(params: RingParams, answer: bytes) -> np.ndarray:
    """An answer that lists every coefficient, as a ciphertext uint64 [2, primes, N]: half a step back, mod q."""
    size = -(-params.n * params.c1_bits // 8)
    parts = [(answer[size:], params.c0_bits), (answer[:size], params.c1_bits)]
    rows = []
    for data, bits in parts:
        dropped = params.q_bits - bits
        values = [(v << dropped) + (1 << (dropped - 1)) for v in unpacked(data, bits, params.n)]
        rows.append([[v % params.q % p for v in values] for p in params.primes])
    return np.array(rows, np.uint64)


@pytest.mark.parametrize("params", [LINEAR, CONCEALED, LOGITS], ids=lambda p: p.name)
def test_seal_decrypts_what_we_encrypt_and_answer(params: RingParams, tmp_path: Path) -> None:
    key = LayerKey(params, SEED)
    evaluator = Evaluator(params, SEED, key.public)
    oracle = Oracle(params, key, tmp_path)
    rng = np.random.default_rng(3)
    r = rng.integers(-(1 << 31), 1 << 31, (3, params.n)).astype(np.int32)
    ct = evaluator.load(key.encrypt(r))
    for c, plain in zip(coefficients(params, ct[..., : params.n]), r, strict=True):
        assert np.array_equal(oracle.decrypt(c), plain.view(np.uint32))

    limit = 1 << 11
    positions = np.stack([rng.choice(params.n, 30, replace=False) for _ in range(3)]).astype(np.int32)
    values = rng.integers(-limit, limit, (1, 3, 30)).astype(np.int32)
    everything = np.arange(params.n)[None]
    answer, _ = evaluator.answer(ct, np.arange(3), Scattered(positions, values), everything)
    assert np.array_equal(oracle.decrypt(restored(params, answer)), key.open(answer, everything))


def test_seal_takes_our_public_key(tmp_path: Path) -> None:
    """(b_pk, a_pk) is an encryption of zero."""
    key = LayerKey(LINEAR, SEED)
    pair = np.empty((1, 2, 1, kernels(LINEAR).row), np.uint64)
    assert len(key.public) == polynomial_bytes(LINEAR)
    kernels(LINEAR).load(SEED, np.frombuffer(key.public, np.uint8), True, pair, 1)
    assert not Oracle(LINEAR, key, tmp_path).decrypt(coefficients(LINEAR, pair[0, ..., : LINEAR.n])).any()
