# SPDX-License-Identifier: Apache-2.0
"""A multilayer perceptron."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["Perceptron"]


class Perceptron(nn.Module):
    """Fully connected layers of 200 and 100, and one of the classes.

    Parameters
    ----------
    n_inputs : int
        Values per sample, whatever their shape.
    n_classes : int
        Number of outputs.

    Notes
    -----
    For 28 x 28 pixels 178 110 weights, for 8 x 8 34 110.
    """

    def __init__(self, *, n_inputs: int, n_classes: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(n_inputs, 200)
        self.fc2 = nn.Linear(200, 100)
        self.fc3 = nn.Linear(100, n_classes)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the class scores, shape (n, n_classes), of inputs of shape (n, ...)."""
        hidden = torch.relu(self.fc1(inputs.flatten(start_dim=1)))
        hidden = torch.relu(self.fc2(hidden))
        scores: torch.Tensor = self.fc3(hidden)
        return scores
