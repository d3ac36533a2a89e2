"""Train the zoo networks: `python -m blindsight.models.train mnist --data DIR --out DIR`.

DIR (or BLINDSIGHT_DATA) holds the image packs (mnist.npz, fashion_mnist.npz, cifar10_*.npz). Stochastic
gradient descent with Nesterov momentum and a one-cycle learning rate (Smith and Topin 2018); batches are
augmented by shifts and, where a mirrored picture keeps its class, flips. A checkpoint follows every epoch, so
a stopped run goes on.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .packs import PackError, read_pack
from .zoo.nets import VGG16, CompactResNet, FashionNet, LeNet


@dataclass(frozen=True)
class Recipe:
    """How one network is trained; `mean` and `std` are its input normalisation, per channel of x / 255. The first
    `coarse` part of the schedule sees pictures of half the size, at a quarter of the work.
    """

    factory: Callable[[], nn.Module]
    files: tuple[str, ...]
    test_file: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    epochs: int
    rate: float
    shift: int
    flip: bool = False
    batch: int = 128
    decay: float = 5e-4
    coarse: float = 0.0
    smoothing: float = 0.05


_CIFAR = Recipe(
    factory=CompactResNet,
    files=tuple(f"cifar10_train_{i}.npz" for i in range(1, 6)),
    test_file="cifar10_test.npz",
    mean=(0.4914, 0.482158, 0.446531),
    std=(0.247032, 0.243485, 0.261588),
    epochs=24,
    rate=0.2,
    shift=3,
    flip=True,
)

RECIPES = {
    "mnist": Recipe(
        factory=LeNet,
        files=("mnist.npz",),
        test_file="mnist.npz",
        mean=(0.13066,),
        std=(0.308108,),
        epochs=12,
        rate=0.05,
        shift=2,
    ),
    "fashion": Recipe(
        factory=FashionNet,
        files=("fashion_mnist.npz",),
        test_file="fashion_mnist.npz",
        mean=(0.286041,),
        std=(0.353024,),
        epochs=14,
        rate=0.05,
        shift=1,
        flip=True,
        decay=2e-4,
    ),
    "cifar": _CIFAR,
    "vgg16": replace(_CIFAR, factory=VGG16, epochs=20, batch=384, coarse=0.4, smoothing=0.1),
}


def read_packs(folder: Path, names: tuple[str, ...], part: str) -> tuple[np.ndarray, np.ndarray]:
    """Pictures uint8 (N, H, W, C) and labels int64 (N,) of one part (`train` or `test`) of the packs that
    exist.
    """
    wanted = f"x_{part}", f"y_{part}"
    packs = [read_pack(folder / n, *wanted) for n in names if (folder / n).exists()]
    if not packs:
        raise FileNotFoundError(
            f"none of {', '.join(names)} in {folder}: pass --data DIR or set BLINDSIGHT_DATA"
        )
    if not all(wanted[1] in p for p in packs):
        raise PackError(f"{folder}: a pack without its labels `{wanted[1]}`: take it away, or add them")
    x, y = (np.concatenate([p[name] for p in packs]) for name in wanted)
    return (x if x.ndim == 4 else x[..., None]), y.astype(np.int64)


def normalise(x: np.ndarray, recipe: Recipe) -> Tensor:
    """uint8 (N, H, W, C) -> float32 (N, C, H, W), normalised."""
    z = torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2))).float() / 255
    return (z - torch.tensor(recipe.mean).view(1, -1, 1, 1)) / torch.tensor(recipe.std).view(1, -1, 1, 1)


def augment(x: Tensor, recipe: Recipe, rng: torch.Generator) -> Tensor:
    """Shift each picture by up to `shift` pixels (black borders) and mirror half of them."""
    n, _, h, w = x.shape
    black = -torch.tensor(recipe.mean) / torch.tensor(recipe.std)
    s = recipe.shift
    padded = F.pad(x - black.view(1, -1, 1, 1), (s, s, s, s)) + black.view(1, -1, 1, 1)
    dy, dx = torch.randint(0, 2 * s + 1, (2, n), generator=rng)
    rows = (dy[:, None] + torch.arange(h))[:, None, :, None]
    columns = dx[:, None] + torch.arange(w)
    if recipe.flip:
        mirror = torch.rand(n, generator=rng) < 0.5
        columns[mirror] = columns[mirror].flip(1)
    return padded[
        torch.arange(n)[:, None, None, None],
        torch.arange(x.shape[1])[None, :, None, None],
        rows,
        columns[:, None, None, :],
    ]


def accuracy(module: nn.Module, x: Tensor, y: Tensor) -> float:
    """Top-1 accuracy, batch norm and dropout in evaluation mode."""
    module.eval()
    with torch.no_grad():
        hits = sum(
            int((module(x[i : i + 500]).argmax(1) == y[i : i + 500]).sum()) for i in range(0, len(x), 500)
        )
    return hits / len(x)


def train(
    name: str,
    data: Path,
    out: Path,
    *,
    epochs: int | None = None,
    rate: float | None = None,
    seed: int = 1,
    limit_s: float | None = None,
    init: Path | None = None,
) -> float:
    """Train zoo network `name`, write `out/name.pt` (state dict) and return the test accuracy.

    With `limit_s` the schedule also follows the clock, so that the run ends, fully annealed, within that time
    on a machine of any speed; such a run is not reproducible to the bit. `init` is a state dict to start from, as for
    a second, lower cycle with a peak `rate` of its own; nothing of such a cycle is coarse.
    """
    recipe = RECIPES[name]
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed)
    x_train, y_train = read_packs(data, recipe.files, "train")
    x_test, y_test = read_packs(data, (recipe.test_file,), "test")
    xt, yt = normalise(x_test, recipe), torch.from_numpy(y_test)
    y = torch.from_numpy(y_train)
    module, peak = recipe.factory(), rate or recipe.rate
    coarse = recipe.coarse if init is None else 0.0
    if init is not None:
        module.load_state_dict(torch.load(init, weights_only=True))
    module = module.to(memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(module.parameters(), peak, 0.9, weight_decay=recipe.decay, nesterov=True)
    steps, total = len(y) // recipe.batch, epochs or recipe.epochs
    checkpoint, epoch, spent = out / f"{name}.checkpoint.pt", 0, 0.0
    out.mkdir(parents=True, exist_ok=True)
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        module.load_state_dict(saved["module"])
        optimiser.load_state_dict(saved["optimiser"])
        epoch, total, spent = saved["epoch"], saved["total"], saved["spent"]
    while epoch < total:
        start = time.monotonic()
        module.train()
        order = torch.randperm(len(y), generator=rng)
        for step in range(steps):
            at = (epoch + step / steps) / total
            if limit_s is not None:
                at = max(at, (spent + time.monotonic() - start) / limit_s)
            if at >= 1:
                break
            for group in optimiser.param_groups:
                group["lr"] = peak * (at / 0.25 if at < 0.25 else (1 - at) / 0.75) + 1e-4
            pick = order[step * recipe.batch : (step + 1) * recipe.batch]
            x = augment(normalise(x_train[pick.numpy()], recipe), recipe, rng)
            x = x.contiguous(memory_format=torch.channels_last)
            logits = module.coarse(F.avg_pool2d(x, 2)) if at < coarse else module(x)
            loss = F.cross_entropy(logits, y[pick], label_smoothing=recipe.smoothing)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            if step % 50 == 49:
                print(
                    f"{name} {epoch} {step + 1}/{steps} loss {loss.item():.3f} "
                    f"{(step + 1) * recipe.batch / (time.monotonic() - start):.0f} images/s",
                    flush=True,
                )
        spent += time.monotonic() - start
        epoch += 1
        if limit_s is not None and spent >= limit_s:
            total = epoch
        print(
            f"{name} epoch {epoch}/{total} test {accuracy(module, xt[:2000], yt[:2000]):.4f} {spent:.0f} s",
            flush=True,
        )
        torch.save(
            {
                "module": module.state_dict(),
                "optimiser": optimiser.state_dict(),
                "epoch": epoch,
                "total": total,
                "spent": spent,
            },
            checkpoint,
        )
    torch.save(module.state_dict(), out / f"{name}.pt")
    return accuracy(module, xt, yt)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("name", choices=sorted(RECIPES))
    parser.add_argument("--data", type=Path, default=os.environ.get("BLINDSIGHT_DATA"))
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints and the state dict")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--rate", type=float, help="peak learning rate")
    parser.add_argument("--init", type=Path, help="state dict (NAME.pt) to start from")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--limit-s", type=float, help="let the schedule follow the clock: end within this many seconds"
    )
    args = parser.parse_args()
    if args.data is None:
        parser.error("pass --data DIR or set BLINDSIGHT_DATA")
    torch.set_num_threads(args.threads)
    reached = train(
        args.name,
        Path(args.data),
        args.out,
        epochs=args.epochs,
        rate=args.rate,
        seed=args.seed,
        limit_s=args.limit_s,
        init=args.init,
    )
    print(f"{args.name}: {reached:.4f}")


if __name__ == "__main__":
    main()
