"""Your own PyTorch network, from training to two servers that cannot see the pictures. Needs PyTorch: make dev."""

import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn

import blindsight


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 5, stride=2, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 7 * 7, 10),
    )  # fmt: skip


def train(net: nn.Module, x: np.ndarray, y: np.ndarray) -> None:
    torch.manual_seed(1)
    pixels, classes = torch.from_numpy(x[:, None]).float() / 255, torch.from_numpy(y).long()
    optimiser = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(60):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(pixels), classes).backward()
        optimiser.step()
    net.eval()


def main() -> None:
    x, y = blindsight.sample_pictures("mnist")
    assert y is not None
    net = network()
    train(net, x[:400], y[:400])
    compiled = blindsight.compile_model(net, x[:400], name="mine", labels=[f"digit {i}" for i in range(10)])
    print(compiled.explain())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mine.bsm"
        compiled.save(path)  # the cloud's; mine.plan.json beside it is all that the helper gets
        with blindsight.LocalPair(path, batch=5) as pair:
            results = pair.classify_many(x[400:405])
    with torch.no_grad():
        expected = net(torch.from_numpy(x[400:405, None]).float() / 255).argmax(1)
    for result, open_answer in zip(results, expected.tolist(), strict=True):
        print(f"secure: {result.label}; the open network says digit {open_answer}")


if __name__ == "__main__":
    main()
