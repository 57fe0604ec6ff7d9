# SPDX-License-Identifier: Apache-2.0
"""A small convolutional network for pictures."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["ConvNet"]


class ConvNet(nn.Module):
    """Two convolutions and two fully connected layers.

    Parameters
    ----------
    side : int
        Height and width of the pictures. Unit: pixels.
    n_classes : int
        Number of outputs.
    is_pooled_twice : bool
        Halve the picture after both convolutions, or after the second alone.
    n_channels : int
        1 for gray pictures, 3 for coloured ones.

    Notes
    -----
    For 8 x 8 gray pixels and one pooling 151 306 weights, for 28 x 28 and two 421 642; nine in ten
    of them in the first fully connected layer, as in many models that end in such layers.
    """

    def __init__(
        self, *, side: int, n_classes: int, is_pooled_twice: bool, n_channels: int = 1
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_channels, 32, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, kernel_size=3, padding=1)
        self.shrink1 = nn.MaxPool2d(2) if is_pooled_twice else nn.Identity()
        self.shrink2 = nn.MaxPool2d(2)
        shrunk = side // 4 if is_pooled_twice else side // 2
        self.memory_format = torch.channels_last if is_pooled_twice else torch.contiguous_format
        self.fc1 = nn.Linear(64 * shrunk**2, 128)
        self.fc2 = nn.Linear(128, n_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the class scores, shape (n, n_classes), of images, (n, n_channels, side, side)."""
        # On CPUs, pooling large pictures with channels first takes a third of all the time.
        hidden = images.to(memory_format=self.memory_format)
        hidden = torch.relu(self.shrink1(self.conv1(hidden)))
        hidden = torch.relu(self.shrink2(self.conv2(hidden)))
        hidden = torch.relu(self.fc1(hidden.flatten(start_dim=1)))
        scores: torch.Tensor = self.fc2(hidden)
        return scores
