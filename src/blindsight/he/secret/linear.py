"""The key owner's side of a linear layer under encryption: encrypts masks r, opens answers.

Adversary: the evaluator, semi-honest. It sees b = -(a s + e) + delta r with `a` from a fresh public seed, and one public
key b_pk = -(a_pk s + e): pseudorandom under RLWE with ternary secret (Lyubashevsky, Peikert, Regev, EUROCRYPT 2010).
One key serves one material batch of at most 16 inferences and no other purpose, because outputs that are revealed carry
an error linear in s (DESIGN section 4); a_pk comes from a seed that the evaluator chose and is never the `a` of a
ciphertext (another stream of ChaCha20, and another seed). All that depends on s runs in constant time; `wipe`
overwrites the secret.
"""

import numpy as np
import numpy.typing as npt

from blindsight.fixed.rng import Rng, SystemRng
from blindsight.he.ring import (
    SEED_BYTES,
    Coefficients,
    answer_bytes,
    encryption_bytes,
    kernels,
    listing,
    polynomial_bytes,
)
from blindsight.params import RingParams


class LayerKey:
    """A fresh key for the linear layers of one material batch.

    Args:
        params: the ring.
        a_pk_seed: the 32-byte public seed of a_pk, chosen by the evaluator.
        rng: where the secret and all errors come from.
        threads: how many threads the kernels may use.
    """

    def __init__(self, params: RingParams, a_pk_seed: bytes, rng: Rng | None = None, *, threads: int = 1):
        if len(a_pk_seed) != SEED_BYTES:
            raise ValueError(f"the seed of a_pk has {SEED_BYTES} bytes, not {len(a_pk_seed)}")
        self.params = params
        self.threads = threads
        self._rng: Rng = rng or SystemRng()
        self._ring = kernels(params)
        self._a_pk_seed = bytes(a_pk_seed)
        self._secret: npt.NDArray[np.uint64] | None = np.empty((len(params.primes), params.n), np.uint64)
        self._ring.make_secret(self._rng.bytes(SEED_BYTES), self._secret)
        out = np.empty(polynomial_bytes(params), np.uint8)
        self._ring.make_public(self._secret, self._a_pk_seed, self._rng.bytes(SEED_BYTES), out)
        self.public = out.tobytes()
        """b_pk, transformed, 50 bits a residue; the seed of a_pk is not repeated. Made once."""

    def encrypt(self, r: npt.NDArray[np.int32]) -> bytes:
        """Encrypts masks under a fresh public seed.

        Args:
            r: int32 [K, N], the coefficients of K polynomials as centred representatives mod 2^32.

        Returns:
            The seed (32 bytes), then b of each polynomial: transformed, 50 bits a residue, or where the ring rounds it the
            top bits of each coefficient (rounding is post-processing: RLWE hides no less).
        """
        if r.dtype != np.int32 or r.ndim != 2 or r.shape[1] != self.params.n:
            raise ValueError(f"masks are int32 [K, {self.params.n}], not {r.dtype} {list(r.shape)}")
        public_seed, error_seed = self._rng.bytes(SEED_BYTES), self._rng.bytes(SEED_BYTES)
        if public_seed == self._a_pk_seed:
            raise RuntimeError("the random source repeated the seed of the public key")
        out = np.empty(encryption_bytes(self.params, len(r)), np.uint8)
        out[:SEED_BYTES] = np.frombuffer(public_seed, np.uint8)
        self._ring.encrypt(
            self._live(), public_seed, error_seed, np.ascontiguousarray(r), out[SEED_BYTES:], self.threads
        )
        return out.tobytes()

    def open(
        self, answers: bytes | bytearray | memoryview | npt.NDArray[np.uint8], listed: Coefficients
    ) -> npt.NDArray[np.uint32]:
        """Decrypts answers to this side's shares round(2^32 v / q) mod 2^32.

        Args:
            answers: what `Evaluator.answer` or `answer_sets` gave, or several of them joined.
            listed: int [A, L], or one int [L_i] for each answer, in the order of the answers.

        Returns:
            uint32 [sum of L_i].

        Raises:
            ValueError: the bytes are not as many as the lists say.
        """
        coefficients, first, count = listing(listed)
        data = np.frombuffer(answers, np.uint8)
        expected = sum(answer_bytes(self.params, int(c)) for c in count)
        if data.size != expected:
            raise ValueError(
                f"{len(count)} answers with these coefficients have {expected} bytes, not {data.size}"
            )
        out = np.empty(coefficients.size, np.uint32)
        self._ring.open(self._live(), data, coefficients, first, count, out, self.threads)
        return out

    def wipe(self) -> None:
        """Overwrites the secret; the key serves no more."""
        if self._secret is not None:
            self._secret.fill(0)
            self._secret = None

    def _live(self) -> npt.NDArray[np.uint64]:
        if self._secret is None:
            raise RuntimeError("this layer key was wiped; a new batch needs a new key")
        return self._secret
