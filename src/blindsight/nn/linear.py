"""Linear layers between the servers: W*r shared offline under encryption, W*(x - r) in the clear online.

Offline, for a batch of inferences: the helper encrypts its masks r, cut into polynomials (`nn.cut`), under
a key made for this batch; the cloud multiplies them with its weights and returns masked answers; each keeps
a share of W*r. Message sizes follow from the public plan on both sides. The helper sends a little ahead of
the cloud's answers, so that both work at once; layers pass in pieces of bounded size, so that memory does
not grow with the network.

    cloud -> helper   digest of the cuts; the public seed of a_pk, one for each ring in use
    helper -> cloud   b_pk for each ring
    helper -> cloud   for each op, for each pass of its tiles: Enc(r) of those tiles
    cloud -> helper   for each op, for each pass, for each block of answers: the answers

Online, the cloud computes W*(x - r) on 32-bit integers (`online`) and adds its share.

Adversary: either server, semi-honest. The cloud sees RLWE ciphertexts, and later x - r with r uniform and
used once; the helper sees answers that are simulatable without W (`he.linear`). Order of the answer and key
rule: DESIGN section 4. Sources: Mishra et al., "Delphi", USENIX Security 2020, section 4 (masks offline);
Huang et al., "Cheetah", USENIX Security 2022, section 3.
"""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np

from blindsight import _native
from blindsight.channel import Channel, ProtocolError
from blindsight.fixed.rng import Rng, SystemRng
from blindsight.he.error import answer_error
from blindsight.he.linear import MAX_BATCH, Evaluator, Scattered, Weights
from blindsight.he.ring import SEED_BYTES, answer_bytes, encryption_bytes, polynomial_bytes
from blindsight.nn.cut import Block, Cut
from blindsight.nn.ops import Conv2d, WeightedOp
from blindsight.nn.plan import Plan
from blindsight.nn.planner import Costs, Layer, choose, layers
from blindsight.nn.tiles import Conv
from blindsight.params import LINEAR, RingParams

DIGEST_BYTES = 16
AHEAD = 2  # passes that the helper encrypts before it has opened the answers of the first


class Owner(Protocol):
    """What a layer key does for its owner (`he.secret.linear.LayerKey`)."""

    public: bytes

    def encrypt(self, r: np.ndarray) -> bytes: ...
    def open(self, answers: np.ndarray, listed: Sequence[np.ndarray]) -> np.ndarray: ...
    def wipe(self) -> None: ...


MakeKey = Callable[[RingParams, bytes], Owner]


def online(op: WeightedOp, weight: np.ndarray, d: np.ndarray, threads: int = 1) -> np.ndarray:
    """The plaintext integer layer W*d mod 2^32, without bias.

    Args:
        weight: int16 of `op.weight_shape`.
        d: uint32 of the input's shape, or with a batch axis before it.

    Returns:
        uint32 of `op.shape`, with the batch axis where d had one.
    """
    weight = np.ascontiguousarray(weight, np.int16)
    d = np.ascontiguousarray(d, np.uint32)
    if isinstance(op, Conv2d):
        inputs, stride, padding, groups = 3, op.stride, op.padding, op.groups
        x = d if d.ndim == 4 else d[None]
    else:
        inputs, stride, padding, groups = 1, (1, 1), (0, 0, 0, 0), 1
        weight = weight.reshape(*weight.shape, 1, 1)
        x = d.reshape(-1, d.shape[-1], 1, 1)
    y = _native.conv_mod32(weight, x, stride, padding, groups, threads)
    return y.reshape(op.shape if d.ndim == inputs else (len(x), *op.shape))


class CloudSide:
    """The cloud's half of the homomorphic linear layers (`offline.make.LinearSide`).

    Args:
        weights: tensor name -> int16 weights of the plan's shapes.
        rng: where the seeds of keys and answers come from.
    """

    def __init__(
        self, plan: Plan, weights: Mapping[str, np.ndarray], rng: Rng | None = None, threads: int = 1
    ):
        self._plan, self._weights, self._threads = plan, weights, threads
        self._rng: Rng = rng or SystemRng()

    def batch(
        self,
        channel: Channel,
        ops: Sequence[WeightedOp],
        batch: int,
        masks: dict[str, np.ndarray] | None = None,
    ) -> dict[str, np.ndarray]:
        """This party's shares of W*r under a key of the helper's made for this call: op output -> uint32
        [batch, size].
        """
        todo = layers(self._plan, ops, batch)
        rings = _rings(todo)
        seeds = [self._rng.bytes(SEED_BYTES) for _ in rings]
        channel.send(_digest(todo), *seeds)
        publics = channel.recv(sum(polynomial_bytes(ring) for ring in rings)).tobytes()
        evaluators, at = {}, 0
        for ring, seed in zip(rings, seeds, strict=True):
            end = at + polynomial_bytes(ring)
            evaluators[ring] = Evaluator(ring, seed, publics[at:end], self._rng, threads=self._threads)
            at = end
        return {layer.op.out: self._layer(channel, evaluators[layer.ring], layer) for layer in todo}

    def _layer(self, channel: Channel, evaluator: Evaluator, layer: Layer) -> np.ndarray:
        cut, weight = layer.cut, self._weights[layer.op.weight]
        out = np.empty(cut.batch * cut.conv.out_size, np.uint32)
        for tiles in layer.passes():
            count = len(tiles) * cut.channel_blocks
            ct = evaluator.load(channel.recv(encryption_bytes(layer.ring, count)))
            made: Weights | None = None
            last: Block | None = None
            for block, some in layer.calls(tiles):
                if made is None or block is not last:
                    made, last = Scattered(*cut.weights(weight, block)), block
                    if len(some) < len(tiles):  # several messages use them
                        made = evaluator.prepare(made)
                uses = np.stack([cut.uses(block, t - tiles.start) for t in some])
                listed = [cut.listed(block, t) for t in some]
                answers, shares = evaluator.answer_sets(ct, uses, made, listed)
                channel.send(answers)
                for t, share in zip(some, shares, strict=True):
                    out[cut.outputs(block, t)] = share
        return out.reshape(cut.batch, -1)


