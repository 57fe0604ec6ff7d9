# SPDX-License-Identifier: Apache-2.0
"""How much the prediction minds each weight: an estimate of the Fisher information's diagonal.

References
----------
.. [1] J. Martens, "New Insights and Perspectives on the Natural Gradient Method", JMLR 21, 2020:
   classes are drawn from the prediction, not taken from the data.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.func import functional_call, grad, vmap

__all__ = ["fisher_diagonal", "precision"]

# Gradients of so many samples are in memory at a time.
CHUNK = 16


def fisher_diagonal(
    model: nn.Module, inputs: torch.Tensor, *, seed: int = 0
) -> dict[str, NDArray[np.float32]]:
    """Return the mean squared gradient of the log-likelihood, for each trained weight.

    Parameters
    ----------
    model : Module
        Left in evaluation mode; its weights stay.
    inputs : Tensor, shape (n, ...)
        Some hundred samples say enough of most weights.
    seed : int
        Seeds the classes that are drawn from the model's own predictions [1]_.

    Returns
    -------
    dict of str to ndarray, float32
        Names and shapes of the model's parameters; not negative.
    """
    model.eval()
    weights = {name: value.detach() for name, value in model.named_parameters()}
    others = dict(model.named_buffers())
    generator = torch.Generator().manual_seed(seed)
    with torch.inference_mode():
        chances = torch.cat([model(part) for part in inputs.split(CHUNK)]).softmax(dim=-1)
    labels = torch.multinomial(chances, 1, generator=generator).squeeze(-1)

    def loss(weights: dict[str, torch.Tensor], one: torch.Tensor, label: torch.Tensor) -> Any:
        scores = functional_call(model, (weights, others), (one[None],))
        return nn.functional.cross_entropy(scores, label[None])

    gradients = vmap(grad(loss), in_dims=(None, 0, 0))
    sums = {name: torch.zeros_like(value, dtype=torch.float64) for name, value in weights.items()}
    for part, drawn in zip(inputs.split(CHUNK), labels.split(CHUNK), strict=True):
        for name, each in gradients(weights, part, drawn).items():
            sums[name] += each.double().square().sum(dim=0)
    return {name: (value / len(inputs)).float().numpy() for name, value in sums.items()}


def precision(
    fisher: Mapping[str, NDArray[np.float32]], *, n_samples: int, prior: float
) -> dict[str, NDArray[np.float32]]:
    """Return 1 / variance of each weight after training: the F of DC-v1.

    Parameters
    ----------
    fisher : mapping of str to ndarray
        From `fisher_diagonal`.
    n_samples : int
        Samples that the model was trained on.
    prior : float
        1 / variance of a weight that no sample says anything of, as weight decay has it.

    Returns
    -------
    dict of str to ndarray, float32
    """
    return {
        name: (n_samples * np.asarray(own, np.float64) + prior).astype(np.float32)
        for name, own in fisher.items()
    }
