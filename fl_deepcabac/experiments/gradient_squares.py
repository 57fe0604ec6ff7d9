# SPDX-License-Identifier: Apache-2.0
"""Importance of weights from the gradients of a client's own training.

The straight line: a codec's mod leaves in the context that importance is wanted, training sums the
squares of its batches' gradients, and what they come to is left where `deepcabac_mod` takes it. It
costs one multiplication a weight and batch, and no pass over the data of its own.

References
----------
.. [1] J. Kirkpatrick et al., "Overcoming catastrophic forgetting in neural networks", PNAS 114(13),
   2017: squared gradients of single samples as the importance of weights. Those of batches, as
   here, are smaller where samples disagree, by up to the size of the batch: cheaper, and coarser.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message
from flwr.clientapp.typing import Mod
from torch import nn

from fl_deepcabac.flower import IMPORTANCE_RECORD

__all__ = ["GradientSquares", "leave_importance", "squares_wanted", "wanting_importance"]

_WANTED_RECORD: Final = "experiment-importance"
_POWER: Final = "power"
# Of the mean: momentum and decay move weights without gradients, too, which are not worth nothing.
_FLOOR: Final = 0.01


class GradientSquares:
    """Sums the squared gradients of the steps of training.

    Parameters
    ----------
    model : Module
        Whose trained weights are looked at.
    """

    def __init__(self, model: nn.Module) -> None:
        self._weights = {
            name: weights for name, weights in model.named_parameters() if weights.requires_grad
        }
        self._sums = {
            name: torch.zeros_like(weights, dtype=torch.float64)
            for name, weights in self._weights.items()
        }

    @torch.no_grad()
    def add(self) -> None:
        """Take in the gradients that the weights have now."""
        for name, weights in self._weights.items():
            if weights.grad is not None:
                # The square of a large float32 is none.
                self._sums[name] += weights.grad.double().square()

    def importance(self, power: float) -> dict[str, torch.Tensor]:
        """Return what each weight's squared error counts, beside the others of its tensor.

        Parameters
        ----------
        power : float
            Of the mean squared gradients; 1 is the Fisher information's own, 0.5 is what Adam
            divides by.

        Returns
        -------
        dict of str to Tensor
            Positive; tensors without any gradient are left out.
        """
        means = {name: sums.mean() for name, sums in self._sums.items()}
        return {
            name: ((self._sums[name] / mean).pow(power) + _FLOOR).float()
            for name, mean in means.items()
            if mean > 0
        }


def wanting_importance(power: float) -> Mod:
    """Return the mod that asks the app for importance; it belongs behind `deepcabac_mod`.

    Parameters
    ----------
    power : float
        As in `GradientSquares.importance`.
    """
    return partial(_ask, power)


def _ask(
    power: float, msg: Message, context: Context, call_next: Callable[[Message, Context], Message]
) -> Message:
    context.state[_WANTED_RECORD] = ConfigRecord({_POWER: power})
    return call_next(msg, context)


def squares_wanted(context: Context, model: nn.Module) -> GradientSquares | None:
    """Return what sums the squares, if importance is wanted."""
    return GradientSquares(model) if _WANTED_RECORD in context.state else None


def leave_importance(context: Context, squares: GradientSquares) -> None:
    """Leave importance where the mod that encodes takes it."""
    power = float(str(context.state.config_records[_WANTED_RECORD][_POWER]))
    context.state[IMPORTANCE_RECORD] = ArrayRecord(squares.importance(power))
