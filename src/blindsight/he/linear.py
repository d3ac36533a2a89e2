"""The evaluator's side of a linear layer under encryption: masked, rounded answers W * Enc(r).

Adversary: the key owner, semi-honest, who knows its secret s, the plaintexts r and every `a` of its own ciphertexts.
What it receives, an answer, is simulatable without W under RLWE (Lyubashevsky, Peikert, Regev, "On Ideal Lattices and
Learning with Errors over Rings", EUROCRYPT 2010): each answer carries a fresh encryption of zero under the key owner's
public key, with a ternary u and errors e0, e1 that it does not know, so c1 = sum a_k W_k + a_pk u + e1 is pseudorandom
to it; each listed coefficient of c0 carries R uniform in Z_q, so it is uniform and independent of c1; nothing else of
c0 is sent; rounding is post-processing. No flooding. The evaluator in turn sees RLWE ciphertexts only.
The order of an answer is that of DESIGN section 4. Coefficient encoding after Huang, Lu, Hong, Ding, "Cheetah" (USENIX
Security 2022).

Randomness: one fresh 32-byte seed a call of `answer`, expanded with ChaCha20 (so the masks R are computationally
uniform); a seed, an encryption of zero and an R never serve twice. The public seeds of `a` play no part in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from blindsight.fixed.rng import Rng, SystemRng
from blindsight.he.ring import SEED_BYTES, encryption_bytes, kernels, listing, mask_bytes, polynomial_bytes
from blindsight.params import RingParams

MAX_BATCH = 16
MAX_USES = 4095

U32 = npt.NDArray[np.uint32]
I32 = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Scattered:
    """Weight polynomials given by their few non-zero coefficients.

    Attributes:
        positions: int32 [U, P], the coefficient of tap p in polynomials for input u; -1: none. A position that occurs
            twice in a row takes the last value.
        values: int32 [A, U, P], the taps (signs included).
    """

    positions: I32
    values: I32


@dataclass(frozen=True)
class Prepared:
    """Weight polynomials in the transformed domain: uint64 [A, U, primes, row], 16 KiB a polynomial at N = 2048
    (a row is N residues and a few unused words)."""

    transformed: npt.NDArray[np.uint64]


Weights = npt.NDArray[np.int32] | Scattered | Prepared


class Evaluator:
    """The party that has the weights, for one key of the other party (one material batch of at most 16 inferences).

    Args:
        params: the ring.
        a_pk_seed: the 32-byte public seed of the key's `a`, chosen by this side.
        public: what the key owner's `LayerKey.public` gave.
        rng: where the seeds of answers come from.
        threads: how many threads the kernels may use.

    Raises:
        ValueError: a seed or key of the wrong length, or a key outside the ring.
    """

    def __init__(
        self, params: RingParams, a_pk_seed: bytes, public: bytes, rng: Rng | None = None, *, threads: int = 1
    ):
        self.params = params
        self.threads = threads
        self._rng: Rng = rng or SystemRng()
        self._ring = kernels(params)
        if len(public) != polynomial_bytes(params):
            raise ValueError(
                f"a public key of ring {params.name} has {polynomial_bytes(params)} bytes, this one has {len(public)}"
            )
        self._key = self._load(a_pk_seed, np.frombuffer(public, np.uint8), 1, key=True)

    def _load(
        self, seed: bytes, packed: npt.NDArray[np.uint8], count: int, *, key: bool
    ) -> npt.NDArray[np.uint64]:
        out = np.empty((count, 2, len(self.params.primes), self._ring.row), np.uint64)
        self._ring.load(bytes(seed), packed, key, out, self.threads)
        return out

    def load(self, enc: bytes | bytearray | memoryview | npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
        """What `LayerKey.encrypt` sent, as ciphertexts for `answer`: uint64 [K, 2, primes, row], transformed.

        A row is N residues and a few unused words, which keep rows from competing for the same lines of cache.

        Raises:
            ValueError: not a seed and whole polynomials, or numbers outside the ring.
        """
        data = np.frombuffer(enc, np.uint8)
        count = (data.size - SEED_BYTES) // mask_bytes(self.params)
        if count < 0 or data.size != encryption_bytes(self.params, count):
            raise ValueError(
                f"encrypted masks of ring {self.params.name} are {SEED_BYTES} bytes and {mask_bytes(self.params)} "
                f"a polynomial; {data.size} bytes are not"
            )
        return self._load(data[:SEED_BYTES].tobytes(), data[SEED_BYTES:], count, key=False)

    def prepare(self, weights: I32 | Scattered) -> Prepared:
        """Transforms weight polynomials once, for many calls of `answer`. Memory: primes * N * 8 bytes each."""
        if isinstance(weights, Scattered):
            positions, values = _i32(weights.positions, 2), _i32(weights.values, 3)
            out = np.empty((*values.shape[:2], len(self.params.primes), self._ring.row), np.uint64)
            self._ring.prepare_scattered(positions, values, out, self.threads)
        else:
            dense = _i32(weights, 3)
            out = np.empty((*dense.shape[:2], len(self.params.primes), self._ring.row), np.uint64)
            self._ring.prepare(dense, out, self.threads)
        return Prepared(out)

    def answer(
        self,
        ct: npt.NDArray[np.uint64],
        uses: npt.NDArray[np.int32],
        weights: Weights,
        listed: npt.NDArray[np.int32],
    ) -> tuple[bytes, U32]:
        """Answers for one set of inputs.

        Args:
            ct: ciphertexts from `load`.
            uses: int [U], which of them each answer sums over; at most 4,095.
            weights: int32 [A, U, N] polynomials (magnitude below 2^31), `Scattered`, or `Prepared`.
            listed: int [A, L], the output coefficients of each answer.

        Returns:
            The answers to send, one after another (packed c1, then packed listed c0), and this side's shares
            -round(2^32 R / q) mod 2^32 as uint32 [A, L].
        """
        listed = _i32(listed, 2)
        answers, shares = self._answer(ct, _i32(uses, 1)[None], weights, listing(listed))
        return answers, shares.reshape(listed.shape)

    def answer_sets(
        self,
        ct: npt.NDArray[np.uint64],
        uses: npt.NDArray[np.int32],
        weights: Weights,
        listed: Sequence[npt.NDArray[np.int32]],
    ) -> tuple[bytes, list[U32]]:
        """Answers for several sets of inputs under the same weights, each of which is transformed only once.

        Args:
            ct: ciphertexts from `load`.
            uses: int [G, U], the ciphertexts of each set.
            weights: as for `answer`.
            listed: G arrays int [L_g], the output coefficients of set g in each of its A answers.

        Returns:
            The answers, set by set, and this side's shares: G arrays uint32 [A, L_g].
        """
        uses = _i32(uses, 2)
        count = _answers(weights)
        if len(listed) != len(uses):
            raise ValueError(
                f"{len(uses)} sets of inputs need as many lists of coefficients, not {len(listed)}"
            )
        lists = listing(listed, repeat=count)
        answers, shares = self._answer(ct, uses, weights, lists)
        ends = np.cumsum(lists[2].reshape(len(uses), count).sum(axis=1)).astype(np.int64)
        return answers, [part.reshape(count, -1) for part in np.split(shares, ends)[:-1]]

    def _answer(
        self,
        ct: npt.NDArray[np.uint64],
        uses: I32,
        weights: Weights,
        listed: tuple[np.ndarray, np.ndarray, np.ndarray],
    ) -> tuple[bytes, U32]:
        counts = listed[2]
        size = sum(
            int(n) * self._ring.answer_bytes(int(c))
            for c, n in zip(*np.unique(counts, return_counts=True), strict=True)
        )
        answers = np.empty(size, np.uint8)
        shares = np.empty(int(counts.sum()), np.uint32)
        common = (*listed, self._rng.bytes(SEED_BYTES), answers, shares, self.threads)
        if isinstance(weights, Prepared):
            self._ring.answer_prepared(self._key, ct, uses, weights.transformed, *common)
        elif isinstance(weights, Scattered):
            positions, values = _i32(weights.positions, 2), _i32(weights.values, 3)
            self._ring.answer_scattered(self._key, ct, uses, positions, values, *common)
        else:
            self._ring.answer(self._key, ct, uses, _i32(weights, 3), *common)
        return answers.tobytes(), shares


def _answers(weights: Weights) -> int:
    if isinstance(weights, Prepared):
        return int(weights.transformed.shape[0])
    return int((weights.values if isinstance(weights, Scattered) else weights).shape[0])


def _i32(x: np.ndarray, ndim: int) -> I32:
    """`x` as C-contiguous int32 of `ndim` dimensions, without a change of value."""
    if x.ndim != ndim:
        raise ValueError(f"{ndim} dimensions are needed, the array has {x.ndim}")
    if x.dtype.kind not in "iu" or (
        x.dtype != np.int32 and x.size and (x.min() < -(1 << 31) or x.max() >= 1 << 31)
    ):
        raise ValueError(f"whole numbers of 32 bits are needed, not {x.dtype}")
    return np.ascontiguousarray(x, dtype=np.int32)
