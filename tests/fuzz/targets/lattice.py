"""Ciphertexts: what devices send, and what the servers send each other."""

from __future__ import annotations

from typing import Any

import numpy as np

from blindsight.he import ingest as he_ingest
from blindsight.he.linear import Evaluator
from blindsight.he.secret.linear import LayerKey
from blindsight.params import rings
from blindsight.wire.blocks import Layout, Mode

from .register import Finding, target


def _ciphertexts() -> list[bytes]:
    layout = Layout(Mode.RLWE, 256, 1)
    return [
        bytes([mode]) + bytes(Layout(mode, 256, 1).block_bytes(0)) for mode in (Mode.RLWE, Mode.RLWE_SK)
    ] + [bytes([3]) + bytes(layout.masked_bytes(0))]


@target(_ciphertexts, ValueError)
def ciphertexts(data: bytes) -> None:
    """Blocks of a device as the cloud masks them."""
    if not data:
        return
    mode = Mode(data[0] % 3)
    layout = Layout(mode, 256, 1)
    block = layout.split(0, data[1:])
    if mode is Mode.AES:
        he_ingest.ciphertext_share(layout, [data[1:]])
    else:
        he_ingest.mask(layout, [b"".join(block)])


_RING = next(v for v in vars(rings).values() if getattr(v, "n", 0) == 2048 or getattr(v, "degree", 0) == 2048)


class _Linear:
    """One key and its evaluator, made once."""

    made: Any = None

    @classmethod
    def get(cls) -> Any:
        if cls.made is None:
            key = LayerKey(_RING, bytes(32))
            cls.made = (
                key,
                Evaluator(_RING, bytes(32), key.public),
                key.encrypt(np.ones((1, 2048), np.int32)),
            )
        return cls.made


@target(lambda: [_Linear.get()[2], _Linear.get()[0].public, bytes(2048 * 5 + 40)], ValueError)
def linear_messages(data: bytes) -> None:
    """Encryptions as the evaluator loads them, public keys, and answers as the key's owner opens them."""
    key, evaluator, _ = _Linear.get()
    for read in (
        evaluator.load, lambda d: Evaluator(_RING, bytes(32), d),
        lambda d: key.open(d, [np.arange(8, dtype=np.int32)]),
    ):  # fmt: skip
        try:
            read(data)
        except ValueError as error:
            if "\n" in str(error):
                raise Finding("an error of two lines") from error
