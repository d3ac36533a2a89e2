"""The lattice rings in use: checked parameter sets and nothing else.

A ring is Z[X]/(X^N + 1) modulo q, q one prime or a product of two, with ternary secrets and centred-binomial errors
(eta = 21). Security is that of the homomorphic-encryption guideline of 2024 (Bossuat et al., "Security Guidelines for
Implementing Homomorphic Encryption", IACR CiC 1(4), 2024) for uniform ternary secrets at 128 bits, classical: the
largest log2 q it allows at each N is `GUIDELINE_BITS`.
"""

from dataclasses import dataclass
from math import prod

GUIDELINE_BITS = {1024: 26, 2048: 53, 4096: 106}
ERROR_ETA = 21
ERROR_SIGMA = (ERROR_ETA / 2) ** 0.5


@dataclass(frozen=True)
class RingParams:
    """One ring and the rounding of the ciphertexts that travel in it.

    Attributes:
        name: what errors call it.
        n: the degree N, a power of two.
        primes: the prime factors of q, largest first, each 1 mod 2N.
        t: the plaintext modulus; q is 1 mod t and delta = (q - 1) / t.
        c0_bits, c1_bits: how many of the top bits of a coefficient of c0 and c1 are sent back.
        b_bits: how many of b of an encrypted mask travel; None: b exactly.

    Raises:
        ValueError: the set is not sound (the message says why).
    """

    name: str
    n: int
    primes: tuple[int, ...]
    t: int
    c0_bits: int
    c1_bits: int
    b_bits: int | None = None

    def __post_init__(self) -> None:
        if self.n not in GUIDELINE_BITS:
            raise ValueError(f"ring {self.name}: N = {self.n} is none of {sorted(GUIDELINE_BITS)}")
        if not 1 <= len(self.primes) <= 2 or list(self.primes) != sorted(set(self.primes), reverse=True):
            raise ValueError(f"ring {self.name}: one prime or two, the larger first, not {self.primes}")
        for p in self.primes:
            if p % (2 * self.n) != 1 or p >= 1 << 50 or pow(3, p - 1, p) != 1:
                raise ValueError(f"ring {self.name}: {p} is no prime below 2^50 that is 1 mod {2 * self.n}")
        if self.q_bits > GUIDELINE_BITS[self.n]:
            raise ValueError(
                f"ring {self.name}: {self.q_bits} bits of q at N = {self.n} are more than the "
                f"{GUIDELINE_BITS[self.n]} that give 128-bit security"
            )
        if self.q % self.t != 1:
            raise ValueError(f"ring {self.name}: q is not 1 mod t = {self.t}")
        kept = (self.c0_bits, self.c1_bits, *(() if self.b_bits is None else (self.b_bits,)))
        if not all(8 < bits < self.q_bits for bits in kept):
            raise ValueError(
                f"ring {self.name}: cannot keep {' and '.join(map(str, kept))} bits of {self.q_bits}"
            )

    @property
    def q(self) -> int:
        return prod(self.primes)

    @property
    def q_bits(self) -> int:
        return self.q.bit_length()

    @property
    def delta(self) -> int:
        """What a plaintext is multiplied by."""
        return (self.q - 1) // self.t

    @property
    def c0_dropped(self) -> int:
        return self.q_bits - self.c0_bits

    @property
    def c1_dropped(self) -> int:
        return self.q_bits - self.c1_bits

    @property
    def b_dropped(self) -> int:
        return 0 if self.b_bits is None else self.q_bits - self.b_bits


INGEST = RingParams("ingest", 1024, (67104769,), 256, 12, 18)
"""Pictures (docs/wire.md, section 3)."""

LINEAR = RingParams("linear", 2048, (1125844072267777,), 1 << 32, 32, 38)
"""Linear layers of a model that the cloud owns."""

CONCEALED = RingParams("concealed", 4096, (1125899906826241, 1125852930654209), 1 << 32, 34, 39, 73)
"""Linear layers whose weights are shared: products of two 32-bit numbers (docs/decisions/concealed.md)."""

LOGITS = RingParams("logits", 4096, CONCEALED.primes, 1 << 32, 76, 84)
"""The last linear layer where logits or probabilities are revealed: c0 drops 24 bits, c1 drops 16."""

RINGS = {ring.name: ring for ring in (INGEST, LINEAR, CONCEALED, LOGITS)}
