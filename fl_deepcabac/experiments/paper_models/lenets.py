# SPDX-License-Identifier: Apache-2.0
"""LeNet-300-100 and LeNet-5 as papers on compression have them.

References
----------
.. [1] Y. LeCun et al., "Gradient-Based Learning Applied to Document Recognition", Proceedings of
   the IEEE 86(11), 1998. The sizes of LeNet-5 are those of Caffe's example, 431 080 weights.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

__all__ = ["LeNet5", "LeNet300"]

SIDE, N_CLASSES = 28, 10


class LeNet300(nn.Module):
    """Three linear layers, 266 610 weights."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(SIDE**2, 300)
        self.fc2 = nn.Linear(300, 100)
        self.fc3 = nn.Linear(100, N_CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the class scores, shape (n, 10), of pictures, (n, 1, 28, 28)."""
        hidden = torch.relu(self.fc1(images.flatten(start_dim=1)))
        scores: torch.Tensor = self.fc3(torch.relu(self.fc2(hidden)))
        return scores


class LeNet5(nn.Module):
    """Two convolutions of 5 x 5 and two linear layers, 431 080 weights [1]_."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 20, 5)
        self.conv2 = nn.Conv2d(20, 50, 5)
        self.fc1 = nn.Linear(50 * 4 * 4, 500)
        self.fc2 = nn.Linear(500, N_CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the class scores, shape (n, 10), of pictures, (n, 1, 28, 28)."""
        hidden = functional.max_pool2d(self.conv1(images), 2)
        hidden = functional.max_pool2d(self.conv2(hidden), 2)
        scores: torch.Tensor = self.fc2(torch.relu(self.fc1(hidden.flatten(start_dim=1))))
        return scores
