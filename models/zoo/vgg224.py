"""`vgg16-224`: VGG-16 in torchvision's layout at 224 x 224, with seeded random weights, for cost runs.

    python -m blindsight.models.zoo.vgg224 --out M.bsm [--size 224] [--seed 1]

What a secure inference costs depends on shapes and widths alone, so random weights measure it as trained ones do; the
138 million of them are not shipped but drawn from the seed (He et al. 2015), with numpy only. Scales come from the
first CIFAR-10 test pictures, enlarged. Trained weights, a state dict of torchvision's `vgg16`, go the usual way:

    blindsight compile blindsight.models.zoo.imagenet:VGG16 --weights vgg16.pth --storage compact --calibration X.npz \\
        --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 --out vgg16-224.bsm

Source: Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition" (ICLR 2015),
configuration D. The average pool of the layout is the identity at this size.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from blindsight.models import fold, zoo
from blindsight.models.lower import lower
from blindsight.models.state import Settings
from blindsight.nn import compact, floatnet
from blindsight.nn.floatnet import FloatGraph, FloatOp
from blindsight.nn.model import Model, plan_path
from blindsight.nn.plan import Plan, Reveal

NAME = "vgg16-224"
SEEDED = "-seeded"  # ends the name of a plan whose weights are random
SIZE, CLASSES, HIDDEN, SEED = 224, 1000, 4096, 1
WIDTHS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)  # 0: pool
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
WEIGHT_BITS, ACTIVATION_BITS, HEADROOM = 12, 14, 2.0
CALIBRATION = 4

Progress = Callable[[str], None]


def graph(size: int = SIZE, seed: int = SEED, hidden: int = HIDDEN, classes: int = CLASSES) -> FloatGraph:
    """The float network for pictures of `size` x `size`, a multiple of 32, its weights normal with variance 2 / fan-in.

    Tensors are named as torchvision's state dict names the layers; weights and biases are float32.
    """
    if size < 32 or size % 32:
        raise ValueError(f"VGG-16 takes pictures of a multiple of 32 pixels, not {size}")
    rng = np.random.default_rng(seed)
    ops = [FloatOp("input", "x", (), (3, size, size))]
    arrays: dict[str, np.ndarray] = {}

    def add(
        kind: str, out: str, shape: tuple[int, ...], weight: tuple[int, ...] | None = None, **attrs: object
    ) -> None:
        tensors = {}
        if weight is not None:
            tensors = {"weight": f"{out}.weight", "bias": f"{out}.bias"}
            arrays[f"{out}.weight"] = rng.standard_normal(weight, np.float32)
            arrays[f"{out}.weight"] *= np.float32(math.sqrt(2 / math.prod(weight[1:])))
            arrays[f"{out}.bias"] = np.zeros(weight[0], np.float32)
        ops.append(FloatOp(kind, out, (ops[-1].out,), shape, attrs, tensors))

    same = {"kernel": (3, 3), "stride": (1, 1), "padding": (1, 1, 1, 1), "groups": 1}
    half = {"kernel": (2, 2), "stride": (2, 2), "padding": (0, 0, 0, 0)}
    place = 0
    for width in WIDTHS:
        channels, side, _ = ops[-1].shape
        if width == 0:
            add("max_pool", f"features.{place}", (channels, side // 2, side // 2), **half)
            place += 1
        else:
            add("conv2d", f"features.{place}", (width, side, side), weight=(width, channels, 3, 3), **same)
            add("relu", f"features.{place + 1}", (width, side, side))
            place += 2
    flat = math.prod(ops[-1].shape)
    add("reshape", "flatten", (flat,))
    for place, (inputs, outputs) in zip(
        (0, 3, 6), ((flat, hidden), (hidden, hidden), (hidden, classes)), strict=True
    ):
        add("linear", f"classifier.{place}", (outputs,), weight=(outputs, inputs))
        if place < 6:
            add("relu", f"classifier.{place + 1}", (outputs,))
    return FloatGraph(ops, arrays, MEAN, STD)


def pictures(count: int, size: int = SIZE) -> np.ndarray:
    """The first CIFAR-10 test pictures of the zoo, each pixel enlarged to a square: uint8 (count, size, size, 3)."""
    with np.load(zoo.pictures("cifar"), allow_pickle=False) as data:
        x = data["x"][:count]
    return x.repeat(size // 32, axis=1).repeat(size // 32, axis=2)


def compile_seeded(
    size: int = SIZE,
    seed: int = SEED,
    hidden: int = HIDDEN,
    classes: int = CLASSES,
    progress: Progress | None = None,
) -> Model:
    """The compact model (`nn.compact`) of the seeded network; about half a minute and 5 GB at 224 x 224."""
    tell = progress or (lambda what: None)
    tell(f"drawing weights from seed {seed}")
    raw = fold.integer_form(graph(size, seed, hidden, classes))
    tell(f"running {CALIBRATION} pictures in floating point for the scales")
    seen: dict[str, float] = {}

    def tap(name: str, values: np.ndarray) -> None:
        seen[name] = max(seen.get(name, 0.0), float(np.abs(values).max(initial=0)))

    floatnet.forward(raw, pictures(CALIBRATION, size), tap)
    tell("bounding and rounding the weights")
    settings = Settings(WEIGHT_BITS, ACTIVATION_BITS, HEADROOM, storage="compact")
    lowering = lower(raw, seen, settings)
    name = f"vgg16-{size}{SEEDED}"
    plan = Plan(name, size, size, 3, "rgb888", (), Reveal("top1", 1), tuple(lowering.ops))
    return Model(plan, lowering.ints, compact.reference(plan, lowering.ints, raw), "compact")


def cached(progress: Progress | None = None) -> tuple[Path, Path]:
    """The model file and its pictures in the user's cache folder (XDG_CACHE_HOME), made where they are missing."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    recipe = f"{NAME}-s{SEED}-w{WEIGHT_BITS}-m{ACTIVATION_BITS}"
    model, images = home / "blindsight" / f"{recipe}.bsm", home / "blindsight" / f"{recipe}.npz"
    if not (model.exists() and images.exists()):
        model.parent.mkdir(parents=True, exist_ok=True)
        if progress:
            progress(f"building {NAME} once, with random weights, in {model.parent}")
        fresh = model.with_name(f"{model.stem}.{os.getpid()}.bsm")
        try:
            compile_seeded(progress=progress).save(fresh)
            np.savez_compressed(fresh.with_suffix(".npz"), x=pictures(16))
            plan_path(fresh).replace(plan_path(model))
            fresh.with_suffix(".npz").replace(images)
            fresh.replace(model)
        finally:
            for stray in (fresh, plan_path(fresh), fresh.with_suffix(".npz")):
                stray.unlink(missing_ok=True)
    return model, images


def main() -> None:
    parser = argparse.ArgumentParser(description="VGG-16 in torchvision's layout with seeded random weights.")
    parser.add_argument("--out", type=Path, required=True, help="M.bsm; the public plan is written beside it")
    parser.add_argument("--size", type=int, default=SIZE, help="pixels a side, a multiple of 32")
    parser.add_argument("--seed", type=int, default=SEED)
    args = parser.parse_args()
    tell = lambda what: print(what, file=sys.stderr, flush=True)  # noqa: E731
    try:
        model = compile_seeded(args.size, args.seed, progress=tell)
        model.save(args.out)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    print(f"{args.out} (the cloud's), {plan_path(args.out)} (public), plan {model.plan.hash.hex()}")


if __name__ == "__main__":
    main()
