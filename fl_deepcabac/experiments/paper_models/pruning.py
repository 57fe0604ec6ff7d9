# SPDX-License-Identifier: Apache-2.0
"""Training with ever fewer weights: those of least magnitude are taken out, step by step.

References
----------
.. [1] M. Zhu and S. Gupta, "To Prune, or Not to Prune: Exploring the Efficacy of Pruning for Model
   Compression", arXiv 1710.01878, 2017: the cubic schedule.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from fl_deepcabac.experiments.tasks import Samples

__all__ = ["PruningPlan", "train_sparse"]


@dataclass(frozen=True, kw_only=True)
class PruningPlan:
    """How a model is trained and thinned.

    Parameters
    ----------
    density : float
        Part of the weights of matrices that is left; 1 trains a dense model.
    dense_epochs, pruning_epochs, settling_epochs : int
        Before, while and after weights are taken out.
    batch_size : int
    learning_rate : float
        Of Adam, falling along a half cosine over all epochs.
    weight_decay : float
        Apart from the gradient.
    steps_between : int
        Steps of the optimiser from one pruning to the next.
    """

    density: float
    dense_epochs: int
    pruning_epochs: int
    settling_epochs: int
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 1e-5
    steps_between: int = 50

    @property
    def n_epochs(self) -> int:
        """All of them."""
        return self.dense_epochs + self.pruning_epochs + self.settling_epochs


def train_sparse(
    model: nn.Module,
    samples: Samples,
    plan: PruningPlan,
    *,
    seed: int,
    on_epoch: Callable[[int, float], None] | None = None,
) -> nn.Module:
    """Train a model and take out the weights of least magnitude, over all matrices together.

    Parameters
    ----------
    model : Module
        Trained in place.
    samples : Samples
    plan : PruningPlan
    seed : int
        Seeds the order of the samples.
    on_epoch : callable, optional
        Told the number of each epoch and the density after it.

    Returns
    -------
    Module
        The same, in evaluation mode. Weights that were taken out are zero.

    Notes
    -----
    The density falls as 1 - (1 - density) (1 - (1 - t)^3), t from 0 to 1 while pruning [1]_. A
    weight is measured against the root mean square of what is left of its own matrix, or small
    matrices would lose as many of their large weights as large ones of their small.
    """
    generator = torch.Generator().manual_seed(seed)
    matrices = [weights for weights in model.parameters() if weights.dim() > 1]
    masks = [torch.ones_like(weights, dtype=torch.bool) for weights in matrices]
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay
    )
    n_steps = -(-len(samples) // plan.batch_size)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, plan.n_epochs * n_steps)
    step = 0
    model.train()
    for epoch in range(plan.n_epochs):
        order = torch.randperm(len(samples), generator=generator)
        for batch in order.split(plan.batch_size):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(samples.inputs[batch]), samples.labels[batch])
            loss.backward()
            optimizer.step()
            falling.step()
            progress = (step / n_steps - plan.dense_epochs) / max(plan.pruning_epochs, 1)
            if 0 < progress <= 1 and step % plan.steps_between == 0:
                masks = _thin(matrices, masks, _density_at(progress, plan.density))
            step += 1
            _apply(matrices, masks)
        if epoch + 1 == plan.dense_epochs + plan.pruning_epochs:
            masks = _thin(matrices, masks, plan.density)
            _apply(matrices, masks)
        if on_epoch is not None:
            n_left = sum(int(mask.sum()) for mask in masks)
            on_epoch(epoch, n_left / sum(mask.numel() for mask in masks))
    return model.eval()


def _density_at(progress: float, density: float) -> float:
    """Return the part that is left at a point of the schedule."""
    return 1 - (1 - density) * (1 - (1 - progress) ** 3)


@torch.no_grad()
def _apply(matrices: list[nn.Parameter], masks: list[torch.Tensor]) -> None:
    for weights, mask in zip(matrices, masks, strict=True):
        weights.mul_(mask)


@torch.no_grad()
def _thin(
    matrices: list[nn.Parameter], masks: list[torch.Tensor], density: float
) -> list[torch.Tensor]:
    """Return masks that leave a part of all weights; what is out stays out."""
    sizes = [_relative(weights, mask) for weights, mask in zip(matrices, masks, strict=True)]
    joined = torch.cat([size.flatten() for size in sizes])
    n_left = max(1, round(density * joined.numel()))
    threshold = torch.topk(joined, n_left, sorted=True).values[-1]
    return [(size >= threshold) & mask for size, mask in zip(sizes, masks, strict=True)]


def _relative(weights: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return absolute weights in root mean squares of those that are left."""
    n_left = mask.sum().clamp(min=1)
    scale = (weights.square().sum() / n_left).sqrt().clamp(min=1e-30)
    return weights.abs() / scale
