"""Training: data packs, augmentation, a run that stops and goes on. Two steps on a tiny pack, not an accuracy."""

from pathlib import Path

import numpy as np
import pytest
import torch

from blindsight.models.train import RECIPES, augment, normalise, read_packs, train


@pytest.fixture
def packs(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    arrays = {f"x_{p}": rng.integers(0, 256, (256, 28, 28), np.uint8) for p in ("train", "test")}
    arrays |= {f"y_{p}": rng.integers(0, 10, 256, np.uint8) for p in ("train", "test")}
    np.savez(tmp_path / "mnist.npz", **arrays)  # type: ignore[arg-type]
    return tmp_path


def test_missing_packs_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="BLINDSIGHT_DATA"):
        read_packs(tmp_path, ("mnist.npz",), "train")


def test_augmentation_shifts_over_black_and_keeps_the_pixels() -> None:
    recipe = RECIPES["fashion"]
    x = np.zeros((64, 28, 28, 1), np.uint8)
    x[:, 10:14, 5:9] = 255
    z = normalise(x, recipe)
    y = augment(z, recipe, torch.Generator().manual_seed(0))
    assert y.shape == z.shape and torch.allclose(y.sum((1, 2, 3)), z.sum((1, 2, 3)), rtol=1e-4)
    assert not torch.equal(y, z) and set(y.unique().tolist()) == set(z.unique().tolist())


def test_a_run_goes_on_from_its_checkpoint(packs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = train("mnist", packs, out, epochs=1)
    assert 0 <= first <= 1 and (out / "mnist.pt").exists()
    saved = torch.load(out / "mnist.checkpoint.pt", weights_only=True)
    assert saved["epoch"] == saved["total"] == 1
    assert train("mnist", packs, out, epochs=1) == first  # nothing is left to do
    again = tmp_path / "again"
    train("mnist", packs, again, epochs=1)
    one, two = (torch.load(o / "mnist.pt", weights_only=True) for o in (out, again))
    assert all(torch.equal(v, two[k]) for k, v in one.items())
    train("mnist", packs, tmp_path / "clock", epochs=1000, limit_s=0.2, init=out / "mnist.pt", rate=0.01)
