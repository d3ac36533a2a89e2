"""The attack network of Nasr, Shokri and Houmansadr, "Comprehensive privacy analysis of deep learning" (IEEE S&P 2019).

One small network a component (outputs, loss, label, gradients and activations of chosen layers), their codes joined
in an encoder that says member or not; trained on pictures whose membership the attacker knows. Components need not be
what their names say: on a server's view the attacker puts the server's shares and openings in their places.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from blindsight.evaluation.target import Inner

Components = Mapping[str, np.ndarray]


def components(seen: Inner, y: np.ndarray, fc2: np.ndarray) -> dict[str, np.ndarray]:
    """What the attacker feeds its network: float32 (N, d) by name.

    Args:
        seen: activations and logits, or what a server has in their places.
        y: the true labels, which the attacker is given.
        fc2: weights (10, hidden) of the last layer, which it is given too.
    """
    rows = np.arange(len(y))
    z = seen.logits.astype(np.float64)
    z = z - z.max(axis=1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    loss = -log_p[rows, y]
    gap = np.exp(log_p)
    gap[rows, y] -= 1  # the loss's gradient at the logits
    last = gap[:, :, None] * seen.hidden[:, None, :]
    back = (gap @ fc2) * (seen.hidden > 0)  # at the hidden layer
    norms = [np.linalg.norm(v.reshape(len(y), -1), axis=1) for v in (gap, last, back, seen.features)]
    made = {
        "outputs": np.concatenate([np.sort(log_p, axis=1)[:, ::-1], log_p], axis=1),
        "loss": np.stack([loss, np.log1p(loss)], axis=1),
        "label": np.eye(10)[y],
        "gradients": np.concatenate(
            [last.reshape(len(y), -1), back, np.log1p(np.stack(norms, axis=1))], axis=1
        ),
        "hidden": seen.hidden,
        "features": seen.features,
    }
    return {name: value.astype(np.float32) for name, value in made.items()}


class AttackNet(nn.Module):
    """One branch a component, then the encoder."""

    def __init__(self, sizes: Mapping[str, int]) -> None:
        super().__init__()
        self.branches = nn.ModuleDict(
            {
                name: nn.Sequential(
                    nn.Dropout(0.2), nn.Linear(d, 64), nn.ReLU(), nn.Linear(64, 16), nn.ReLU()
                )
                for name, d in sizes.items()
            }
        )
        self.encoder = nn.Sequential(nn.Linear(16 * len(sizes), 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, parts: Mapping[str, Tensor]) -> Tensor:
        codes = [branch(parts[name]) for name, branch in self.branches.items()]
        return self.encoder(torch.cat(codes, dim=1))[:, 0]


def attack(
    parts: Components, member: np.ndarray, known: np.ndarray, epochs: int = 20, seed: int = 5
) -> np.ndarray:
    """Scores (N,) of all pictures by an attack network trained on the known ones; above 0: it says member.

    Columns are standardised by the known pictures and clipped at five standard deviations.
    """
    torch.manual_seed(seed)
    ready = {name: _standard(value, known) for name, value in parts.items() if value.shape[1]}
    net = AttackNet({name: value.shape[1] for name, value in ready.items()})
    optimiser = torch.optim.Adam(net.parameters(), 1e-3, weight_decay=1e-4)
    index = torch.from_numpy(np.flatnonzero(known))
    truth = torch.from_numpy(member.astype(np.float32))
    rng = torch.Generator().manual_seed(seed)
    net.train()
    for _ in range(epochs):
        for pick in index[torch.randperm(len(index), generator=rng)].split(50):
            loss = F.binary_cross_entropy_with_logits(
                net({k: v[pick] for k, v in ready.items()}), truth[pick]
            )
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
    net.eval()
    with torch.no_grad():
        return net(ready).numpy().astype(np.float64)


def _standard(value: np.ndarray, known: np.ndarray) -> Tensor:
    mean, deviation = value[known].mean(axis=0), value[known].std(axis=0)
    scaled = (value - mean) / np.where(deviation > 0, deviation, 1)
    return torch.from_numpy(np.clip(scaled, -5, 5).astype(np.float32))
