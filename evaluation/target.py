"""The network under attack: small, and trained until it knows its members by heart; shadows of it; its compiled form.

Overfitting is the point: a network that gives nothing away in the clear would prove nothing about what the servers see.
Shadow networks are of the same kind, each trained on a random half of the same pictures (Carlini et al., "Membership
inference attacks from first principles", IEEE S&P 2022, section V).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from blindsight.models import compile_model
from blindsight.nn.model import Model

MEAN, STD = 0.47, 0.25
BATCH = 50
Progress = Callable[[int], None]


class Target(nn.Module):
    """CIFAR-10: two strided convolutions and two fully connected layers, 43,000 weights."""

    def __init__(self, channels: tuple[int, int] = (8, 16), hidden: int = 32) -> None:
        super().__init__()
        a, b = channels
        self.conv1 = nn.Conv2d(3, a, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(a, b, 3, stride=2, padding=1)
        self.fc1 = nn.Linear(64 * b, hidden)
        self.fc2 = nn.Linear(hidden, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv2(F.relu(self.conv1(x))))
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


@dataclass(frozen=True)
class Inner:
    """What a white-box attacker computes of one network on many pictures, float32.

    Attributes:
        features: (N, 1024), the last convolution's output after ReLU.
        hidden: (N, 32), the hidden layer after ReLU.
        logits: (N, 10).
    """

    features: np.ndarray
    hidden: np.ndarray
    logits: np.ndarray


def tensor(x: np.ndarray) -> Tensor:
    """uint8 (N, H, W, 3) -> float32 (N, 3, H, W), normalised."""
    return (torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2))).float() / 255 - MEAN) / STD


def train(x: Tensor, y: Tensor, seed: int, steps: int, progress: Progress | None = None) -> Target:
    """A network overfitted to (x, y): Adam, one cycle of the learning rate, no regularisation, no augmentation."""
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed)
    net = Target()
    optimiser = torch.optim.Adam(net.parameters(), 1e-3)
    size = min(BATCH, len(y))
    order, at = torch.randperm(len(y), generator=rng), 0
    for step in range(steps):
        if at + size > len(y):
            order, at = torch.randperm(len(y), generator=rng), 0
        pick = order[at : at + size]
        at += size
        t = step / steps
        for group in optimiser.param_groups:
            group["lr"] = 4e-3 * (t / 0.2 if t < 0.2 else 0.5 + 0.5 * math.cos(math.pi * (t - 0.2) / 0.8))
        loss = F.cross_entropy(net(x[pick]), y[pick])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        if progress and step % 50 == 49:
            progress(50)
    return net.eval()


def inner(net: Target, x: Tensor) -> Inner:
    """Activations and logits on all pictures."""
    parts: list[list[np.ndarray]] = [[], [], []]
    with torch.no_grad():
        for chunk in x.split(500):
            features = F.relu(net.conv2(F.relu(net.conv1(chunk)))).flatten(1)
            hidden = F.relu(net.fc1(features))
            for part, value in zip(parts, (features, hidden, net.fc2(hidden)), strict=True):
                part.append(value.numpy())
    return Inner(*(np.concatenate(p) for p in parts))


@dataclass(frozen=True)
class Shadows:
    """Logits of shadow networks, and which pictures each was trained on: (S, N, 10) and bool (S, N)."""

    logits: np.ndarray
    trained_on: np.ndarray


def compiled(net: Target, pictures: np.ndarray) -> Model:
    """The network as the servers run it: 12-bit activations, `top1` revealed."""
    made = compile_model(net, pictures, name="overfit", mean=MEAN, std=STD, m=12)
    return made.model
