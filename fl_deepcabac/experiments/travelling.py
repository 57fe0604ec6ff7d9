# SPDX-License-Identifier: Apache-2.0
"""Which tensors of a model travel between server and clients.

All of its state does, apart from frozen weights: those are the same on every node from the start,
as the base under adapters is. Invariant: what is loaded has exactly the names that are taken.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

__all__ = ["frozen_weights", "load_travelling", "travelling_weights"]


def travelling_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return weights that are trained, and statistics and counters that training moves.

    Parameters
    ----------
    model : Module

    Returns
    -------
    dict of str to Tensor
        Of the model itself, not copies; in its order.
    """
    frozen = frozen_weights(model)
    return {name: tensor for name, tensor in model.state_dict().items() if name not in frozen}


def frozen_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return the weights that stay as they are.

    Parameters
    ----------
    model : Module

    Returns
    -------
    dict of str to Tensor
        Empty for most models.
    """
    weights = model.named_parameters()
    return {name: tensor.detach() for name, tensor in weights if not tensor.requires_grad}


def load_travelling(model: nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Put what travelled into a model.

    Parameters
    ----------
    model : Module
        Changed in place; its frozen weights are not.
    weights : mapping of str to Tensor
        With the names that `travelling_weights` gives, neither more nor fewer.

    Raises
    ------
    ValueError
        If names differ.
    RuntimeError
        If a shape differs.
    """
    expected = travelling_weights(model).keys()
    if odd := sorted(expected ^ weights.keys()):
        raise ValueError(
            f"expected the {len(expected)} tensors of the model that travel, found these missing "
            f"or unknown: {', '.join(odd)}"
        )
    model.load_state_dict(dict(weights), strict=False)
