"""The bytes on the wire are fixed, per protocol and direction: a change of a protocol shows here first.

After a wanted change `python tests/protocol/mpc/test_mpc_wire.py` writes the baseline anew (and the version in
docs/wire.md may need to rise).
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from mpc_cases import CASES, Case, dealt, transcript

VECTORS = Path(__file__).parents[2] / "vectors/wire_digest.json"
N, SEED = 100, 2021


def digests(case: Case) -> dict[str, str | int]:
    """SHA-256 of what each party sends, each message preceded by its length."""
    ends = transcript(case, case.inputs(np.random.default_rng(SEED), N), N, dealt(SEED))
    out: dict[str, str | int] = {}
    for name, end in zip(("cloud", "helper"), ends, strict=True):
        whole = b"".join(len(m).to_bytes(8, "little") + m for m in end.sent)
        out[f"{name}_messages"] = len(end.sent)
        out[f"{name}_sha256"] = hashlib.sha256(whole).hexdigest()
    return out


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_wire_digest(case: Case) -> None:
    assert digests(case) == json.loads(VECTORS.read_text())["protocols"][case.name]


if __name__ == "__main__":
    made = {case.name: digests(case) for case in CASES}
    VECTORS.write_text(json.dumps({"n": N, "seed": SEED, "protocols": made}, indent=1) + "\n")
