"""Compile the zoo: `python -m blindsight.models.build_zoo --data DIR [NAME ...]`.

Reads `zoo/NAME.safetensors` (made from a state dict of `train` where `--trained DIR` is given), calibrates on
the first training pictures, and writes `zoo/NAME.bsm`, its plan, `data/NAME.npz` and one line of figures a
model.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors.torch import save_file

from blindsight.nn import floatnet
from blindsight.nn.ideal import run_values

from . import zoo
from .compiler import compile_model
from .load import load_module
from .train import RECIPES, read_packs

CALIBRATION = 512
# Bits of weights and activations. For CIFAR-10 one step more than `auto` finds: 99.9 % agreement instead of 99.6 %.
WIDTHS: dict[str, tuple[int | Literal["auto"], int | Literal["auto"]]] = {"cifar": (12, 14)}
PICTURES = {"mnist": 500, "fashion": 500, "cifar": 200, "vgg16": 500}
COMPACT = {"vgg16"}  # stored a byte a weight; the trained weights, 60 MB, stay outside
TESTED = {"vgg16": 500}  # pictures of the figures, where all would take an hour


def build(name: str, data: Path, trained: Path | None) -> str:
    """Compile zoo model `name`; returns its figures on the whole test set, in one line."""
    recipe, compact = RECIPES[name], name in COMPACT
    weights = zoo.HERE / f"{name}.safetensors"
    if compact and trained is None:
        raise SystemExit(
            f"{name}: its trained weights are not in the repository; train it, then pass --trained DIR"
        )
    if trained is not None:
        state = torch.load(trained / f"{name}.pt", weights_only=True)
        weights = trained / weights.name if compact else weights
        save_file({k: v.contiguous() for k, v in state.items()}, weights)
    module = load_module(f"{recipe.factory.__module__}:{recipe.factory.__name__}", weights)
    calibration, truth = read_packs(data, recipe.files, "train")
    bits, m = WIDTHS.get(name, ("auto", "auto"))
    compiled = compile_model(
        module,
        calibration[:CALIBRATION],
        name=name,
        mean=recipe.mean,
        std=recipe.std,
        labels=zoo.LABELS[name],
        weight_bits=bits,
        m=m,
        storage="compact" if compact else "full",
        truth=truth[:CALIBRATION],
    )
    compiled.save(zoo.HERE / f"{name}.bsm")
    x, y = read_packs(data, (recipe.test_file,), "test")
    count = PICTURES[name]
    first = x[:count]
    np.savez_compressed(
        zoo.HERE.parent / "data" / f"{name}.npz",
        x=first[..., 0] if first.shape[3] == 1 else first,
        y=y[:count].astype(np.uint8),
    )
    model, many = compiled.model, TESTED.get(name, len(x))
    x, y = x[:many], y[:many]
    float_top = floatnet.forward(model.graph, x).argmax(1)
    fixed_top = np.concatenate(
        [
            run_values(model.plan, model.ints, x[i : i + 100], np.random.default_rng(i)).argmax(1)
            for i in range(0, many, 100)
        ]
    )
    return (
        f"{name}: float {np.mean(float_top == y):.4f}, fixed-point {np.mean(fixed_top == y):.4f}, "
        f"agreement {np.mean(float_top == fixed_top):.4f} on {len(y)}; "
        f"{compiled.tried[-1]}{f'; {compiled.loss}' if compiled.loss else ''}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", default=sorted(RECIPES))
    parser.add_argument("--data", type=Path, default=os.environ.get("BLINDSIGHT_DATA"))
    parser.add_argument("--trained", type=Path, help="folder of NAME.pt that `train` wrote")
    args = parser.parse_args()
    if args.data is None:
        parser.error("pass --data DIR or set BLINDSIGHT_DATA")
    for name in args.names:
        print(build(name, Path(args.data), args.trained), flush=True)


if __name__ == "__main__":
    main()
