"""What a picture's answer says."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from blindsight.client.identity import Identity
from blindsight.wire import WireError
from blindsight.wire.result import Reveal


@dataclass(frozen=True)
class Answer:
    """`index` is the class, `label` its name ("" where unnamed); `indices` (topk) and `values` (logits,
    probabilities) hold what else was revealed. `latency_s`: from `classify` to the answer; `bytes_up`: payload sent.
    """

    image: str
    index: int
    label: str
    attempt: int
    latency_s: float
    bytes_up: int
    indices: tuple[int, ...] | None = None
    values: tuple[float, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        """Without what was not revealed."""
        return {k: v for k, v in asdict(self).items() if v is not None}


def read(
    who: Identity, image: bytes, words: np.ndarray, attempt: int, latency_s: float, bytes_up: int
) -> Answer:
    """The answer in the revealed numbers, uint32 [count]; `WireError` where a class is outside the model's."""
    indices: tuple[int, ...] | None = None
    values: tuple[float, ...] | None = None
    if who.reveal in (Reveal.TOP1, Reveal.TOPK):
        index = int(words[0])
        if who.reveal is Reveal.TOPK:
            indices = tuple(int(w) for w in words)
    else:
        signed = words.astype(np.int32)
        index = int(signed.argmax())
        values = tuple(float(v) / (1 << who.output_scale_bits) for v in signed)
    if who.labels and index >= len(who.labels):
        raise WireError(f"the answer names class {index} of {len(who.labels)}")
    label = who.labels[index] if who.labels else ""
    return Answer(image.hex(), index, label, attempt, latency_s, bytes_up, indices, values)
