"""The networks that come with Blindsight, compiled, and test pictures for each. Needs no PyTorch.

`path` gives the model (the cloud's), its plan is beside it; `pictures` the first test pictures of its data
set (models/data/README.md). How each was trained: `blindsight.models.train`; how well: README.md here.
"""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).parent
LABELS: dict[str, tuple[str, ...]] = {
    "mnist": tuple("0123456789"),
    "fashion": (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    "cifar": (
        *("airplane", "automobile", "bird", "cat", "deer"),
        *("dog", "frog", "horse", "ship", "truck"),
    ),
}

LABELS["vgg16"] = LABELS["cifar"]


def names() -> list[str]:
    """Names of the models that are here."""
    return sorted(p.stem for p in HERE.glob("*.bsm"))


def path(name: str) -> Path:
    """M.bsm of the zoo model `name`; KeyError names the ones there are."""
    return _known(name, HERE / f"{name}.bsm")


def pictures(name: str) -> Path:
    """Test pictures of the model's data set: `.npz` with x uint8 (N, H, W) or (N, H, W, C) and y uint8 (N,)."""
    return _known(name, HERE.parent / "data" / f"{name}.npz")


def _known(name: str, file: Path) -> Path:
    if name not in names() or not file.exists():
        raise KeyError(f"no zoo model {name!r}: there are {', '.join(names())}")
    return file