class HelperSide:
    """The helper's half of the homomorphic linear layers (`offline.make.LinearSide`).

    Args:
        make_key: makes a layer key from a ring and the cloud's seed of a_pk: `he.secret.linear.LayerKey`.
    """

    def __init__(self, plan: Plan, make_key: MakeKey):
        self._plan, self._make_key = plan, make_key

    def batch(
        self, channel: Channel, ops: Sequence[WeightedOp], batch: int, masks: dict[str, np.ndarray] | None
    ) -> dict[str, np.ndarray]:
        """This party's shares of W*r: op output -> uint32 [batch, size].

        Args:
            masks: tensor name -> r, uint32 [batch, size], uniform and fresh, of every tensor that the ops
            read.
        """
        if masks is None:
            raise ValueError("the helper's side of the linear layers needs the masks")
        todo = layers(self._plan, ops, batch)
        rings = _rings(todo)
        first = channel.recv(DIGEST_BYTES + SEED_BYTES * len(rings))
        if first[:DIGEST_BYTES].tobytes() != _digest(todo):
            raise ProtocolError("the servers cut the layers differently: run the same version on both")
        seeds = first[DIGEST_BYTES:].reshape(-1, SEED_BYTES)
        keys = {ring: self._make_key(ring, seed.tobytes()) for ring, seed in zip(rings, seeds, strict=True)}
        try:
            channel.send(*(keys[ring].public for ring in rings))
            return self._all(channel, keys, todo, masks)
        finally:
            for key in keys.values():
                key.wipe()

    def _all(
        self,
        channel: Channel,
        keys: dict[RingParams, Owner],
        todo: list[Layer],
        masks: dict[str, np.ndarray],
    ) -> dict[str, np.ndarray]:
        out = {layer.op.out: np.empty(layer.cut.batch * layer.cut.conv.out_size, np.uint32) for layer in todo}
        units = [(layer, tiles) for layer in todo for tiles in layer.passes()]
        for i in range(-AHEAD, len(units)):
            if i + AHEAD < len(units):
                layer, tiles = units[i + AHEAD]
                channel.send(_encrypt(keys[layer.ring], layer.cut, tiles, masks[layer.op.inputs[0]]))
            if i >= 0:
                layer, tiles = units[i]
                _open(channel, keys[layer.ring], layer, tiles, out[layer.op.out])
        return {layer.op.out: out[layer.op.out].reshape(layer.cut.batch, -1) for layer in todo}


def _rings(todo: Sequence[Layer]) -> list[RingParams]:
    return list(dict.fromkeys(layer.ring for layer in todo))


def _digest(todo: Sequence[Layer]) -> bytes:
    cuts = [(layer.op.out, layer.ring.name, *layer.cut.parameters) for layer in todo]
    return hashlib.sha256(repr(cuts).encode()).digest()[:DIGEST_BYTES]


def _encrypt(key: Owner, cut: Cut, tiles: range, r: np.ndarray) -> bytes:
    flat = np.append(r.reshape(-1), np.uint32(0)).view(np.int32)  # index -1: zero; centred representatives
    return key.encrypt(np.concatenate([flat[cut.inputs(t)] for t in tiles]))


def _open(channel: Channel, key: Owner, layer: Layer, tiles: range, out: np.ndarray) -> None:
    cut = layer.cut
    for block, some in layer.calls(tiles):
        count = block.a1 - block.a0
        listed = [cut.listed(block, t) for t in some]
        size = sum(count * answer_bytes(layer.ring, len(x)) for x in listed)
        share = key.open(channel.recv(size), [x for x in listed for _ in range(count)])
        at = 0
        for t, x in zip(some, listed, strict=True):
            end = at + count * len(x)
            out[cut.outputs(block, t)] = share[at:end].reshape(count, -1)
            at = end


def error_bound(cut: Cut, weight: np.ndarray, ring: RingParams = LINEAR) -> float:
    """How far the two shares of a layer's output may miss W*r, in units of the accumulator.

    The bound of DESIGN section 4 (`he.error`), largest over the answers. Its first norm is taken over the
    taps of one output alone: r is zero wherever another packed channel's tap would meet a listed
    coefficient.

    Args:
        weight: integers of the layer's weight shape.
    """
    rows = np.asarray(weight, np.float64).reshape(cut.conv.outputs, -1)
    squares = np.add.reduceat((rows * rows).sum(axis=1), np.arange(0, len(rows), cut.ob))
    return answer_error(ring, float(np.abs(rows).sum(axis=1).max()), math.sqrt(float(squares.max())))


def worst_error(conv: Conv, weight: np.ndarray, ring: RingParams = LINEAR) -> float:
    """`error_bound` for the worst of the batches 1 to 16: what a plan must allow for."""
    cuts = (choose(conv, batch, Costs.of(ring)) for batch in range(1, MAX_BATCH + 1))
    most = {cut.ob: cut for cut in cuts}
    return max(error_bound(cut, weight, ring) for cut in most.values())
