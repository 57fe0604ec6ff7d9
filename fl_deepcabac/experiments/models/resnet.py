# SPDX-License-Identifier: Apache-2.0
"""A residual network with batch normalisation: the model whose state is more than its weights.

The running means and variances travel as tensors of their own, and each layer counts its batches in
an integer without dimensions, which the codec sends exactly.
"""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["ResNet8"]

WIDTHS = (16, 32, 64)


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut, which is a 1 x 1 convolution where the shape changes."""

    def __init__(self, n_inputs: int, n_outputs: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_inputs, n_outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_outputs)
        self.conv2 = nn.Conv2d(n_outputs, n_outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or n_inputs != n_outputs:
            projection = nn.Conv2d(n_inputs, n_outputs, 1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(n_outputs))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the features, shape (n, n_outputs, side / stride, side / stride)."""
        hidden = torch.relu(self.bn1(self.conv1(inputs)))
        return torch.relu(self.bn2(self.conv2(hidden)) + self.shortcut(inputs))


class ResNet8(nn.Module):
    """The least of the residual networks for small pictures [1]_: three blocks, eight layers.

    Parameters
    ----------
    n_classes : int
        Number of outputs.
    n_channels : int
        1 for gray pictures, 3 for coloured ones.

    Notes
    -----
    For ten classes of gray pictures 77 754 weights, 672 running statistics and 9 counters. The side
    of the pictures has no say; from 5 pixels on, even a batch of one can be normalised.

    References
    ----------
    .. [1] K. He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2.
    """

    def __init__(self, *, n_classes: int, n_channels: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(n_channels, WIDTHS[0], 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(WIDTHS[0])
        self.block1 = ResidualBlock(WIDTHS[0], WIDTHS[0], stride=1)
        self.block2 = ResidualBlock(WIDTHS[0], WIDTHS[1], stride=2)
        self.block3 = ResidualBlock(WIDTHS[1], WIDTHS[2], stride=2)
        self.fc = nn.Linear(WIDTHS[2], n_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the class scores, shape (n, n_classes), of images, (n, n_channels, side, side)."""
        hidden = torch.relu(self.bn(self.conv(images)))
        hidden = self.block3(self.block2(self.block1(hidden)))
        scores: torch.Tensor = self.fc(hidden.mean(dim=(2, 3)))
        return scores
