# SPDX-License-Identifier: Apache-2.0
"""Training and judging a model with torch: what happens inside one client, or on the server.

Invariant: the result depends on the arguments alone. The order of samples comes from a generator
that the caller seeds; torch's global one is not touched.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

import torch
from torch import nn
from torch.nn import functional

from fl_deepcabac.experiments.tasks import Samples, TrainingPlan

__all__ = ["Verdict", "initial_model", "judge_model", "train_model"]

JUDGE_BATCH = 128  # larger ones leave the caches: half the speed at 512


@dataclass(frozen=True)
class Verdict:
    """Mean cross-entropy (nats) and part of the labels that were found (0 to 1)."""

    loss: float
    accuracy: float


def initial_model(build_model: Callable[[], nn.Module], *, seed: int) -> nn.Module:
    """Build a model whose weights depend on the seed alone.

    Parameters
    ----------
    build_model : callable
        As in `Task.build_model`.
    seed : int
        Equal seeds give equal weights.

    Returns
    -------
    Module
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_model()


def train_model(
    model: nn.Module,
    samples: Samples,
    *,
    plan: TrainingPlan,
    seed: int,
    proximal_mu: float = 0.0,
    on_gradients: Callable[[], None] | None = None,
) -> float:
    """Train the model in place.

    Parameters
    ----------
    model : Module
        Starts from the weights it has; frozen ones stay.
    samples : Samples
        At least one.
    plan : TrainingPlan
        Epochs, batch size and optimiser.
    seed : int
        Seeds the order of the samples.
    proximal_mu : float
        Weight of half the squared distance to the starting weights, as FedProx asks for [1]_.
    on_gradients : callable, optional
        Called in every step, when the weights have their gradients and have not yet moved.

    Returns
    -------
    float
        Mean cross-entropy over the labels, each at the time it was trained on. Nats.

    References
    ----------
    .. [1] T. Li et al., "Federated Optimization in Heterogeneous Networks", MLSys 2020.
    """
    generator = torch.Generator().manual_seed(seed)
    trained = [weights for weights in model.parameters() if weights.requires_grad]
    optimizer = _build_optimizer(trained, plan)
    anchor = [weights.detach().clone() for weights in trained]
    model.train()
    loss_sum, n_seen = 0.0, 0
    batches = (
        batch
        for _ in range(plan.local_epochs)
        for batch in torch.randperm(len(samples), generator=generator).split(plan.batch_size)
    )
    for batch in islice(batches, plan.max_steps):
        optimizer.zero_grad()
        loss = _cross_entropy(model(samples.inputs[batch]), samples.labels[batch])
        loss_sum += loss.item() * len(batch)
        n_seen += len(batch)
        if proximal_mu:
            loss = loss + 0.5 * proximal_mu * _squared_distance(trained, anchor)
        loss.backward()
        if on_gradients is not None:
            on_gradients()
        optimizer.step()
    return loss_sum / n_seen


def _build_optimizer(trained: list[nn.Parameter], plan: TrainingPlan) -> torch.optim.Optimizer:
    """Return a fresh optimiser for the weights."""
    rate, decay = plan.learning_rate, plan.weight_decay
    if plan.optimizer == "adamw":
        return torch.optim.AdamW(trained, lr=rate, weight_decay=decay)
    return torch.optim.SGD(trained, lr=rate, momentum=plan.momentum, weight_decay=decay)


def _cross_entropy(
    scores: torch.Tensor, labels: torch.Tensor, reduction: str = "mean"
) -> torch.Tensor:
    """Return the loss over all labels, of samples or of the positions of sequences alike."""
    return functional.cross_entropy(
        scores.flatten(end_dim=-2), labels.flatten(), reduction=reduction
    )


def _squared_distance(trained: list[nn.Parameter], anchor: list[torch.Tensor]) -> torch.Tensor:
    """Return how far the weights have moved from the anchor, squared."""
    moves = [weights - start for weights, start in zip(trained, anchor, strict=True)]
    return torch.stack([move.square().sum() for move in moves]).sum()


@torch.inference_mode()
def judge_model(model: nn.Module, samples: Samples) -> Verdict:
    """Return the mean loss and the accuracy of the model.

    Parameters
    ----------
    model : Module
        Left in evaluation mode.
    samples : Samples
        At least one.

    Returns
    -------
    Verdict
    """
    model.eval()
    loss_sum, n_right = 0.0, 0
    for inputs, labels in zip(
        samples.inputs.split(JUDGE_BATCH), samples.labels.split(JUDGE_BATCH), strict=True
    ):
        scores = model(inputs)
        loss_sum += _cross_entropy(scores, labels, reduction="sum").item()
        n_right += int((scores.argmax(dim=-1) == labels).sum())
    n_labels = samples.labels.numel()
    return Verdict(loss_sum / n_labels, n_right / n_labels)
