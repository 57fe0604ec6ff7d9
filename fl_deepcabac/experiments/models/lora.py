# SPDX-License-Identifier: Apache-2.0
"""Low-rank adapters: a frozen model of which only small additions are trained, and travel [1]_.

The base has the names it has without adapters, so that its weights can be loaded as they are; the
adapters are called as those of Hugging Face's PEFT are.

References
----------
.. [1] E. Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import nn
from torch.nn import functional

from fl_deepcabac.experiments.models.transformer import CharTransformer

__all__ = ["LowRankLinear", "build_adapted"]

RANK = 4
# Twice the rank, as is usual: the product of both matrices counts double.
SCALE = 2.0


class LowRankLinear(nn.Linear):
    """A linear layer whose matrix is a frozen one plus a trained product of two thin ones.

    Parameters
    ----------
    n_inputs, n_outputs : int
        As of a linear layer.
    rank : int
        Rows of the first matrix and columns of the second.

    Notes
    -----
    The second matrix starts from zero: a fresh adapter changes nothing.
    """

    def __init__(self, n_inputs: int, n_outputs: int, *, rank: int) -> None:
        super().__init__(n_inputs, n_outputs)
        self.lora_A = nn.Parameter(torch.empty(rank, n_inputs))
        self.lora_B = nn.Parameter(torch.zeros(n_outputs, rank))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the outputs, shape (..., n_outputs), of inputs of shape (..., n_inputs)."""
        added = functional.linear(functional.linear(inputs, self.lora_A), self.lora_B)
        return super().forward(inputs) + SCALE * added


def build_adapted(*, n_characters: int, length: int, rank: int = RANK) -> CharTransformer:
    """Build the transformer with adapters on all linear layers of its blocks, and all else frozen.

    Parameters
    ----------
    n_characters, length : int
        As of `CharTransformer`.
    rank : int
        Of the adapters.

    Returns
    -------
    CharTransformer
        For rank 4, 14 336 weights in 16 tensors are left to be trained.
    """
    linear = partial(LowRankLinear, rank=rank)
    model = CharTransformer(n_characters=n_characters, length=length, linear=linear)
    for name, weights in model.named_parameters():
        weights.requires_grad_("lora_" in name)
    return model
